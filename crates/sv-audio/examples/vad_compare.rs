//! Compares the detectors on clean speech with noise added: the tables of `docs/vad.md`.
//!
//! Arguments: a folder of speech and any noise files, all raw mono f32, little endian, 16 kHz
//! (`ffmpeg -i IN -ac 1 -ar 16000 -f f32le OUT.raw`).

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use sv_audio::Waveform;
use sv_audio::vad::{EnergyVad, VadChoice, webrtc};

const RATE_HZ: u32 = 16_000;
/// Labels and flags are compared in cells of 10 ms.
const CELL: usize = 160;
/// Digital silence before and after each utterance, before noise is added, so that there is something to reject.
const PAUSE: usize = 24_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let folder = arguments.next().ok_or("a folder of speech, then noise files")?;
    let mut speech: Vec<PathBuf> =
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_, std::io::Error>>()?;
    speech.sort();
    let clean: Vec<Vec<f32>> = speech.iter().map(|path| read(path)).collect::<Result<_, _>>()?;
    let mut noises = vec![("white".to_owned(), white(60 * 16_000)), ("pink".to_owned(), pink(60 * 16_000))];
    for path in arguments {
        noises.push((path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), read(&path)?));
    }

    let mut out = std::io::stdout().lock();
    let seconds = clean.iter().map(|wave| (wave.len() + 2 * PAUSE) as f64 / f64::from(RATE_HZ)).sum::<f64>();
    writeln!(out, "{} utterances, {seconds:.0} s with the pauses added\n", clean.len())?;
    writeln!(
        out,
        "| noise | SNR | energy | WebRTC 0 | WebRTC 1 | WebRTC 2 | WebRTC 3 | Resemblyzer |\n|---|---|---|---|---|---|---|---|"
    )?;
    row(&mut out, "none", None, &clean, &[0.0])?;
    for (name, noise) in &noises {
        for snr_db in [20.0, 10.0, 5.0, 0.0] {
            row(&mut out, name, Some(snr_db), &clean, noise)?;
        }
    }
    writeln!(out, "\nNoise alone, 20 s, share taken for speech:\n")?;
    for (name, noise) in &noises {
        for level in [0.1, 0.003] {
            let alone: Vec<f32> = scaled(noise, level).take(20 * RATE_HZ as usize).collect();
            let wave = Waveform::new(alone, RATE_HZ)?;
            let shares: Vec<String> = detectors()
                .iter()
                .map(|detect| {
                    let cells = detect(&wave)?;
                    Ok(format!("{:.3}", share(cells.iter())))
                })
                .collect::<Result<_, Box<dyn Error>>>()?;
            writeln!(out, "| {name} | {:.0} dBFS | {} |", 20.0 * level.log10(), shares.join(" | "))?;
        }
    }
    writeln!(out, "\nMilliseconds per 10 s of audio:\n")?;
    for (i, detect) in detectors().iter().enumerate() {
        let wave = Waveform::new(clean.iter().flatten().copied().collect(), RATE_HZ)?;
        let start = Instant::now();
        detect(&wave)?;
        writeln!(out, "| {i} | {:.2} |", start.elapsed().as_secs_f64() * 1e4 / wave.seconds())?;
    }
    Ok(())
}

type Detect = Box<dyn Fn(&Waveform) -> Result<Vec<bool>, Box<dyn Error>>>;

/// Ours, WebRTC's four modes, and Resemblyzer's smoothing of the last, each as one flag a cell.
fn detectors() -> Vec<Detect> {
    let choice = |choice: VadChoice| -> Detect {
        Box::new(move |wave| {
            let mut cells = vec![false; wave.len().div_ceil(CELL)];
            for segment in choice.segments(wave)? {
                cells[segment.start / CELL..segment.end.div_ceil(CELL)].fill(true);
            }
            Ok(cells)
        })
    };
    let mut all = vec![choice(VadChoice::Energy(constants()))];
    for mode in 0..4 {
        all.push(Box::new(move |wave| {
            let flags = webrtc::flags(wave, mode, 10)?;
            Ok((0..wave.len().div_ceil(CELL)).map(|cell| flags.get(cell).copied().unwrap_or(false)).collect())
        }));
    }
    all.push(choice(VadChoice::resemblyzer()));
    all
}

/// The published constants, but for those that the environment sets (`MARGIN_DB`, `RANGE_DB`, `HANGOVER_MS`), to tune.
fn constants() -> EnergyVad {
    let get = |name: &str, default: f64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let vad = EnergyVad::default();
    EnergyVad {
        margin_db: get("MARGIN_DB", vad.margin_db),
        range_db: get("RANGE_DB", vad.range_db),
        hangover_ms: get("HANGOVER_MS", f64::from(vad.hangover_ms)) as u32,
        ..vad
    }
}

/// Hits and false alarms of every detector in one condition.
fn row(
    out: &mut impl Write,
    name: &str,
    snr_db: Option<f32>,
    clean: &[Vec<f32>],
    noise: &[f32],
) -> Result<(), Box<dyn Error>> {
    let detectors = detectors();
    let mut counts = vec![[0usize; 4]; detectors.len()];
    for (i, utterance) in clean.iter().enumerate() {
        let mut samples = vec![0.0; PAUSE];
        samples.extend(utterance);
        samples.resize(samples.len() + PAUSE, 0.0);
        let labels = labels(&samples);
        if let Some(snr_db) = snr_db {
            let start = (i * 7919 * 16) % (noise.len() - samples.len());
            let level = speech_rms(&samples, &labels) * 10f32.powf(-snr_db / 20.0);
            for (sample, noise) in samples.iter_mut().zip(scaled(&noise[start..], level)) {
                *sample += noise;
            }
        }
        let wave = Waveform::new(samples, RATE_HZ)?;
        for (detect, counts) in detectors.iter().zip(&mut counts) {
            for (flag, label) in detect(&wave)?.into_iter().zip(&labels) {
                counts[match label {
                    Some(true) => usize::from(flag),
                    Some(false) => 2 + usize::from(flag),
                    None => continue,
                }] += 1;
            }
        }
    }
    let cells: Vec<String> = counts
        .iter()
        .map(|&[miss, hit, right, wrong]| {
            let rate = |a: usize, b: usize| b as f64 / (a + b) as f64;
            format!("{:.3} / {:.3}", rate(miss, hit), rate(right, wrong))
        })
        .collect();
    let snr = snr_db.map_or_else(|| "-".to_owned(), |snr| format!("{snr} dB"));
    Ok(writeln!(out, "| {name} | {snr} | {} |", cells.join(" | "))?)
}

/// From the clean level of all frequencies: speech less than 30 dB below the loudest 30 ms, silence more than 45 dB,
/// nothing said of what is between, nor of silence within 100 ms of speech, where a hangover is no mistake.
fn labels(samples: &[f32]) -> Vec<Option<bool>> {
    let energies: Vec<f32> = samples.chunks(CELL).map(|cell| cell.iter().map(|x| x * x).sum()).collect();
    let levels: Vec<f32> =
        (0..energies.len()).map(|i| energies[i.saturating_sub(1)..(i + 2).min(energies.len())].iter().sum()).collect();
    let loudest = levels.iter().copied().fold(0.0, f32::max);
    let speech: Vec<bool> = levels.iter().map(|level| *level > loudest * 1e-3).collect();
    let near = sv_audio::vad::smoothing::widen(&speech, 20);
    (0..levels.len())
        .map(|i| match (speech[i], near[i], levels[i] < loudest * 3.2e-5) {
            (true, ..) => Some(true),
            (false, false, true) => Some(false),
            _ => None,
        })
        .collect()
}

fn speech_rms(samples: &[f32], labels: &[Option<bool>]) -> f32 {
    let spoken = samples.chunks(CELL).zip(labels).filter(|(_, label)| **label == Some(true));
    rms(&spoken.flat_map(|(cell, _)| cell.iter().copied()).collect::<Vec<_>>())
}

fn share<'a>(flags: impl ExactSizeIterator<Item = &'a bool>) -> f64 {
    let total = flags.len().max(1) as f64;
    flags.filter(|flag| **flag).count() as f64 / total
}

fn rms(samples: &[f32]) -> f32 {
    (samples.iter().map(|x| f64::from(x * x)).sum::<f64>() / samples.len() as f64).sqrt() as f32
}

/// The samples brought to this RMS over all of them.
fn scaled(samples: &[f32], level: f32) -> impl Iterator<Item = f32> {
    let gain = level / rms(samples).max(f32::MIN_POSITIVE);
    samples.iter().map(move |x| x * gain)
}

fn white(n: usize) -> Vec<f32> {
    let mut state = 1u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / 8_388_608.0 - 1.0
    };
    (0..n).map(|_| uniform() + uniform() + uniform()).collect()
}

/// White noise through three first-order sections whose sum falls by about 3 dB per octave.
fn pink(n: usize) -> Vec<f32> {
    let mut states = [0f32; 3];
    let shape = |x: f32| {
        for (state, (pole, gain)) in states.iter_mut().zip([(0.997, 0.03), (0.965, 0.10), (0.6, 0.35)]) {
            *state = pole * *state + gain * x;
        }
        states.iter().sum::<f32>() + 0.1 * x
    };
    white(n).into_iter().map(shape).collect()
}

fn read(path: &Path) -> Result<Vec<f32>, std::io::Error> {
    let bytes = std::fs::read(path)?;
    Ok(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}

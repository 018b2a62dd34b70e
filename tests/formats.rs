//! Every file of `formats/` against ffmpeg's decoding of it: rate, channels, length, and samples at zero shift.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::data;
use sv_audio::decode::{self, DecodeLimits, Decoded};

/// Frames that we keep where ffmpeg keeps more, because the container says how many there are. `docs/decoding.md` has the
/// reasons; every other file has ffmpeg's length exactly.
const OBEYED: [(&str, usize); 3] =
    [("aac-lc-16k-mono-faststart.m4a", 41_600), ("aac-lc-16k-mono.m4a", 41_600), ("aac-lc-44k1-stereo.m4a", 114_660)];

fn formats() -> Option<PathBuf> {
    Some(data::data_dir()?.join("formats"))
}

fn read(path: &Path) -> Decoded {
    decode::read(path, &DecodeLimits::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// Pearson's correlation of the samples that both have.
fn correlation(a: &[f32], b: &[f32]) -> f64 {
    let n = a.len().min(b.len());
    let mean = |x: &[f32]| x[..n].iter().map(|&v| f64::from(v)).sum::<f64>() / n as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (&x, &y) in a[..n].iter().zip(&b[..n]) {
        let (x, y) = (f64::from(x) - mean_a, f64::from(y) - mean_b);
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    ab / (aa * bb).sqrt()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
}

/// Magnitudes of the spectrum below 6 kHz (of 48) in windows of 1,024 samples (Hann), every 256 samples, one after the other.
fn spectrogram(samples: &[f32]) -> Vec<f32> {
    let plan = realfft::RealFftPlanner::<f32>::new().plan_fft_forward(1_024);
    let mut spectrum = plan.make_output_vec();
    let mut magnitudes = Vec::new();
    for start in (0..samples.len() - 1_024).step_by(256) {
        let mut window: Vec<f32> = samples[start..start + 1_024]
            .iter()
            .enumerate()
            .map(|(n, sample)| sample * (0.5 - 0.5 * (std::f32::consts::TAU * n as f32 / 1_024.0).cos()))
            .collect();
        plan.process(&mut window, &mut spectrum).expect("buffers of the plan's lengths");
        magnitudes.extend(spectrum[..128].iter().map(|bin| bin.norm()));
    }
    magnitudes
}

#[test]
fn opus_is_decoded_to_the_samples_of_the_reference_decoder_in_all_its_modes_and_between_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/opus");
    // In 16-bit steps; the mean of two channels is rounded once more.
    for (name, steps, seconds) in [
        ("silk.ogg", 0.5, 0.5),
        ("hybrid.webm", 2.1, 0.5),
        ("celt.ogg", 2.1, 0.5),
        ("between.ogg", 2.1, 1.5),
        ("surround.ogg", 2.1, 0.5),
        ("apart.webm", 2.1, 0.5),
    ] {
        let (ours, theirs) = (read(&folder.join(name)), read(&folder.join(format!("{name}.flac"))));
        let frames = (seconds * 48_000.0) as usize;
        assert_eq!((ours.codec, ours.waveform.rate_hz(), ours.waveform.len()), ("opus", 48_000, frames), "{name}");
        assert_eq!(theirs.waveform.len(), frames, "{name}");
        let difference = largest_difference(ours.waveform.samples(), theirs.waveform.samples()) * 32_768.0;
        eprintln!("{name}: {difference:.2} steps");
        assert!(difference <= steps, "{name}: {difference} steps of 16 bits");
    }
}

#[test]
fn lossless_files_have_the_samples_of_the_clip_within_their_depth() {
    let Some(formats) = formats() else { return };
    let clip = read(&formats.join("wav-s16-16k-mono.wav"));
    let clip = clip.waveform.samples();
    let table = std::fs::read_to_string(formats.join("expected.tsv")).unwrap();
    let mut compared = 0;
    for line in table.lines().skip(1) {
        let name = line.split('\t').next().unwrap();
        let lossless =
            ["wav-s", "wav-u8", "wav-f", "wav-ext", "flac", "alac", "pcm"].iter().any(|kind| name.starts_with(kind));
        if !lossless || !name.contains("16k-mono") {
            continue;
        }
        let expected = if name.contains("-1s") { &clip[8_000..24_000] } else { clip };
        let decoded = read(&formats.join(name));
        assert_eq!(decoded.waveform.len(), expected.len(), "{name}");
        let difference = largest_difference(decoded.waveform.samples(), expected);
        // The clip itself has 16 bits, so deeper copies of the same source differ by half a step of those, and their
        // scales (full scale is 32767 steps in one, 32768 in the other) by a quarter of a step more.
        let bits = if name.contains("u8") { 8 } else { 16 };
        let steps = if name.contains("s16") { 0.0 } else { 1.01 };
        assert!(difference <= steps / (1 << (bits - 1)) as f32, "{name}: {difference}");
        compared += 1;
    }
    assert_eq!(compared, 16, "lossless files at 16 kHz");
}

#[test]
fn stereo_files_are_the_mean_of_their_channels() {
    let Some(formats) = formats() else { return };
    let clip = read(&formats.join("wav-s16-16k-mono.wav"));
    let clip = clip.waveform.samples();
    for name in ["wav-s16-16k-stereo.wav", "wav-extensible-s16-16k-stereo.wav"] {
        let decoded = read(&formats.join(name));
        // The right channel is the clip 80 samples later and 6 dB lower.
        let late = std::iter::repeat_n(0.0, 80).chain(clip.iter().copied());
        let expected: Vec<f32> = clip.iter().zip(late).map(|(left, right)| 0.5 * (left + 0.5 * right)).collect();
        let difference = largest_difference(decoded.waveform.samples(), &expected);
        assert!(difference <= 1.0 / 32_768.0, "{name}: {difference}");
    }
}

#[test]
fn a_reader_gives_what_the_path_gives() {
    let Some(formats) = formats() else { return };
    for entry in std::fs::read_dir(&formats).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && !["md", "tsv"].iter().any(|kind| path.extension().is_some_and(|e| e == *kind)) {
            let file = std::fs::File::open(&path).unwrap();
            let streamed = decode::from_reader("stream", file, &DecodeLimits::default()).unwrap();
            assert_eq!(streamed, read(&path), "{}", path.display());
        }
    }
}

#[test]
fn every_file_is_as_long_and_sounds_as_ffmpeg_decodes_it() {
    let Some(formats) = formats() else { return };
    let table = std::fs::read_to_string(formats.join("expected.tsv")).unwrap();
    let obeyed: BTreeMap<&str, usize> = OBEYED.into_iter().collect();
    let mut faults = Vec::new();
    let mut compared = 0;
    for line in table.lines().skip(1) {
        let [name, codec, rate, channels, frames] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let decoded = match decode::read(formats.join(name), &DecodeLimits::default()) {
            Ok(decoded) => decoded,
            Err(error) => {
                faults.push(format!("{error}"));
                continue;
            }
        };
        let wave = &decoded.waveform;
        let got =
            format!("{} {} Hz, {} channels, {} frames", decoded.codec, wave.rate_hz(), decoded.channels, wave.len());
        let frames = obeyed.get(name).copied().unwrap_or_else(|| frames.parse().unwrap());
        let want = format!("{codec} {rate} Hz, {channels} channels, {frames} frames");
        if got != want {
            faults.push(format!("{name}: {got}; expected {want}"));
        }
        if !decoded.warnings.is_empty() {
            faults.push(format!("{name}: {:?}", decoded.warnings));
        }
        let twin = formats.join("expected").join(format!("{name}.flac"));
        if twin.is_file() {
            let expected = read(&twin);
            let (ours, theirs) = (wave.samples(), expected.waveform.samples());
            // ffmpeg's own Opus decoder has another phase below 8 kHz than libopus, whose samples ours are (see the test
            // above): there, what each moment holds is compared.
            let similarity = match codec {
                "opus" => correlation(&spectrogram(ours), &spectrogram(theirs)),
                _ => correlation(ours, theirs),
            };
            eprintln!("{name}: {similarity:.6}, {:.5}", largest_difference(ours, theirs));
            if similarity < 0.999 {
                faults.push(format!("{name}: correlation {similarity} at zero shift"));
            }
            compared += 1;
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(compared, 24, "files with a twin");
}

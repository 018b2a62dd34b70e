//! Front ends against librosa, Resemblyzer, SpeechBrain, Kaldi and torchaudio: `frontends.safetensors` of the reference folder.

use std::path::Path;

use common::data::{Tensors, Values, difference, reference_dir};
use sv_audio::Waveform;
use sv_audio::frontend::{Cmn, FeatureExtractor, FrontEnd};
use sv_audio::mel::MelBank;
use sv_audio::stft::{Framing, Padding, Stft};
use sv_audio::vad::KaldiVad;

const WAVES: [&str; 3] = ["speech3", "chirp17", "short035"];

/// Features of `samples` at the front end's own rate.
fn features(front_end: &FrontEnd, samples: Vec<f32>) -> (Vec<usize>, Vec<f32>) {
    let wave = Waveform::new(samples, front_end.rate_hz).expect("finite samples");
    let features = FeatureExtractor::new(front_end).expect("a preset").features(&wave).expect("long enough");
    (vec![features.frames(), features.bins()], features.into_inner().into_raw_vec_and_offset().0)
}

/// Thrice the absolute tolerance of a group of `frontends`; the chirp has rows of its own.
fn tolerance(reference: &Path, group: &str, wave: &str) -> f64 {
    let file = std::fs::read_to_string(reference.join("tolerances.json")).expect("tolerances.json");
    let all: serde_json::Value = serde_json::from_str(&file).expect("JSON");
    let key = if wave == "chirp17" { format!("{group} (chirp17)") } else { group.to_owned() };
    3.0 * all["frontends"][&key]["abs"].as_f64().unwrap_or_else(|| panic!("no tolerance for {key}"))
}

fn assert_close(what: &str, got: (Vec<usize>, Vec<f32>), expected: &Values, tolerance: f64) {
    assert_eq!(got.0, expected.shape, "{what}");
    let (worst, _) = difference(&got.1, &expected.data);
    eprintln!("{what}: {worst:.2e} of {tolerance:.2e}");
    assert!(worst <= tolerance, "{what}: {worst:e} is above {tolerance:e}");
}

#[test]
fn ge2e_tf_equals_librosa() {
    let Some(reference) = reference_dir() else { return };
    let (golden, waves) =
        (Tensors::read(&reference.join("frontends.safetensors")), Tensors::read(&reference.join("waves.safetensors")));
    let (front_end, group) = (FrontEnd::ge2e_tf(), "ge2e-tf.logmel40");
    for name in WAVES {
        let got = features(&front_end, waves.get(&format!("{name}_8k")).f32());
        let tolerance = tolerance(&reference, group, name);
        assert_close(&format!("{name}.{group}"), got, &golden.get(&format!("{name}.{group}")), tolerance);
    }
    for name in ["gap", "zeros"] {
        let half = golden.get(&format!("{name}.wave")).f32().into_iter().step_by(2).collect();
        let tolerance = tolerance(&reference, group, name);
        let expected = golden.get(&format!("{name}.{group}"));
        assert_close(&format!("{name}.{group}"), features(&front_end, half), &expected, tolerance);
    }
}

#[test]
fn resemblyzer_equals_its_mel_spectrogram() {
    let Some(reference) = reference_dir() else { return };
    let (golden, waves) =
        (Tensors::read(&reference.join("frontends.safetensors")), Tensors::read(&reference.join("waves.safetensors")));
    let (front_end, group) = (FrontEnd::resemblyzer(), "resemblyzer.mel40");
    for name in ["speech3", "chirp17", "short035", "gap", "zeros"] {
        let wave = match name {
            "gap" | "zeros" => golden.get(&format!("{name}.wave")),
            _ => waves.get(name),
        };
        let tolerance = tolerance(&reference, group, name);
        let expected = golden.get(&format!("{name}.{group}"));
        assert_close(&format!("{name}.{group}"), features(&front_end, wave.f32()), &expected, tolerance);
    }
}

#[test]
fn power_spectra_equal_librosa() {
    let Some(reference) = reference_dir() else { return };
    let (golden, waves) =
        (Tensors::read(&reference.join("frontends.safetensors")), Tensors::read(&reference.join("waves.safetensors")));
    let front_end = FrontEnd::ge2e_tf();
    let FrontEnd { n_fft, win_length, hop, window, padding, .. } = front_end;
    let stft = Stft::<f64>::new(Framing { n_fft, win_length, hop, window, padding }).expect("a preset");
    let mut work = stft.workspace();
    for name in WAVES {
        let samples = waves.get(&format!("{name}_8k")).f32();
        let expected = golden.get(&format!("{name}.ge2e-tf.power_stft"));
        let mut got = Vec::new();
        for frame in 0..expected.shape[0] {
            got.extend(stft.power(&samples, frame, &mut work).iter().map(|&power| power as f32));
        }
        // No tolerance is published for them: f32 squares of f32 magnitudes err by four roundings, 2.4e-7 of the largest.
        let largest = expected.data.iter().fold(0.0_f64, |most, &value| most.max(value));
        assert_close(&format!("{name}.power_stft"), (vec![4, stft.bins()], got), &expected, 2.4e-7 * largest);
    }
}

#[test]
fn filters_equal_librosa_to_the_last_bit() {
    let Some(reference) = reference_dir() else { return };
    let golden = Tensors::read(&reference.join("frontends.safetensors"));
    for (front_end, name) in
        [(FrontEnd::ge2e_tf(), "filters.slaney40_8k_512"), (FrontEnd::resemblyzer(), "filters.slaney40_16k_400")]
    {
        let bank = MelBank::<f64>::new(&front_end.mel, front_end.n_fft, front_end.rate_hz).expect("a preset");
        let expected = golden.get(name);
        let dense = bank.dense(expected.shape[0]);
        let got: Vec<f32> =
            (0..expected.shape[0]).flat_map(|bin| dense.iter().map(move |row| row[bin] as f32)).collect();
        let (worst, _) = difference(&got, &expected.data);
        eprintln!("{name}: {worst:.2e}");
        assert_eq!(worst, 0.0, "{name}");
    }
}

/// The golden file and the waves, by name.
struct Golden {
    golden: Tensors,
    waves: Tensors,
    reference: std::path::PathBuf,
}

impl Golden {
    fn open() -> Option<Self> {
        let reference = reference_dir()?;
        let read = |name| Tensors::read(&reference.join(name));
        Some(Self { golden: read("frontends.safetensors"), waves: read("waves.safetensors"), reference })
    }

    fn wave(&self, name: &str) -> Vec<f32> {
        match name {
            "gap" | "zeros" => self.golden.get(&format!("{name}.wave")).f32(),
            _ => self.waves.get(name).f32(),
        }
    }

    /// `front_end` equals `WAVE.key` on each wave, within thrice the tolerance of `group`.
    fn assert_equal(&self, front_end: &FrontEnd, names: &[&str], key: &str, group: &str) {
        for &name in names {
            let what = format!("{name}.{key}");
            let got = features(front_end, self.wave(name));
            assert_close(&what, got, &self.golden.get(&what), tolerance(&self.reference, group, name));
        }
    }
}

fn without_cmn(mut front_end: FrontEnd) -> FrontEnd {
    front_end.cmn = None;
    front_end
}

fn with_utterance_mean(mut front_end: FrontEnd) -> FrontEnd {
    front_end.cmn = Some(Cmn::Utterance);
    front_end
}

const WITH_SILENCE: [&str; 5] = ["speech3", "chirp17", "short035", "gap", "zeros"];

#[test]
fn speechbrain_equals_its_fbank_with_and_without_the_sentence_mean() {
    let Some(golden) = Golden::open() else { return };
    let (fbank80, fbank24) = (FrontEnd::speechbrain(), FrontEnd::speechbrain_xvector());
    golden.assert_equal(&without_cmn(fbank80.clone()), &WITH_SILENCE, "speechbrain.fbank80", "speechbrain.fbank80");
    golden.assert_equal(&fbank80, &WITH_SILENCE, "speechbrain.fbank80.normalised", "speechbrain.fbank80");
    golden.assert_equal(&without_cmn(fbank24.clone()), &WAVES, "speechbrain.fbank24", "speechbrain.fbank24");
    golden.assert_equal(&fbank24, &WAVES, "speechbrain.fbank24.normalised", "speechbrain.fbank24");
}

#[test]
fn speechbrain_mfcc_equals_its_mfcc_plain_and_with_slopes_and_context() {
    let Some(golden) = Golden::open() else { return };
    // No tolerance is published for them. The orthonormal transform of 23 values spreads their errors, so it cannot enlarge the
    // root of their sum of squares: at worst sqrt(23) times the Fbank's.
    let close = |front_end: &FrontEnd, name: &str, key: &str| {
        let expected = golden.golden.get(&format!("{name}.{key}"));
        let tolerance = 23_f64.sqrt() * tolerance(&golden.reference, "speechbrain.fbank24", name);
        assert_close(&format!("{name}.{key}"), features(front_end, golden.wave(name)), &expected, tolerance);
    };
    let all = FrontEnd::speechbrain_mfcc();
    let mut plain = all.clone();
    (plain.deltas, plain.context) = (None, None);
    for name in WAVES {
        close(&plain, name, "speechbrain.mfcc20");
    }
    close(&all, "short035", "speechbrain.mfcc660");
}

#[test]
fn kaldi_front_ends_equal_torchaudios_fbank_with_and_without_the_mean() {
    let Some(golden) = Golden::open() else { return };
    for (front_end, key, group) in [
        (FrontEnd::wespeaker(), "wespeaker.fbank", "wespeaker"),
        (FrontEnd::kaldi(), "kaldi.povey80.fbank", "kaldi.povey80"),
        (FrontEnd::heo2019(), "heo2019.fbank", "heo2019"),
    ] {
        let silence = if group == "kaldi.povey80" { &WAVES[..] } else { &WITH_SILENCE[..] };
        golden.assert_equal(&without_cmn(front_end.clone()), silence, key, group);
        golden.assert_equal(&with_utterance_mean(front_end), &WAVES, &format!("{key}.normalised"), group);
    }
}

#[test]
fn heo2019_subtracts_the_mean_of_three_seconds_around() {
    let Some(golden) = Golden::open() else { return };
    let front_end = FrontEnd::heo2019();
    golden.assert_equal(&front_end, &["speech3", "long"], "heo2019.fbank.sliding300", "heo2019");
    golden.assert_equal(&without_cmn(front_end), &["long"], "heo2019.fbank", "heo2019");
}

#[test]
fn kaldi_mfcc_equals_torchaudios_in_both_forms() {
    let Some(golden) = Golden::open() else { return };
    golden.assert_equal(&FrontEnd::kaldi_mfcc(), &WAVES, "kaldi.mfcc30", "kaldi.mfcc30");
    let voxceleb = FrontEnd::kaldi_mfcc_voxceleb();
    golden.assert_equal(&voxceleb, &WAVES, "kaldi.mfcc30_voxceleb", "kaldi.mfcc30_voxceleb");
}

#[test]
fn taoruijie_equals_its_log_mel_energies_with_and_without_the_mean() {
    let Some(golden) = Golden::open() else { return };
    let front_end = FrontEnd::taoruijie();
    golden.assert_equal(&without_cmn(front_end.clone()), &WITH_SILENCE, "taoruijie.logmel80", "taoruijie.logmel80");
    golden.assert_equal(&front_end, &WAVES, "taoruijie.logmel80.normalised", "taoruijie.logmel80");
}

#[test]
fn kaldis_vad_flags_the_same_frames() {
    let Some(golden) = Golden::open() else { return };
    let keep = FrontEnd::kaldi_mfcc_voxceleb();
    let mut snip = keep.clone();
    snip.padding = Padding::SnipEdges;
    let vad = KaldiVad::default();
    for (front_end, edges) in [(keep, "keep"), (snip, "snip")] {
        for name in ["speech3", "chirp17", "short035", "long"] {
            let (shape, values) = features(&front_end, golden.wave(name));
            let log_energies: Vec<f32> = values.into_iter().step_by(shape[1]).collect();
            if name == "long" {
                let expected = golden.golden.get(&format!("long.kaldi.log_energy_{edges}"));
                assert_close(edges, (vec![shape[0]], log_energies.clone()), &expected, 1e-5);
                let cut = golden.golden.get(&format!("long.kaldi.vad_{edges}.cut")).data[0];
                assert!((vad.cut(&log_energies) - cut).abs() < 1e-5, "{edges}: {} {cut}", vad.cut(&log_energies));
            }
            let voiced = vad.voiced(&log_energies).expect("settings in range");
            let expected = golden.golden.get(&format!("{name}.kaldi.vad_{edges}"));
            let expected: Vec<bool> = expected.data.iter().map(|&flag| flag == 1.0).collect();
            assert!(expected.contains(&true), "{name}");
            assert_eq!(voiced, expected, "{name} {edges}");
        }
    }
}

#[test]
fn the_range_of_a_recording_is_its_own_whatever_stands_beside_it() {
    // SpeechBrain's batch shares the padded length, never the maximum: its rows equal the recordings alone up to where padding
    // begins to reach into the last frame.
    let Some(golden) = Golden::open() else { return };
    let rows = golden.golden.get("batch.speechbrain.fbank80.rows_1_2");
    let front_end = without_cmn(FrontEnd::speechbrain());
    for (row, name) in ["short035", "chirp17"].into_iter().enumerate() {
        let (shape, got) = features(&front_end, golden.wave(name));
        let values = shape[0].min(rows.shape[1]) * shape[1];
        let size = rows.shape[1] * rows.shape[2];
        let expected = &rows.data[row * size..][..values];
        let (worst, _) = difference(&got[..values], expected);
        let tolerance = tolerance(&golden.reference, "speechbrain.fbank80", name);
        assert!(worst <= tolerance, "{name}: {worst:e} is above {tolerance:e}");
    }
}

#[test]
fn filters_equal_those_of_speechbrain_torchaudio_and_kaldi() {
    let Some(reference) = reference_dir() else { return };
    let golden = Tensors::read(&reference.join("frontends.safetensors"));
    // Theirs are computed in f32: frequencies of 8,000 Hz err by 5e-4 Hz, and the narrowest slope is 22 Hz (6e-5 mel of 30).
    for (front_end, name, tolerance) in [
        (FrontEnd::speechbrain(), "filters.speechbrain80", 2e-5),
        (FrontEnd::taoruijie(), "filters.htk80_16k_512_20_7600", 2e-5),
        (FrontEnd::kaldi(), "filters.kaldi80_16k_512", 2e-5),
    ] {
        let bank = MelBank::<f32>::new(&front_end.mel, front_end.n_fft, front_end.rate_hz).expect("a preset");
        let expected = golden.get(name);
        let dense = bank.dense(expected.shape[0]);
        let got = (0..expected.shape[0]).flat_map(|bin| dense.iter().map(move |row| row[bin])).collect();
        assert_close(name, (expected.shape.clone(), got), &expected, tolerance);
    }
}

#[test]
fn speechbrains_power_spectra_are_equal() {
    let Some(golden) = Golden::open() else { return };
    let FrontEnd { n_fft, win_length, hop, window, padding, .. } = FrontEnd::speechbrain();
    let stft = Stft::<f32>::new(Framing { n_fft, win_length, hop, window, padding }).expect("a preset");
    let mut work = stft.workspace();
    for name in WAVES {
        let samples = golden.wave(name);
        let expected = golden.golden.get(&format!("{name}.speechbrain.power_stft"));
        let mut got = Vec::new();
        for frame in 0..expected.shape[0] {
            got.extend_from_slice(stft.power(&samples, frame, &mut work));
        }
        let largest = expected.data.iter().fold(0.0_f64, |most, &value| most.max(value));
        // f32 transforms of 400 points err by a few times 2^-24 of the largest magnitude, squares by twice that.
        assert_close(&format!("{name}.power_stft"), (vec![4, stft.bins()], got), &expected, 1e-6 * largest);
    }
}

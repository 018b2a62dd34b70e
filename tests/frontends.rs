//! Front ends against librosa and Resemblyzer: `frontends.safetensors` of the reference folder.

use std::path::Path;

use common::data::{Tensors, Values, difference, reference_dir};
use sv_audio::Waveform;
use sv_audio::frontend::{FeatureExtractor, FrontEnd};
use sv_audio::mel::MelBank;
use sv_audio::stft::{Framing, Stft};

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
    let stft = Stft::new(Framing { n_fft, win_length, hop, window, padding }).expect("a preset");
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
        let bank = MelBank::new(&front_end.mel, front_end.n_fft, front_end.rate_hz).expect("a preset");
        let expected = golden.get(name);
        let dense = bank.dense(expected.shape[0]);
        let got: Vec<f32> =
            (0..expected.shape[0]).flat_map(|bin| dense.iter().map(move |row| row[bin] as f32)).collect();
        let (worst, _) = difference(&got, &expected.data);
        eprintln!("{name}: {worst:.2e}");
        assert_eq!(worst, 0.0, "{name}");
    }
}

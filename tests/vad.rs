//! Voice activity and partial slices against librosa, py-webrtcvad and Resemblyzer (`SV_REFERENCE`).
#![forbid(unsafe_code)]

use std::ops::Range;

use common::data::{Tensors, difference, reference_dir};
use sv_audio::vad::{VadChoice, librosa, smoothing, webrtc};
use sv_audio::windows::{Extent, Windows};
use sv_audio::{Waveform, level};

struct Reference {
    waves: Tensors,
    values: Tensors,
}

impl Reference {
    /// The waves and the values of `file`; `None`, with a line on standard error, without `SV_REFERENCE`.
    fn open(file: &str) -> Option<Self> {
        let folder = reference_dir()?;
        let read = |name: &str| Tensors::read(&folder.join(format!("{name}.safetensors")));
        Some(Self { waves: read("waves"), values: read(file) })
    }

    fn wave(&self, name: &str) -> Waveform {
        let rate_hz = if name.ends_with("_8k") { 8_000 } else { 16_000 };
        Waveform::new(self.waves.get(name).f32(), rate_hz).expect("a reference wave is finite")
    }

    fn flags(&self, key: &str) -> Vec<bool> {
        self.values.get(key).data.iter().map(|&flag| flag != 0.0).collect()
    }

    fn ranges(&self, key: &str) -> Vec<Range<usize>> {
        self.values.get(key).data.chunks_exact(2).map(|pair| pair[0] as usize..pair[1] as usize).collect()
    }

    /// Every key of this kind with its wave's name and what follows the kind, a number or nothing.
    fn keys(&self, kind: &str) -> Vec<(String, String, String)> {
        let names = self.values.names().into_iter();
        let keys = names.filter_map(|key| {
            let (wave, rest) = key.split_once('.')?;
            let number = rest.strip_prefix(kind)?.to_owned();
            let is_number = number.chars().all(|c| c.is_ascii_digit());
            is_number.then(|| (wave.to_owned(), number, key.clone()))
        });
        let keys: Vec<_> = keys.collect();
        assert!(!keys.is_empty(), "no key {kind}");
        keys
    }
}

#[test]
fn every_key_of_the_file_is_of_a_kind_that_is_checked_here() {
    let Some(reference) = Reference::open("vad") else { return };
    let kinds = [
        "librosa.split",
        "librosa.trim",
        "librosa.rms_db",
        "webrtc.mode",
        "resemblyzer.gain",
        "resemblyzer.webrtc_mode3",
        "resemblyzer.smoothed",
        "resemblyzer.mask",
        "resemblyzer.preprocessed",
    ];
    let checked: usize = kinds.iter().map(|kind| reference.keys(kind).len()).sum();
    assert_eq!(checked, reference.values.names().len());
}

#[test]
fn split_and_trim_are_librosas_to_the_sample() {
    let Some(reference) = Reference::open("vad") else { return };
    for (wave, top_db, key) in reference.keys("librosa.split") {
        let stretches = librosa::split(reference.wave(&wave).samples(), top_db.parse().unwrap());
        assert_eq!(stretches, reference.ranges(&key), "{key}");
    }
    for (wave, top_db, key) in reference.keys("librosa.trim") {
        let stretch = librosa::trim(reference.wave(&wave).samples(), top_db.parse().unwrap());
        assert_eq!([stretch], reference.ranges(&key)[..], "{key}");
    }
}

#[test]
fn levels_are_librosas() {
    let Some(reference) = Reference::open("vad") else { return };
    for (wave, _, key) in reference.keys("librosa.rms_db") {
        let levels: Vec<f32> =
            librosa::rms_db(reference.wave(&wave).samples()).into_iter().map(|db| db as f32).collect();
        let (absolute, _) = difference(&levels, &reference.values.get(&key).data);
        eprintln!("{key}: {absolute:.1e} dB");
        // librosa sums in f32, where 80 dB have steps of 8e-6.
        assert!(absolute < 2e-5, "{key}: {absolute}");
    }
}

#[test]
fn webrtc_flags_are_those_of_the_original_in_every_mode() {
    let Some(reference) = Reference::open("vad") else { return };
    for (wave, mode, key) in reference.keys("webrtc.mode") {
        let flags = webrtc::flags(&reference.wave(&wave), mode.parse().unwrap(), 30).unwrap();
        assert_eq!(flags, reference.flags(&key), "{key}");
    }
}

#[test]
fn each_step_of_resemblyzers_preprocessing_is_the_originals() {
    let Some(reference) = Reference::open("vad") else { return };
    for (name, _, key) in reference.keys("resemblyzer.gain") {
        let wave = reference.wave(&name);
        let mut samples = wave.samples().to_vec();
        let gain_db = level::raise_to_dbfs(&mut samples, -30.0).unwrap();
        let gain = reference.values.get(&key).data[0];
        assert!((10f64.powf(gain_db / 20.0) - gain).abs() < 1e-12 * gain, "{key}: {gain_db} dB against {gain}");

        let wave = Waveform::new(samples, wave.rate_hz()).unwrap();
        let flags = webrtc::flags(&wave, 3, 30).unwrap();
        assert_eq!(flags, reference.flags(&format!("{name}.resemblyzer.webrtc_mode3")), "{name}: flags");
        let smoothed = smoothing::majority(&flags, 8);
        assert_eq!(smoothed, reference.flags(&format!("{name}.resemblyzer.smoothed")), "{name}: smoothed");
        let mask = smoothing::widen(&smoothed, 6);
        assert_eq!(mask, reference.flags(&format!("{name}.resemblyzer.mask")), "{name}: mask");

        let voiced = VadChoice::resemblyzer().voiced(&wave).unwrap();
        let expected = reference.values.get(&format!("{name}.resemblyzer.preprocessed"));
        let (absolute, _) = difference(voiced.samples(), &expected.data);
        eprintln!("{name}: preprocessed {absolute:.1e}");
        assert!(absolute < 1e-6, "{name}: preprocessed wave differs by {absolute}");
    }
}

/// Slices in samples, as Resemblyzer lists them.
fn slices(samples: usize) -> Vec<Range<usize>> {
    let extent = Extent { samples, rate_hz: 16_000, hop_samples: 160 };
    let windows = Windows::resemblyzer();
    let padded = windows.padded_samples(&extent).expect("there are samples");
    let plan = windows.plan(&extent, 1 + padded / 160).expect("the padded wave is long enough");
    let slices: Vec<_> = plan.ranges().map(|frames| frames.start * 160..frames.end * 160).collect();
    let last = slices[slices.len() - 1].end;
    assert_eq!(padded, samples.max(last), "{samples}: padding");
    slices
}

#[test]
fn partials_are_resemblyzers_slices() {
    let Some(reference) = Reference::open("resemblyzer") else { return };
    let rule = reference.values.get("slice_rule");
    assert_eq!(rule.shape[1], 4);
    for row in rule.data.chunks_exact(4) {
        let [samples, count, start, stop] = [0, 1, 2, 3].map(|i| row[i] as usize);
        let slices = slices(samples);
        assert_eq!((slices.len(), slices[slices.len() - 1].clone()), (count, start..stop), "{samples} samples");
    }
    for (name, _, key) in reference.keys("slices") {
        let samples = reference.values.get(&format!("{name}.preprocessed")).data.len();
        assert_eq!(slices(samples), reference.ranges(&key), "{key}");
    }
}

#[test]
fn choices_are_read_as_they_are_written_and_unknown_keys_are_refused() {
    for name in VadChoice::NAMES {
        let choice: VadChoice = name.parse().unwrap();
        let text = serde_json::to_string(&choice).unwrap();
        assert_eq!(serde_json::from_str::<VadChoice>(&text).unwrap(), choice, "{text}");
        let surplus = text.replacen('{', r#"{"surplus":1,"#, 1);
        let error = serde_json::from_str::<VadChoice>(&surplus).unwrap_err().to_string();
        assert!(error.contains("surplus"), "{surplus}: {error}");
    }
    let all = [
        Windows::Whole,
        Windows::resemblyzer(),
        Windows::Fixed { frames: 160, hop: 80 },
        Windows::Crops { frames: 300, count: 10 },
    ];
    for windows in all {
        let text = serde_json::to_string(&windows).unwrap();
        assert_eq!(serde_json::from_str::<Windows>(&text).unwrap(), windows, "{text}");
        let surplus = text.replacen('{', r#"{"surplus":1,"#, 1);
        let error = serde_json::from_str::<Windows>(&surplus).unwrap_err().to_string();
        assert!(error.contains("surplus"), "{surplus}: {error}");
    }
    assert_eq!(
        serde_json::to_string(&VadChoice::resemblyzer()).unwrap(),
        r#"{"kind":"resemblyzer","mode":3,"window_ms":30,"average":8,"dilate":6}"#
    );
}

//! A small model with random weights and voices of sums of harmonics: enough to drive every path without anybody's data.

use std::collections::BTreeMap;
use std::f32::consts::TAU;

use sv_audio::Waveform;
use sv_audio::frontend::FrontEnd;
use sv_audio::vad::VadChoice;
use sv_audio::windows::Windows;
use sv_metrics::Threshold;
use sv_models::encoders::lstm::{Head, LstmConfig, Normalization};
use sv_models::weights::Weight;
use sv_models::{Description, EncoderConfig, ModelDir, Source};

/// An untrained LSTM 40 -> 2 x 16 projected to 8, head 12, on the `resemblyzer` front end with our own VAD.
///
/// # Panics
/// If the model cannot be built: a mistake in the crates under test.
#[must_use]
pub fn tiny_model(threshold: Option<Threshold>) -> ModelDir {
    let config = LstmConfig {
        bins: 40,
        layers: 2,
        hidden: 16,
        projection: Some(8),
        head: Head::Linear { size: 12 },
        normalization: Normalization::L2 { epsilon: 0.0 },
    };
    let mut random = Lcg(7);
    let tensors: BTreeMap<String, Weight> = config
        .tensors()
        .into_iter()
        .map(|(name, shape)| {
            let values = (0..shape.iter().product()).map(|_| random.next_signed()).collect();
            (name, Weight { shape, values })
        })
        .collect();
    let encoder = EncoderConfig::Lstm(config);
    let mut front_end = FrontEnd::resemblyzer();
    front_end.vad = VadChoice::energy();
    let description = Description {
        embedding_size: encoder.embedding_size(),
        labels: None,
        encoder,
        classifier: None,
        embedding_mean: false,
        front_end,
        windows: Windows::resemblyzer(),
        threshold,
        source: Source {
            name: "random weights of a test".into(),
            revision: None,
            sha256: None,
            files: BTreeMap::new(),
        },
    };
    ModelDir::new("the test's model", description, tensors).expect("the tiny model is sound")
}

/// Three seconds at 16 kHz that a VAD takes for speech: syllables of harmonics of `pitch_hz` between pauses, over a
/// little noise.
///
/// # Panics
/// Never: the samples are finite.
#[must_use]
pub fn voice(pitch_hz: f32, seed: u64) -> Waveform {
    let mut random = Lcg(seed);
    let samples = (0..48_000)
        .map(|n| {
            let t = n as f32 / 16_000.0;
            // Four syllables a second, the last fifth of each silent.
            let in_syllable = (4.0 * t).fract();
            let envelope = if in_syllable < 0.8 { (in_syllable / 0.8 * TAU / 2.0).sin() } else { 0.0 };
            let pitch = pitch_hz * (1.0 + 0.05 * (TAU * 0.7 * t).sin());
            let tone: f32 = (1..20).map(|k| (TAU * pitch * k as f32 * t).sin() / k as f32).sum();
            0.1 * envelope * tone + 0.001 * random.next_signed()
        })
        .collect();
    Waveform::new(samples, 16_000).expect("finite samples")
}

/// A linear congruential generator (Knuth's MMIX constants): good enough for weights that mean nothing.
struct Lcg(u64);

impl Lcg {
    /// The next value, in [-1, 1).
    fn next_signed(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

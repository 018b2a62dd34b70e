//! A voice: everything that stays the same between the recordings of one speaker.

use super::draw::{Purpose, Stream};
use super::phones::{Manner, PHONES, TABLE};
use super::score::Score;
use super::{Corpus, RATE_HZ, SynthConfig, channel, tract};
use crate::{AudioError, Waveform};

/// Centres of the vowel space, in Hz: F1, F2, F3.
const CENTRE_HZ: [f64; 3] = [480.0, 1450.0, 2450.0];
/// F4, F5, F6 of every phone, before the tract's length.
const UPPER_HZ: [f64; 3] = [3500.0, 4500.0, 5600.0];
/// Median bandwidths, F1 to F6.
const BANDWIDTH_HZ: [f64; 6] = [60.0, 90.0, 130.0, 200.0, 300.0, 400.0];
/// Vowels of the fixed phrase.
pub(crate) const PHRASE_VOWELS: usize = 6;

/// How one speaker makes one phone.
#[derive(Debug, Clone)]
pub(crate) struct Habit {
    /// F1, F2, F3 in Hz, tract length included.
    pub(crate) formants_hz: [f64; 3],
    /// Length in ms at this speaker's rate of 1.
    pub(crate) length_ms: f64,
    /// Factor on all levels.
    pub(crate) level: f64,
    pub(crate) friction_hz: f64,
    pub(crate) friction_level: f64,
}

/// A synthetic speaker: the constant part of a voice, from which any number of recordings follow.
///
/// Two of the same configuration, seed and index are the same voice and give the same samples.
#[derive(Debug, Clone)]
pub struct Speaker {
    pub(crate) config: SynthConfig,
    seed: u64,
    index: u64,
    pub(crate) pitch_hz: f64,
    pub(crate) accent: f64,
    /// Where the pitch peaks, in lengths of the vowel from its middle.
    pub(crate) accent_place: f64,
    pub(crate) phrase_accents: [f64; PHRASE_VOWELS],
    /// Log pitch per 2.5 s, and at the end of the phrase.
    pub(crate) declination: f64,
    pub(crate) final_fall: f64,
    pub(crate) vibrato: f64,
    pub(crate) vibrato_hz: f64,
    pub(crate) upper_hz: [f64; 3],
    pub(crate) bandwidth_hz: [f64; 6],
    pub(crate) habits: Vec<Habit>,
    pub(crate) rate: f64,
    pub(crate) inertia_ms: f64,
    pub(crate) voice_onset_ms: f64,
    pub(crate) open: f64,
    pub(crate) skew: f64,
    pub(crate) tilt_hz: f64,
    pub(crate) breath: f64,
    pub(crate) jitter: f64,
    pub(crate) shimmer: f64,
}

impl Speaker {
    /// Speaker `index` of a corpus as it ships.
    #[must_use]
    pub fn draw(seed: u64, corpus: Corpus, index: u64) -> Self {
        Self::from_checked(SynthConfig::new(corpus), seed, index)
    }

    /// Speaker `index` of another configuration.
    ///
    /// # Errors
    /// [`AudioError::SynthSetting`] if a setting is out of its range.
    pub fn draw_with(config: &SynthConfig, seed: u64, index: u64) -> Result<Self, AudioError> {
        config.check()?;
        Ok(Self::from_checked(config.clone(), seed, index))
    }

    fn from_checked(config: SynthConfig, seed: u64, index: u64) -> Self {
        let stream = |purpose, item| Stream::new(seed, config.corpus, purpose, index, item);

        let mut draw = stream(Purpose::Pitch, 0);
        let (pitch_centre_hz, tract_centre) = if draw.unit() < 0.5 { (118.0, 1.0) } else { (205.0, 1.15) };
        let pitch_hz = pitch_centre_hz * draw.factor(config.pitch);
        let accent = draw.uniform(config.accent_low, config.accent_high);
        let accent_place = draw.uniform(-0.5, 0.5);
        let declination = draw.uniform(-0.3, 0.05);
        let final_fall = draw.uniform(-0.25, 0.15);
        let vibrato = draw.uniform(0.0, 0.015);
        let vibrato_hz = draw.uniform(3.0, 6.0);
        let phrase_accents = std::array::from_fn(|_| config.phrase_accent * draw.normal());

        let mut draw = stream(Purpose::Tract, 0);
        let tract = tract_centre * draw.factor(config.tract);
        let upper_hz = UPPER_HZ.map(|hz| hz * tract * draw.factor(config.upper_formants));
        let vowel_space: [f64; 3] = std::array::from_fn(|_| draw.factor(config.vowel_space));
        let bandwidth_hz = BANDWIDTH_HZ.map(|hz| hz * draw.factor(config.bandwidth));
        let nasal_level = draw.factor(0.25);

        let mut draw = stream(Purpose::Voice, 0);
        let open = draw.uniform(0.4, 0.8);
        let skew = draw.uniform(0.6, 0.8);
        let tilt_hz = draw.log_uniform(700.0, 3500.0);
        let breath = draw.log_uniform(0.01, 0.12);
        let jitter = draw.log_uniform(0.004, 0.02);
        let shimmer = draw.log_uniform(0.02, 0.1);

        let mut draw = stream(Purpose::Timing, 0);
        let rate = draw.factor(config.rate);
        let inertia_ms = draw.uniform(8.0, 22.0);
        let voice_onset_ms = draw.uniform(8.0, 45.0);

        let habits = (0..PHONES)
            .map(|number| {
                let phone = &TABLE[number];
                let mut draw = stream(Purpose::Habit, number as u64);
                let formants_hz = std::array::from_fn(|k| {
                    let spread = if phone.manner == Manner::Vowel { vowel_space[k] } else { 1.0 };
                    let aim = CENTRE_HZ[k] * (phone.formants_hz[k] / CENTRE_HZ[k]).powf(spread);
                    aim * draw.factor(config.phone_formant) * tract
                });
                let length_ms = config.corpus.tempo() * phone.length_ms * draw.factor(config.phone_length);
                let nasal = if phone.manner == Manner::Nasal { nasal_level } else { 1.0 };
                let level = nasal * draw.factor(config.phone_level);
                let friction_hz = phone.friction_hz * draw.factor(config.friction_centre);
                let friction_level = draw.factor(config.friction_level);
                Habit { formants_hz, length_ms, level, friction_hz, friction_level }
            })
            .collect();

        Self {
            config,
            seed,
            index,
            pitch_hz,
            accent,
            accent_place,
            phrase_accents,
            declination,
            final_fall,
            vibrato,
            vibrato_hz,
            upper_hz,
            bandwidth_hz,
            habits,
            rate,
            inertia_ms,
            voice_onset_ms,
            open,
            skew,
            tilt_hz,
            breath,
            jitter,
            shimmer,
        }
    }

    /// Number of this speaker in the corpus.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Median pitch in Hz.
    #[must_use]
    pub fn pitch_hz(&self) -> f64 {
        self.pitch_hz
    }

    /// Recording `index` of this speaker at [`RATE_HZ`]: the corpus's phrase with this take's variation, over a channel
    /// of its own. Samples lie in `[-1, 1)` in steps of 1/32768.
    ///
    /// # Panics
    /// Never: any seed and index give audio.
    #[must_use]
    pub fn utterance(&self, index: u64) -> Waveform {
        let score = Score::compose(self, index);
        let speech = tract::speak(self, &score, index);
        let recording = channel::record(self, speech, index);
        // Steps of 16 bits: what a WAV file holds, and coarse enough that the last bit of an f64, in which the
        // mathematical functions of two platforms may differ, does not reach the samples.
        let samples = recording.iter().map(|&x| f32::from((x * 32_768.0).round() as i16) / 32_768.0).collect();
        Waveform::new(samples, RATE_HZ).expect("16-bit steps are finite and the rate is a constant in range")
    }

    pub(crate) fn stream(&self, purpose: Purpose, utterance: u64) -> Stream {
        Stream::new(self.seed, self.config.corpus, purpose, self.index, utterance)
    }
}

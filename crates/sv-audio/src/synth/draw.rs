//! Random streams: each (seed, corpus, purpose, speaker, item) has its own, so a draw added in one place moves nothing
//! elsewhere, and speaker 900 can be drawn without the 899 before.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::Corpus;

/// What a stream is for. The numbers are part of the generator's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Purpose {
    /// Of a speaker.
    Pitch = 1,
    Tract = 2,
    Voice = 3,
    Timing = 4,
    /// Of a speaker and a phone (the item).
    Habit = 5,
    /// Of a speaker and an utterance (the item).
    Phrase = 16,
    Tokens = 17,
    Contour = 18,
    Pulses = 19,
    Breath = 20,
    Friction = 21,
    Room = 22,
    Microphone = 23,
    Noise = 24,
}

/// One stream of draws.
#[derive(Debug, Clone)]
pub(crate) struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of `purpose` for a speaker and an item (an utterance or a phone; 0 where there is none).
    pub(crate) fn new(seed: u64, corpus: Corpus, purpose: Purpose, speaker: u64, item: u64) -> Self {
        let what = (corpus as u64) << 8 | purpose as u64;
        let mut key = [0; 32];
        for (bytes, word) in key.chunks_exact_mut(8).zip([seed, what, speaker, item]) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Standard normal.
    pub(crate) fn normal(&mut self) -> f64 {
        StandardNormal.sample(&mut self.0)
    }

    /// `e^(deviation * N)`: a factor around 1.
    pub(crate) fn factor(&mut self, deviation: f64) -> f64 {
        (deviation * self.normal()).exp()
    }

    /// Uniform in `[0, 1)`, from the 53 upper bits of one word.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform between two bounds.
    pub(crate) fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Log-uniform between two positive bounds.
    pub(crate) fn log_uniform(&mut self, low: f64, high: f64) -> f64 {
        self.uniform(low.ln(), high.ln()).exp()
    }

    /// A whole number from `0..count`; 0 if `count` is 0.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        ((self.unit() * count as f64) as usize).min(count.saturating_sub(1))
    }

    /// White noise of deviation 0.5: uniform, from 32 bits, since there is one draw a sample.
    pub(crate) fn white(&mut self) -> f64 {
        const SPREAD: f64 = 1.732_050_807_568_877_2 / 4_294_967_296.0;
        (f64::from(self.0.next_u32()) - 2_147_483_647.5) * SPREAD
    }
}

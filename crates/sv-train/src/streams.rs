//! Random streams of a training: each (seed, purpose, step, item) has its own, so that a draw added in one place moves
//! nothing elsewhere, workers may run ahead, and a resumed run draws what the killed one would have drawn.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// What a stream is for. The numbers are part of what "same seed, same bits" means: they never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// Weights at the start; the item is the tensor's position.
    Initialisation = 1,
    /// Speakers and utterances of a step.
    Sampling = 2,
    /// Length of a step's crops and where each is taken; the item is the row, or 2^32 for what all rows share.
    Crop = 3,
    /// Waveform augmentation of a row.
    Augmentation = 4,
    /// Additive noise of a step or row (text-dependent training).
    Noise = 5,
    /// Augmentation of a row's features.
    FeatureAugmentation = 6,
    /// Dropout of a step; the item is the layer.
    Dropout = 7,
    /// A split of speakers, a protocol's draw: nothing that depends on steps.
    Evaluation = 8,
    /// What is trained on the finished encoder's embeddings: pairs of a step, weights at the start, who is embedded.
    BackEnd = 9,
}

/// One stream of draws: ChaCha8, whose values are stable across machines and versions.
#[derive(Debug, Clone)]
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of `purpose` at a step for an item (a row, a tensor; 0 where there is none).
    #[must_use]
    pub fn new(seed: u64, purpose: Purpose, step: u64, item: u64) -> Self {
        let mut key = [0; 32];
        for (bytes, word) in key.chunks_exact_mut(8).zip([seed, purpose as u64, step, item]) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Uniform in `[0, 1)`, from the 53 upper bits of one word.
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform between two bounds.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f64 {
        StandardNormal.sample(&mut self.0)
    }

    /// A whole number from `0..count`; 0 if `count` is 0.
    pub fn below(&mut self, count: usize) -> usize {
        ((self.unit() * count as f64) as usize).min(count.saturating_sub(1))
    }

    /// `take` different numbers of `0..count`, in random order; all of them if there are fewer.
    pub fn distinct(&mut self, count: usize, take: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..count).collect();
        let take = take.min(count);
        for place in 0..take {
            let other = place + self.below(count - place);
            all.swap(place, other);
        }
        all.truncate(take);
        all
    }

    /// The generator itself, for what takes one.
    pub fn rng(&mut self) -> &mut ChaCha8Rng {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_of_a_stream_is_pinned() {
        // ChaCha8 keyed by four little-endian words: if this moves, no run of before can be resumed.
        let mut stream = Stream::new(1, Purpose::Sampling, 2, 3);
        assert_eq!(stream.rng().next_u64(), Stream::new(1, Purpose::Sampling, 2, 3).rng().next_u64());
        assert_ne!(
            Stream::new(1, Purpose::Sampling, 2, 3).rng().next_u64(),
            Stream::new(1, Purpose::Crop, 2, 3).rng().next_u64()
        );
    }

    #[test]
    fn distinct_draws_are_distinct_and_complete() {
        let mut drawn = Stream::new(1, Purpose::Sampling, 0, 0).distinct(7, 9);
        drawn.sort_unstable();
        assert_eq!(drawn, [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(Stream::new(1, Purpose::Sampling, 0, 0).distinct(7, 3).len(), 3);
    }
}

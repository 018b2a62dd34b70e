//! The segments of a convolution: for each frame the rows that its taps read, and the way back.

use rayon::prelude::*;

/// How a convolution of stride 1 that keeps the number of frames reads them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taps {
    /// K, odd.
    pub(crate) count: usize,
    /// Frames from one to the next.
    pub(crate) dilation: usize,
    /// What lies outside: the frames mirrored, or zeros.
    pub(crate) mirrored: bool,
}

impl Taps {
    /// The frame that tap `tap` reads at `frame` of `frames`; none for a zero. There are more frames than are mirrored.
    fn source(self, frame: usize, tap: usize, frames: usize) -> Option<usize> {
        let half = self.dilation * (self.count - 1) / 2;
        let place = frame + tap * self.dilation;
        if (half..half + frames).contains(&place) {
            Some(place - half)
        } else if !self.mirrored {
            None
        } else if place < half {
            Some(half - place)
        } else {
            Some(2 * (frames - 1) + half - place)
        }
    }

    /// Copies `x` (sequences, frames, channels) into segments (sequences, frames, K, channels).
    pub(crate) fn gather(self, x: &[f32], frames: usize, channels: usize, segments: &mut [f32]) {
        let sequence = frames * channels;
        x.par_chunks_exact(sequence).zip(segments.par_chunks_exact_mut(sequence * self.count)).for_each(|(x, to)| {
            for (frame, to) in to.chunks_exact_mut(self.count * channels).enumerate() {
                for (tap, to) in to.chunks_exact_mut(channels).enumerate() {
                    match self.source(frame, tap, frames) {
                        Some(place) => to.copy_from_slice(&x[place * channels..][..channels]),
                        None => to.fill(0.0),
                    }
                }
            }
        });
    }

    /// Adds up what each row of `x` is to the segments: `x` (sequences, frames, channels) from the segments' gradients.
    pub(crate) fn scatter(self, segments: &[f32], frames: usize, channels: usize, x: &mut [f32]) {
        let sequence = frames * channels;
        x.par_chunks_exact_mut(sequence).zip(segments.par_chunks_exact(sequence * self.count)).for_each(|(x, from)| {
            x.fill(0.0);
            for (frame, from) in from.chunks_exact(self.count * channels).enumerate() {
                for (tap, from) in from.chunks_exact(channels).enumerate() {
                    if let Some(place) = self.source(frame, tap, frames) {
                        for (x, &from) in x[place * channels..][..channels].iter_mut().zip(from) {
                            *x += from;
                        }
                    }
                }
            }
        });
    }

    /// The weights of a convolution (O, I, K) as those of its segments, (O, K, I).
    pub(crate) fn matrix(self, weight: &[f32], channels: usize) -> Vec<f32> {
        self.turned(weight, self.count, channels)
    }

    /// The way back: (O, K, I) as (O, I, K).
    pub(crate) fn weight(self, matrix: &[f32], channels: usize) -> Vec<f32> {
        self.turned(matrix, channels, self.count)
    }

    /// Each `outer * inner` values, lying (inner, outer), as (outer, inner).
    fn turned(self, values: &[f32], outer: usize, inner: usize) -> Vec<f32> {
        let mut turned = vec![0.0; values.len()];
        let size = outer * inner;
        for (to, from) in turned.chunks_exact_mut(size).zip(values.chunks_exact(size)) {
            for (a, to) in to.chunks_exact_mut(inner).enumerate() {
                for (b, to) in to.iter_mut().enumerate() {
                    *to = from[b * outer + a];
                }
            }
        }
        turned
    }
}

//! The mono mix as it grows: mean of the channels, trimming, limits, clipping.

use std::ops::Range;

use symphonia::core::audio::conv::FromSample;
use symphonia::core::audio::sample::Sample;
use symphonia::core::audio::{Audio, AudioBuffer, GenericAudioBufferRef};

use super::{DecodeError, DecodeLimits};

/// From here on a sample counts as full scale: the largest 16-bit sample is 0.99997.
const FULL_SCALE: f32 = 0.9999;

/// Mono samples under construction.
pub(super) struct Mono<'l> {
    limits: &'l DecodeLimits,
    samples: Vec<f32>,
    rate_hz: u32,
    /// Frames still to be dropped at the start.
    skip: u64,
    /// Frames that were decoded, dropped ones included.
    decoded: u64,
    /// Samples of all channels, and those at full scale.
    seen: u64,
    clipped: u64,
    /// Most channels of any block.
    channels: usize,
}

impl<'l> Mono<'l> {
    /// An empty mix at `rate_hz` whose first `skip` frames will be dropped.
    pub(super) fn new(limits: &'l DecodeLimits, rate_hz: u32, skip: u64) -> Result<Self, DecodeError> {
        limits.check_rate(rate_hz)?;
        Ok(Self { limits, samples: Vec::new(), rate_hz, skip, decoded: 0, seen: 0, clipped: 0, channels: 0 })
    }

    pub(super) fn rate_hz(&self) -> u32 {
        self.rate_hz
    }

    /// Samples kept so far.
    pub(super) fn len(&self) -> usize {
        self.samples.len()
    }

    /// Frames decoded so far, dropped ones included.
    pub(super) fn decoded(&self) -> u64 {
        self.decoded
    }

    pub(super) fn channels(&self) -> usize {
        self.channels
    }

    /// Samples at full scale, and all samples, over all channels.
    pub(super) fn clipped(&self) -> (u64, u64) {
        (self.clipped, self.seen)
    }

    /// The samples, no more than `keep` of them.
    pub(super) fn into_samples(mut self, keep: Option<u64>) -> Vec<f32> {
        if let Some(keep) = keep {
            self.samples.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
        }
        self.samples
    }

    /// Adds a decoded buffer.
    pub(super) fn push(&mut self, buffer: &GenericAudioBufferRef<'_>) -> Result<(), DecodeError> {
        match buffer {
            GenericAudioBufferRef::U8(b) => self.push_planes(b),
            GenericAudioBufferRef::U16(b) => self.push_planes(b),
            GenericAudioBufferRef::U24(b) => self.push_planes(b),
            GenericAudioBufferRef::U32(b) => self.push_planes(b),
            GenericAudioBufferRef::S8(b) => self.push_planes(b),
            GenericAudioBufferRef::S16(b) => self.push_planes(b),
            GenericAudioBufferRef::S24(b) => self.push_planes(b),
            GenericAudioBufferRef::S32(b) => self.push_planes(b),
            GenericAudioBufferRef::F32(b) => self.push_planes(b),
            GenericAudioBufferRef::F64(b) => self.push_planes(b),
        }
    }

    fn push_planes<S: Sample>(&mut self, buffer: &AudioBuffer<S>) -> Result<(), DecodeError>
    where
        f32: FromSample<S>,
    {
        let channels = self.limits.check_channels(buffer.num_planes())?;
        let Some(frames) = self.admit(buffer.frames(), channels)? else { return Ok(()) };
        let start = self.samples.len();
        for (index, plane) in buffer.iter_planes().enumerate() {
            let values = plane.get(frames.clone()).unwrap_or(&[]).iter().map(|&sample| f32::from_sample(sample));
            if index == 0 {
                self.samples.extend(values);
                self.clipped += count_clipped(&self.samples[start..]);
            } else {
                let mut clipped = 0_u64;
                for (sum, value) in self.samples[start..].iter_mut().zip(values) {
                    clipped += u64::from(value.abs() >= FULL_SCALE);
                    *sum += value;
                }
                self.clipped += clipped;
            }
        }
        self.scale(start, channels);
        Ok(())
    }

    /// Adds interleaved frames of `channels` samples of `N` bytes each, read by `value`.
    pub(super) fn push_bytes<const N: usize>(
        &mut self,
        bytes: &[u8],
        channels: usize,
        value: impl Fn([u8; N]) -> f32,
    ) -> Result<(), DecodeError> {
        let width = N * self.limits.check_channels(channels)?;
        let Some(frames) = self.admit(bytes.len() / width, channels)? else { return Ok(()) };
        let start = self.samples.len();
        let bytes = &bytes[frames.start * width..frames.end * width];
        let (samples, _) = bytes.as_chunks::<N>();
        if channels == 1 {
            self.samples.extend(samples.iter().map(|&sample| value(sample)));
            self.clipped += count_clipped(&self.samples[start..]);
        } else {
            let mut clipped = 0_u64;
            self.samples.extend(samples.chunks_exact(channels).map(|frame| {
                frame.iter().fold(0.0, |sum, &sample| {
                    let value = value(sample);
                    clipped += u64::from(value.abs() >= FULL_SCALE);
                    sum + value
                })
            }));
            self.clipped += clipped;
        }
        self.scale(start, channels);
        Ok(())
    }

    /// Adds interleaved frames of `channels` 16-bit samples, each times `scale`.
    #[cfg(feature = "opus")]
    pub(super) fn push_samples(&mut self, samples: &[i16], channels: usize, scale: f32) -> Result<(), DecodeError> {
        let channels = self.limits.check_channels(channels)?;
        let Some(frames) = self.admit(samples.len() / channels, channels)? else { return Ok(()) };
        let start = self.samples.len();
        let samples = &samples[frames.start * channels..frames.end * channels];
        self.clipped +=
            samples.iter().filter(|&&sample| (f32::from(sample) * scale).abs() >= FULL_SCALE).count() as u64;
        let sums = samples.chunks_exact(channels).map(|frame| frame.iter().map(|&s| f32::from(s) * scale).sum::<f32>());
        self.samples.extend(sums);
        self.scale(start, channels);
        Ok(())
    }

    /// Takes the next `frames` frames: counts them, makes room, and says which of them are to be kept.
    fn admit(&mut self, frames: usize, channels: usize) -> Result<Option<Range<usize>>, DecodeError> {
        self.decoded += frames as u64;
        self.channels = self.channels.max(channels);
        let drop = usize::try_from(self.skip).unwrap_or(usize::MAX).min(frames);
        self.skip -= drop as u64;
        if drop == frames {
            return Ok(None);
        }
        let wanted = self.samples.len() + (frames - drop);
        self.limits.check_length(wanted as u64, self.rate_hz)?;
        if wanted > self.samples.capacity() {
            // Doubling, but never past the limit by more than what is needed now.
            let limit = usize::try_from(self.limits.max_bytes / 4).unwrap_or(usize::MAX);
            let capacity = wanted.max((2 * self.samples.capacity()).min(limit)).max(1 << 14);
            self.samples
                .try_reserve_exact(capacity - self.samples.len())
                .map_err(|_| DecodeError::TooLarge { max_bytes: self.samples.capacity() as u64 * 4 })?;
        }
        self.seen += ((frames - drop) * channels) as u64;
        Ok(Some(drop..frames))
    }

    fn scale(&mut self, start: usize, channels: usize) {
        if channels > 1 {
            let share = 1.0 / channels as f32;
            self.samples[start..].iter_mut().for_each(|sample| *sample *= share);
        }
    }
}

fn count_clipped(samples: &[f32]) -> u64 {
    samples.iter().map(|sample| u32::from(sample.abs() >= FULL_SCALE)).sum::<u32>().into()
}

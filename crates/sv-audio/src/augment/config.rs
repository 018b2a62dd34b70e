//! Settings of the effects, as a recipe names them.

use serde::{Deserialize, Serialize};

use crate::{AudioError, Waveform};

/// Which effects there are; one that is absent never happens. The default has none.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AugmentConfig {
    /// Faster or slower.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed: Option<Speed>,
    /// A room that is drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reverberation: Option<Reverberation>,
    /// A room that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub impulse_responses: Option<ImpulseResponses>,
    /// Recorded noise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise: Option<Noise>,
    /// The bands of a microphone or a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub band_limit: Option<BandLimit>,
    /// Peaks and a tilt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub equaliser: Option<Equaliser>,
    /// Louder or quieter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gain: Option<Gain>,
    /// Too loud for the recorder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clipping: Option<Clipping>,
    /// A telephone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codec: Option<Codec>,
    /// Narrow bands are lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped_bands: Option<DroppedBands>,
    /// Stretches are lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped_chunks: Option<DroppedChunks>,
}

/// Faster or slower by resampling: pitch and formants move along.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Speed {
    /// Share of recordings that it happens to, 0 to 1; so in all effects.
    pub probability: f64,
    /// Speeds, each as likely, 0.5 to 2; 1.1 is a tenth faster. At most 64.
    pub factors: Vec<f64>,
}

/// A synthetic room: a direct sound and a tail of noise that decays exponentially. The level is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reverberation {
    /// See [`Speed::probability`].
    pub probability: f64,
    /// Least and greatest time in which the tail falls by 60 dB, in seconds: 0.01 to 5.
    pub decay_s: [f64; 2],
    /// Least and greatest energy of the direct sound over the tail's, in dB: -20 to 60.
    pub direct_db: [f64; 2],
}

/// One of the given impulse responses, aligned to its direct sound (its largest tap). The level is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImpulseResponses {
    /// See [`Speed::probability`].
    pub probability: f64,
}

/// One of the given noises, from anywhere in it, repeated where it is too short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noise {
    /// See [`Speed::probability`].
    pub probability: f64,
    /// Least and greatest power of the recording over the noise's, in dB: -40 to 100.
    pub snr_db: [f64; 2],
}

/// A high pass and a low pass of fourth order, 6 dB down at their corners, without delay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BandLimit {
    /// See [`Speed::probability`].
    pub probability: f64,
    /// Least and greatest lower corner in Hz, log-uniform: from 1 to below half the rate.
    pub low_hz: [f64; 2],
    /// Least and greatest upper corner in Hz, log-uniform: the same, and not below the lower one's.
    pub high_hz: [f64; 2],
}

/// Peaks at random frequencies, half an octave to two octaves wide, and a tilt about 1 kHz.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Equaliser {
    /// See [`Speed::probability`].
    pub probability: f64,
    /// Number of peaks, at most 32.
    pub peaks: usize,
    /// Greatest gain of a peak, up or down, in dB: 0 to 40.
    pub peak_db: f64,
    /// Greatest gain at the highest frequencies, and its reverse at the lowest, in dB: 0 to 40.
    pub tilt_db: f64,
}

/// Louder or quieter as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gain {
    /// See [`Speed::probability`].
    pub probability: f64,
    /// Least and greatest gain in dB: -100 to 100.
    pub db: [f64; 2],
}

/// Samples beyond a share of the recording's peak are cut off there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clipping {
    /// See [`Speed::probability`].
    pub probability: f64,
    /// Least and greatest share, 0.001 to 1.
    pub share_of_peak: [f64; 2],
}

/// 8 kHz and 8 bits of mu-law, as telephones have; samples beyond full scale are cut off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Codec {
    /// See [`Speed::probability`].
    pub probability: f64,
}

/// Some narrow bands are filtered out, each a twentieth of half the rate to either side of its centre.
///
/// # Source
/// SpeechBrain 1.0.3, `augment/time_domain.py: DropFreq`: 1 to 3 bands, filters of 101 taps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DroppedBands {
    /// See [`Speed::probability`].
    pub probability: f64,
    /// Least and greatest number of bands, 0 to 32, each number as likely.
    pub count: [usize; 2],
}

/// Some stretches are silent.
///
/// # Source
/// SpeechBrain 1.0.3, `augment/time_domain.py: DropChunk`: 1 to 5 stretches of 1,000 to 2,000 samples at 16 kHz.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DroppedChunks {
    /// See [`Speed::probability`].
    pub probability: f64,
    /// Least and greatest number of stretches, 0 to 100, each number as likely. They may overlap.
    pub count: [usize; 2],
    /// Least and greatest number of samples of each, up to 10,000,000; of a recording that is no longer than the greatest, the
    /// stretch that is drawn begins at its start.
    pub samples: [usize; 2],
}

impl AugmentConfig {
    /// Refuses settings out of the ranges above, for recordings at `rate_hz`.
    ///
    /// # Errors
    /// [`AudioError::Setting`] names the first.
    pub fn validate(&self, rate_hz: u32) -> Result<(), AudioError> {
        let probabilities = [
            ("augmentation.speed.probability", self.speed.as_ref().map(|effect| effect.probability)),
            ("augmentation.reverberation.probability", self.reverberation.as_ref().map(|effect| effect.probability)),
            (
                "augmentation.impulse_responses.probability",
                self.impulse_responses.as_ref().map(|effect| effect.probability),
            ),
            ("augmentation.noise.probability", self.noise.as_ref().map(|effect| effect.probability)),
            ("augmentation.band_limit.probability", self.band_limit.as_ref().map(|effect| effect.probability)),
            ("augmentation.equaliser.probability", self.equaliser.as_ref().map(|effect| effect.probability)),
            ("augmentation.gain.probability", self.gain.as_ref().map(|effect| effect.probability)),
            ("augmentation.clipping.probability", self.clipping.as_ref().map(|effect| effect.probability)),
            ("augmentation.codec.probability", self.codec.as_ref().map(|effect| effect.probability)),
            ("augmentation.dropped_bands.probability", self.dropped_bands.as_ref().map(|effect| effect.probability)),
            ("augmentation.dropped_chunks.probability", self.dropped_chunks.as_ref().map(|effect| effect.probability)),
        ];
        for (name, probability) in probabilities {
            if let Some(probability) = probability.filter(|probability| !(0.0..=1.0).contains(probability)) {
                return Err(AudioError::Setting { name, value: probability.to_string(), allowed: "0 to 1" });
            }
        }
        if let Some(Speed { factors, .. }) = &self.speed {
            let rates = factors.iter().map(|factor| (f64::from(rate_hz) * factor).round());
            let known = f64::from(Waveform::MIN_RATE_HZ)..=f64::from(Waveform::MAX_RATE_HZ);
            let possible = factors.iter().all(|factor| (0.5..=2.0).contains(factor));
            if !(1..=64).contains(&factors.len()) || !possible || !rates.into_iter().all(|rate| known.contains(&rate)) {
                let allowed = "1 to 64 factors from 0.5 to 2";
                return Err(AudioError::Setting {
                    name: "augmentation.speed.factors",
                    value: format!("{factors:?}"),
                    allowed,
                });
            }
        }
        if let Some(room) = &self.reverberation {
            within("augmentation.reverberation.decay_s", room.decay_s, [0.01, 5.0], "[least, greatest], 0.01 to 5 s")?;
            within("augmentation.reverberation.direct_db", room.direct_db, [-20.0, 60.0], DECIBELS[0])?;
        }
        if let Some(noise) = &self.noise {
            within("augmentation.noise.snr_db", noise.snr_db, [-40.0, 100.0], DECIBELS[1])?;
        }
        if let Some(band) = &self.band_limit {
            let highest = 0.499 * f64::from(rate_hz);
            let allowed =
                "[least, greatest] in Hz, from 1 to 0.499 times the rate, the upper corner not below the lower";
            within("augmentation.band_limit.low_hz", band.low_hz, [1.0, highest], allowed)?;
            within("augmentation.band_limit.high_hz", band.high_hz, [band.low_hz[1], highest], allowed)?;
        }
        if let Some(equaliser) = &self.equaliser {
            if equaliser.peaks > 32 {
                let (name, value) = ("augmentation.equaliser.peaks", equaliser.peaks.to_string());
                return Err(AudioError::Setting { name, value, allowed: "at most 32" });
            }
            for (name, db) in [
                ("augmentation.equaliser.peak_db", equaliser.peak_db),
                ("augmentation.equaliser.tilt_db", equaliser.tilt_db),
            ] {
                within(name, [db, db], [0.0, 40.0], "0 to 40 dB")?;
            }
        }
        if let Some(gain) = &self.gain {
            within("augmentation.gain.db", gain.db, [-100.0, 100.0], DECIBELS[2])?;
        }
        let numbers = |name, range: [usize; 2], most, allowed| {
            if range[0] <= range[1] && range[1] <= most {
                return Ok(());
            }
            Err(AudioError::Setting { name, value: format!("{range:?}"), allowed })
        };
        if let Some(bands) = &self.dropped_bands {
            numbers("augmentation.dropped_bands.count", bands.count, 32, "[least, greatest], 0 to 32")?;
        }
        if let Some(chunks) = &self.dropped_chunks {
            numbers("augmentation.dropped_chunks.count", chunks.count, 100, "[least, greatest], 0 to 100")?;
            let allowed = "[least, greatest], 0 to 10000000 samples";
            numbers("augmentation.dropped_chunks.samples", chunks.samples, 10_000_000, allowed)?;
        }
        if let Some(clipping) = &self.clipping {
            let allowed = "[least, greatest], 0.001 to 1";
            within("augmentation.clipping.share_of_peak", clipping.share_of_peak, [0.001, 1.0], allowed)?;
        }
        Ok(())
    }
}

const DECIBELS: [&str; 3] =
    ["[least, greatest], -20 to 60 dB", "[least, greatest], -40 to 100 dB", "[least, greatest], -100 to 100 dB"];

fn within(
    name: &'static str,
    [low, high]: [f64; 2],
    [least, most]: [f64; 2],
    allowed: &'static str,
) -> Result<(), AudioError> {
    // Written so that NaN fails too.
    if least <= low && low <= high && high <= most {
        return Ok(());
    }
    Err(AudioError::Setting { name, value: format!("[{low}, {high}]"), allowed })
}

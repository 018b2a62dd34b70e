//! What rooms, microphones and telephones do to speech, drawn at random for training.
//!
//! ```
//! use rand::SeedableRng;
//! use sv_audio::Waveform;
//! use sv_audio::augment::{AugmentConfig, Augmenter, Gain, Noise};
//!
//! let config = AugmentConfig {
//!     noise: Some(Noise { probability: 0.5, snr_db: [5.0, 20.0] }),
//!     gain: Some(Gain { probability: 1.0, db: [-6.0, 6.0] }),
//!     ..AugmentConfig::default()
//! };
//! let hum = Waveform::new((0..800).map(|k| (0.04 * k as f32).sin()).collect(), 8_000)?;
//! let augmenter = Augmenter::new(&config, 8_000, vec![hum], vec![])?;
//! let speech = Waveform::new((0..8_000).map(|k| (0.3 * k as f32).sin()).collect(), 8_000)?;
//! let mut generator = rand_chacha::ChaCha8Rng::seed_from_u64(1);
//! assert_eq!(augmenter.apply(&speech, &mut generator)?.len(), speech.len());
//! # Ok::<(), sv_audio::AudioError>(())
//! ```
//!
//! Effects come in the order in which sound meets them: the voice (speed), the room, other sounds, the microphone (bands,
//! equaliser, gain), the line (clipping, codec, lost bands and stretches). Each happens with a probability of its own.

mod config;
mod convolve;
mod draw;
mod dropped;
mod filters;
mod room;
#[cfg(test)]
mod tests;

use rand::Rng;

pub use config::{
    AugmentConfig, BandLimit, Clipping, Codec, DroppedBands, DroppedChunks, Equaliser, Gain, ImpulseResponses, Noise,
    Reverberation, Speed,
};

use crate::resample::{ResamplePlan, Resampler};
use crate::{AudioError, Waveform};
use convolve::convolve;
use draw::{happens, log_uniform, place, uniform};
use filters::{Biquad, run, run_both_ways};

/// Rate of the telephone that [`Codec`] stands for, in Hz.
const TELEPHONE_HZ: u32 = 8_000;
/// Quality of band limits: Butterworth's.
const FLAT: f64 = std::f64::consts::FRAC_1_SQRT_2;
/// Frequency about which the tilt of an equaliser turns, in Hz.
const TILT_HZ: f64 = 1_000.0;

/// Effects with what they need, ready for recordings of one rate. `Send + Sync`: share it between threads.
#[derive(Debug, Clone)]
pub struct Augmenter {
    config: AugmentConfig,
    rate_hz: u32,
    noises: Vec<Vec<f32>>,
    responses: Vec<Response>,
    /// A plan a speed, in the configuration's order.
    speeds: Vec<ResamplePlan>,
    /// To the telephone's rate and back, where it is another.
    telephone: Option<(ResamplePlan, ResamplePlan)>,
}

/// An impulse response and the place of its direct sound.
#[derive(Debug, Clone)]
struct Response {
    taps: Vec<f32>,
    direct: usize,
}

impl Augmenter {
    /// Plans the effects for recordings at `rate_hz`; `noises` and `impulse_responses` are at the same rate.
    ///
    /// # Errors
    /// [`AudioError::Setting`] for a setting out of its range, for noise or impulse responses that are configured but not
    /// given, and for such a recording without any sound; [`AudioError::WrongRate`] for one at another rate;
    /// [`AudioError::Rate`].
    pub fn new(
        config: &AugmentConfig,
        rate_hz: u32,
        noises: Vec<Waveform>,
        impulse_responses: Vec<Waveform>,
    ) -> Result<Self, AudioError> {
        Waveform::check_rate(rate_hz)?;
        config.validate(rate_hz)?;
        for (name, wanted, given) in [
            ("augmentation.noise", config.noise.is_some(), &noises),
            ("augmentation.impulse_responses", config.impulse_responses.is_some(), &impulse_responses),
        ] {
            if wanted && given.is_empty() {
                let allowed = "given with at least one recording to take from";
                return Err(AudioError::Setting { name, value: "no recordings".to_owned(), allowed });
            }
            if let Some(wave) = given.iter().find(|wave| wave.rate_hz() != rate_hz) {
                return Err(AudioError::WrongRate { rate_hz: wave.rate_hz(), need_hz: rate_hz });
            }
            if let Some(place) = given.iter().position(|wave| wave.samples().iter().all(|&sample| sample == 0.0)) {
                let value = format!("recording {place} without any sound");
                return Err(AudioError::Setting { name, value, allowed: "recordings with sound in them" });
            }
        }
        let plan = |from_hz, to_hz| ResamplePlan::new(from_hz, to_hz, Resampler::Sharp);
        let factors = config.speed.iter().flat_map(|speed| &speed.factors);
        let faster = factors.map(|factor| plan((f64::from(rate_hz) * factor).round() as u32, rate_hz));
        let telephone = config.codec.is_some() && rate_hz != TELEPHONE_HZ;
        let telephone = telephone.then(|| Ok((plan(rate_hz, TELEPHONE_HZ)?, plan(TELEPHONE_HZ, rate_hz)?)));
        Ok(Self {
            config: config.clone(),
            rate_hz,
            noises: noises.into_iter().map(Waveform::into_samples).collect(),
            responses: impulse_responses.into_iter().map(Response::new).collect(),
            speeds: faster.collect::<Result<_, _>>()?,
            telephone: telephone.transpose()?,
        })
    }

    /// A recording after what was drawn for it: as long as it was, but for a change of speed, and not delayed.
    ///
    /// The same generator state gives the same samples. Samples may exceed 1. An empty recording stays empty.
    ///
    /// # Errors
    /// [`AudioError::WrongRate`]; [`AudioError::NotFinite`] if a sample near the largest f32 is made louder still.
    pub fn apply(&self, wave: &Waveform, generator: &mut impl Rng) -> Result<Waveform, AudioError> {
        if wave.rate_hz() != self.rate_hz {
            return Err(AudioError::WrongRate { rate_hz: wave.rate_hz(), need_hz: self.rate_hz });
        }
        let mut samples = wave.samples().to_vec();
        let AugmentConfig {
            speed,
            reverberation,
            impulse_responses,
            noise,
            band_limit,
            equaliser,
            gain,
            clipping,
            codec,
            dropped_bands,
            dropped_chunks,
        } = &self.config;
        if let Some(Speed { probability, .. }) = speed
            && happens(*probability, generator)
        {
            samples = self.speeds[place(self.speeds.len(), generator)].process(&samples)?;
        }
        if let Some(room) = reverberation
            && happens(room.probability, generator)
        {
            samples = room::reverberated(&samples, room, self.rate_hz, generator);
        }
        if let Some(ImpulseResponses { probability }) = impulse_responses
            && happens(*probability, generator)
        {
            let response = &self.responses[place(self.responses.len(), generator)];
            samples = room::at_the_level_of(&samples, convolve(&samples, &response.taps, response.direct));
        }
        if let Some(Noise { probability, snr_db }) = noise
            && happens(*probability, generator)
        {
            add_noise(&mut samples, &self.noises[place(self.noises.len(), generator)], *snr_db, generator);
        }
        if let Some(BandLimit { probability, low_hz, high_hz }) = band_limit
            && happens(*probability, generator)
        {
            let rate_hz = f64::from(self.rate_hz);
            let low = Biquad::high_pass(log_uniform(*low_hz, generator), FLAT, rate_hz);
            let high = Biquad::low_pass(log_uniform(*high_hz, generator), FLAT, rate_hz);
            run_both_ways(&[low, high], &mut samples);
        }
        if let Some(equaliser) = equaliser
            && happens(equaliser.probability, generator)
        {
            run(&drawn_filters(equaliser, self.rate_hz, generator), &mut samples);
        }
        if let Some(Gain { probability, db }) = gain
            && happens(*probability, generator)
        {
            scale(&mut samples, 10_f64.powf(uniform(*db, generator) / 20.0));
        }
        if let Some(Clipping { probability, share_of_peak }) = clipping
            && happens(*probability, generator)
        {
            let peak = samples.iter().fold(0.0, |peak: f32, sample| peak.max(sample.abs()));
            let most = (f64::from(peak) * uniform(*share_of_peak, generator)) as f32;
            samples.iter_mut().for_each(|sample| *sample = sample.clamp(-most, most));
        }
        if let Some(Codec { probability }) = codec
            && happens(*probability, generator)
        {
            samples = self.through_the_telephone(samples)?;
        }
        if let Some(bands) = dropped_bands
            && happens(bands.probability, generator)
        {
            samples = dropped::without_bands(samples, bands.count, generator);
        }
        if let Some(chunks) = dropped_chunks
            && happens(chunks.probability, generator)
        {
            dropped::silence_chunks(&mut samples, chunks.count, chunks.samples, generator);
        }
        Waveform::new(samples, self.rate_hz)
    }

    /// To 8 kHz, 8 bits of mu-law, and back.
    fn through_the_telephone(&self, samples: Vec<f32>) -> Result<Vec<f32>, AudioError> {
        let len = samples.len();
        let mut samples = match &self.telephone {
            Some((there, back)) => {
                let mut narrow = there.process(&samples)?;
                narrow.iter_mut().for_each(|sample| *sample = mu_law(*sample));
                back.process(&narrow)?
            }
            None => samples.into_iter().map(mu_law).collect(),
        };
        samples.resize(len, 0.0);
        Ok(samples)
    }
}

impl Response {
    fn new(wave: Waveform) -> Self {
        let taps = wave.into_samples();
        let mut direct = 0;
        for (place, tap) in taps.iter().enumerate() {
            if tap.abs() > taps[direct].abs() {
                direct = place;
            }
        }
        Self { taps, direct }
    }
}

/// Adds a stretch of noise, begun anywhere and repeated, at a drawn ratio of powers over the whole recording.
fn add_noise(samples: &mut [f32], noise: &[f32], snr_db: [f64; 2], generator: &mut impl Rng) {
    let ratio = 10_f64.powf(uniform(snr_db, generator) / 10.0);
    let first = place(noise.len(), generator);
    let stretch = || noise.iter().cycle().skip(first);
    let added: f64 = stretch().take(samples.len()).map(|&sample| f64::from(sample).powi(2)).sum();
    let speech: f64 = samples.iter().map(|&sample| f64::from(sample).powi(2)).sum();
    if added > 0.0 {
        let gain = (speech / added / ratio).sqrt();
        samples.iter_mut().zip(stretch()).for_each(|(sample, noise)| *sample += (gain * f64::from(*noise)) as f32);
    }
}

/// Peaks at random places, and a tilt about 1 kHz.
fn drawn_filters(equaliser: &Equaliser, rate_hz: u32, generator: &mut impl Rng) -> Vec<Biquad> {
    let Equaliser { peaks, peak_db, tilt_db, .. } = *equaliser;
    let rate_hz = f64::from(rate_hz);
    let highest_hz = 0.45 * rate_hz;
    let mut filters = Vec::with_capacity(peaks + 1);
    for _ in 0..peaks {
        let centre_hz = log_uniform([60.0, highest_hz], generator);
        let quality = log_uniform([0.5, 2.0], generator);
        filters.push(Biquad::peak(centre_hz, quality, uniform([-peak_db, peak_db], generator), rate_hz));
    }
    let tilt_db = uniform([-tilt_db, tilt_db], generator);
    // From -tilt below to +tilt above: a shelf of twice the tilt, lowered by it.
    filters.push(Biquad::high_shelf(TILT_HZ.min(highest_hz), 2.0 * tilt_db, rate_hz).louder(-tilt_db));
    filters
}

fn scale(samples: &mut [f32], gain: f64) {
    samples.iter_mut().for_each(|sample| *sample = (f64::from(*sample) * gain) as f32);
}

/// A sample after 8 bits: a sign and 127 steps of the logarithm; what is beyond full scale is cut off.
///
/// # Source
/// The continuous law of ITU-T G.711 with mu = 255; its piecewise form differs by less than a step.
fn mu_law(sample: f32) -> f32 {
    const MU: f64 = 255.0;
    let magnitude = f64::from(sample).abs().min(1.0);
    let step = (127.0 * (MU * magnitude).ln_1p() / MU.ln_1p()).round();
    let magnitude = (step / 127.0 * MU.ln_1p()).exp_m1() / MU;
    magnitude.copysign(f64::from(sample)) as f32
}

//! The planned form of a front end.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use super::pipeline::Pipeline;
use super::{AudioError, FrontEnd, Level, VadChoice, Waveform};
use crate::Features;
use crate::level::raise_to_dbfs;
use crate::resample::ResamplePlan;
use crate::windows::{Extent, WindowPlan, Windows};

/// Plans kept for the rates that were met, most recent last. A corpus has one or two.
const KEPT_PLANS: usize = 4;

/// Turns recordings into features as a [`FrontEnd`] says, with everything that can be computed beforehand computed.
///
/// `Send + Sync`, and a clone shares the plan: one for the whole program is enough.
#[derive(Debug, Clone)]
pub struct FeatureExtractor(Arc<Planned>);

#[derive(Debug)]
struct Planned {
    front_end: FrontEnd,
    pipeline: Pipeline,
    /// Resampling depends on the recording's rate, so these are planned when it is met.
    resampling: Mutex<Vec<Arc<ResamplePlan>>>,
}

impl FeatureExtractor {
    /// Largest magnitude of a sample that [`Self::features`] takes; full scale is 1.
    pub const MAX_SAMPLE: f32 = 1e9;

    /// Plans `front_end`.
    ///
    /// # Errors
    /// Whatever [`FrontEnd::validate`] refuses.
    pub fn new(front_end: &FrontEnd) -> Result<Self, AudioError> {
        front_end.validate()?;
        Ok(Self(Arc::new(Planned {
            pipeline: Pipeline::new(front_end)?,
            resampling: Mutex::default(),
            front_end: front_end.clone(),
        })))
    }

    /// What was planned.
    #[must_use]
    pub fn front_end(&self) -> &FrontEnd {
        &self.0.front_end
    }

    /// Least number of samples, at the front end's rate, that [`Self::features`] takes.
    #[must_use]
    pub fn min_samples(&self) -> usize {
        self.0.pipeline.min_samples()
    }

    /// Number of frames that `samples` samples at the front end's rate give; 0 if they are too few.
    #[must_use]
    pub fn frames(&self, samples: usize) -> usize {
        self.0.pipeline.frames(samples)
    }

    /// The recording as the features want it: at the front end's rate, its level set, its silences cut out where the front end
    /// has a VAD.
    ///
    /// # Errors
    /// [`AudioError::DigitalSilence`] where a level is to be set and all samples are zero or there are none,
    /// [`AudioError::NoSpeech`] if the VAD keeps nothing, and what else the VAD and [`Waveform::resampled`] return.
    pub fn prepare(&self, wave: &Waveform) -> Result<Waveform, AudioError> {
        self.prepared(wave).map(Cow::into_owned)
    }

    /// Features (T frames, F bins) of a recording that is prepared already.
    ///
    /// # Errors
    /// [`AudioError::WrongRate`] unless it is at the front end's rate; [`AudioError::TooShort`] below [`Self::min_samples`];
    /// [`AudioError::TooLoud`] beyond [`Self::MAX_SAMPLE`], where powers could overflow.
    pub fn features(&self, wave: &Waveform) -> Result<Features, AudioError> {
        let Planned { front_end, pipeline, .. } = &*self.0;
        let (samples, rate_hz, need_hz) = (wave.samples(), wave.rate_hz(), front_end.rate_hz);
        if rate_hz != need_hz {
            return Err(AudioError::WrongRate { rate_hz, need_hz });
        }
        if samples.len() < self.min_samples() {
            return Err(AudioError::TooShort { samples: samples.len(), need: self.min_samples(), rate_hz });
        }
        if let Some(index) = samples.iter().position(|sample| sample.abs() > Self::MAX_SAMPLE) {
            return Err(AudioError::TooLoud { index, value: samples[index] });
        }

        let mut features = pipeline.features(samples);
        if let Some(deltas) = front_end.deltas {
            features = deltas.append(&features);
        }
        if let Some(context) = front_end.context {
            features = context.gather(&features);
        }
        if let Some(cmn) = front_end.cmn {
            cmn.apply(&mut features);
        }
        Ok(Features::new(features))
    }

    /// [`Self::prepare`], then [`Self::features`].
    ///
    /// # Errors
    /// As both.
    pub fn extract(&self, wave: &Waveform) -> Result<Features, AudioError> {
        self.features(&*self.prepared(wave)?)
    }

    /// Features of a recording that is prepared already, and the pieces that `windows` cuts them into: the wave is extended with
    /// zeros first where the windows ask for it.
    ///
    /// # Errors
    /// Those of [`Self::features`], [`Windows::padded_samples`] and [`Windows::plan`].
    pub fn pieces(&self, wave: &Waveform, windows: &Windows) -> Result<(Features, WindowPlan), AudioError> {
        let front_end = self.front_end();
        let extent = Extent { samples: wave.len(), rate_hz: wave.rate_hz(), hop_samples: front_end.hop };
        let padded = windows.padded_samples(&extent)?;
        let features = if padded > wave.len() {
            let mut samples = Vec::with_capacity(padded);
            samples.extend_from_slice(wave.samples());
            samples.resize(padded, 0.0);
            self.features(&Waveform::new(samples, wave.rate_hz())?)?
        } else {
            self.features(wave)?
        };
        let plan = windows.plan(&extent, features.frames())?;
        Ok((features, plan))
    }

    fn prepared<'a>(&self, wave: &'a Waveform) -> Result<Cow<'a, Waveform>, AudioError> {
        let front_end = self.front_end();
        let mut wave = Cow::Borrowed(wave);
        if wave.rate_hz() != front_end.rate_hz {
            let plan = self.resampling_from(wave.rate_hz())?;
            wave = Cow::Owned(Waveform::new(plan.process(wave.samples())?, front_end.rate_hz)?);
        }
        if let Level::RaiseTo { target_dbfs } = front_end.level {
            let mut samples = wave.into_owned().into_samples();
            raise_to_dbfs(&mut samples, target_dbfs)?;
            wave = Cow::Owned(Waveform::new(samples, front_end.rate_hz)?);
        }
        if front_end.vad != VadChoice::None {
            wave = Cow::Owned(front_end.vad.voiced(&wave)?);
        }
        Ok(wave)
    }

    #[cfg(test)]
    pub(super) fn plans_kept(&self) -> usize {
        self.0.resampling.lock().unwrap().len()
    }

    fn resampling_from(&self, rate_hz: u32) -> Result<Arc<ResamplePlan>, AudioError> {
        // A plan is pushed whole or not at all, so a panic elsewhere leaves nothing half done here.
        let kept = || self.0.resampling.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = kept().iter().find(|plan| plan.from_hz() == rate_hz) {
            return Ok(Arc::clone(plan));
        }
        // Planned outside the lock: other threads go on, and at worst two plan the same.
        let plan = Arc::new(ResamplePlan::new(rate_hz, self.front_end().rate_hz, self.front_end().resampler)?);
        let mut kept = kept();
        if kept.len() == KEPT_PLANS {
            kept.remove(0);
        }
        kept.push(Arc::clone(&plan));
        Ok(plan)
    }
}

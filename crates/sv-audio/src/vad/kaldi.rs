//! Kaldi's voice activity detector: frames whose log energy, and that of enough of their neighbours, is above a cut.

use crate::AudioError;

/// Settings of `compute-vad`; [`Self::default`] is that of Kaldi's VoxCeleb and SRE recipes.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct KaldiVad {
    /// Part of the cut that does not depend on the recording, in log energy.
    pub threshold: f64,
    /// Share of the recording's mean log energy that is added to it.
    pub mean_scale: f64,
    /// Frames on each side that are counted with a frame.
    pub context: usize,
    /// Share of the frames counted that must be above the cut, 0 to 1.
    pub proportion: f64,
}

impl Default for KaldiVad {
    fn default() -> Self {
        Self { threshold: 5.5, mean_scale: 0.5, context: 2, proportion: 0.12 }
    }
}

impl KaldiVad {
    /// The energy that frames must exceed; 0 frames give the threshold alone.
    ///
    /// # Source
    /// Kaldi, `ivector/voice-activity-detection.cc`: `vad-energy-threshold` and `vad-energy-mean-scale`.
    #[must_use]
    pub fn cut(&self, log_energies: &[f32]) -> f64 {
        let sum: f64 = log_energies.iter().map(|&energy| f64::from(energy)).sum();
        self.threshold + self.mean_scale * sum / log_energies.len().max(1) as f64
    }

    /// Which frames are speech: those where at least `proportion` of the frames from `context` before to `context` after, as far
    /// as there are such frames, have a log energy strictly above [`Self::cut`].
    ///
    /// `log_energies`: natural logarithm of the sum of squares of each frame's 16-bit samples, which is the first column of
    /// [`crate::frontend::FrontEnd::kaldi_mfcc_voxceleb`]'s features. No frames give no flags.
    ///
    /// # Errors
    /// [`AudioError::Setting`] for a proportion out of 0 to 1 or a threshold or scale that is not finite.
    pub fn voiced(&self, log_energies: &[f32]) -> Result<Vec<bool>, AudioError> {
        self.validate()?;
        let cut = self.cut(log_energies);
        // above[t]: how many of the first t frames are above the cut.
        let mut above = vec![0_usize];
        above.extend(log_energies.iter().scan(0, |count, &energy| {
            *count += usize::from(f64::from(energy) > cut);
            Some(*count)
        }));
        let frames = log_energies.len();
        let voiced = |t: usize| {
            let (start, end) =
                (t.saturating_sub(self.context), t.saturating_add(self.context).saturating_add(1).min(frames));
            (above[end] - above[start]) as f64 >= self.proportion * (end - start) as f64
        };
        Ok((0..frames).map(voiced).collect())
    }

    fn validate(&self) -> Result<(), AudioError> {
        let refuse = |name, value: f64, allowed| Err(AudioError::Setting { name, value: value.to_string(), allowed });
        if !self.threshold.is_finite() {
            return refuse("threshold", self.threshold, "finite");
        }
        if !self.mean_scale.is_finite() {
            return refuse("mean_scale", self.mean_scale, "finite");
        }
        if !(0.0..=1.0).contains(&self.proportion) {
            return refuse("proportion", self.proportion, "0 to 1");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loud_frame_voices_its_neighbours_within_the_context() {
        // Mean 20 / 8 = 2.5, cut 0 + 0.5 * 2.5; one of 2, 3 or 4 frames is enough at a third, not one of four.
        let vad = KaldiVad { threshold: 0.0, mean_scale: 0.5, context: 1, proportion: 0.33 };
        let voiced = vad.voiced(&[0.0, 0.0, 0.0, 20.0, 0.0, 0.0, 0.0, 0.0]).unwrap();
        assert_eq!(voiced, [false, false, true, true, true, false, false, false]);
        let strict = KaldiVad { proportion: 0.34, ..vad };
        assert_eq!(strict.voiced(&[0.0, 0.0, 0.0, 20.0]).unwrap(), [false, false, false, true]);
    }

    #[test]
    fn an_energy_at_the_cut_is_not_above_it_and_no_frames_give_no_flags() {
        let vad = KaldiVad { threshold: 1.0, mean_scale: 0.0, context: 0, proportion: 1.0 };
        assert_eq!(vad.voiced(&[1.0, 1.5]).unwrap(), [false, true]);
        assert_eq!(vad.voiced(&[]).unwrap(), Vec::<bool>::new());
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let refused = |vad: KaldiVad| match vad.voiced(&[0.0]) {
            Err(AudioError::Setting { name, .. }) => name,
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(KaldiVad { proportion: 1.5, ..KaldiVad::default() }), "proportion");
        assert_eq!(refused(KaldiVad { proportion: f64::NAN, ..KaldiVad::default() }), "proportion");
        assert_eq!(refused(KaldiVad { threshold: f64::INFINITY, ..KaldiVad::default() }), "threshold");
        assert_eq!(refused(KaldiVad { mean_scale: f64::NAN, ..KaldiVad::default() }), "mean_scale");
    }
}

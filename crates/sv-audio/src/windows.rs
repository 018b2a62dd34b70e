//! Which pieces of an utterance an encoder sees.
//!
//! An encoder gives one embedding a piece; their mean stands for the utterance. The pieces of one utterance all have the
//! same number of frames. The order of work:
//!
//! ```
//! # use sv_audio::{AudioError, Features, windows::{Extent, Windows}};
//! # let features_of = |samples: usize| Features::new(ndarray::Array2::zeros((1 + samples / 160, 40)));
//! let windows = Windows::resemblyzer();
//! let extent = Extent { samples: 30_000, rate_hz: 16_000, hop_samples: 160 };
//! let padded = windows.padded_samples(&extent)?;         // the wave grows to this with zeros
//! let features = features_of(padded);                    // ... and becomes (T, F) features
//! let plan = windows.plan(&extent, features.frames())?;
//! for piece in plan.cut(&features)? {
//!     assert_eq!(piece.nrows(), 160);                    // each goes through the encoder
//! }
//! # Ok::<(), AudioError>(())
//! ```

use std::ops::Range;

use ndarray::{Axis, CowArray, Ix2};
use serde::{Deserialize, Serialize};

use crate::{AudioError, Features};

/// Most frames that a window may have: 1,000 s at 10 ms.
const MAX_FRAMES: usize = 100_000;
/// Longest partial: a wave of one sample is padded to that.
const MAX_PARTIAL_SECONDS: u64 = 100;
/// Most crops of one utterance.
const MAX_CROPS: usize = 10_000;

/// How an utterance is cut into pieces.
///
/// In a file: `kind = "whole"`, `"partials"`, `"fixed"`, `"last"` or `"crops"`, and the numbers of that kind.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", from = "AsRead")]
pub enum Windows {
    /// One piece: everything.
    Whole,
    /// Resemblyzer's partial utterances: so many a second, the last padded with silence or dropped.
    Partials {
        /// Frames of a piece; Resemblyzer's is 160.
        frames: usize,
        /// Pieces per second; Resemblyzer's is 1.3. The step is rounded to whole frames, half to even.
        rate_per_second: f64,
        /// A last piece with less than this share of real samples is dropped, unless it is the only one;
        /// Resemblyzer's is 0.75.
        min_coverage: f64,
    },
    /// A sliding window; frames after the last whole one are not used.
    ///
    /// An utterance shorter than one window is repeated from its start until it fills one. The GE2E paper takes 160
    /// frames every 80 (section 2.3), and leaves the short case open.
    Fixed {
        /// Frames of a piece.
        frames: usize,
        /// Frames from one piece to the next, at most `frames`.
        hop: usize,
    },
    /// One piece: the last frames. The TensorFlow GE2E code's for fixed phrases takes the last 80 of a trimmed recording.
    ///
    /// A shorter utterance is repeated from its start until it fills the piece.
    Last {
        /// Frames of the piece.
        frames: usize,
    },
    /// So many pieces, from the start to the end at equal distances (rounded down to frames); one alone is the middle.
    ///
    /// An utterance shorter than one piece is repeated to fill one, and is one piece, as all would be equal.
    Crops {
        /// Frames of a piece.
        frames: usize,
        /// Number of pieces.
        count: usize,
    },
}

/// [`Windows`] for reading: serde lets unknown keys pass beside a unit variant, so that here is none.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum AsRead {
    Whole {},
    Partials { frames: usize, rate_per_second: f64, min_coverage: f64 },
    Fixed { frames: usize, hop: usize },
    Last { frames: usize },
    Crops { frames: usize, count: usize },
}

impl From<AsRead> for Windows {
    fn from(read: AsRead) -> Self {
        match read {
            AsRead::Whole {} => Self::Whole,
            AsRead::Partials { frames, rate_per_second, min_coverage } => {
                Self::Partials { frames, rate_per_second, min_coverage }
            }
            AsRead::Fixed { frames, hop } => Self::Fixed { frames, hop },
            AsRead::Last { frames } => Self::Last { frames },
            AsRead::Crops { frames, count } => Self::Crops { frames, count },
        }
    }
}

/// What is cut: samples at a rate, one frame of features every `hop_samples`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Number of samples that the front end is given, before [`Windows::padded_samples`].
    pub samples: usize,
    /// Their rate in Hz.
    pub rate_hz: u32,
    /// Samples from one frame to the next.
    pub hop_samples: usize,
}

impl Windows {
    /// Resemblyzer's: 160 frames, 1.3 a second, coverage 0.75 (`hparams.py`, `voice_encoder.py`).
    #[must_use]
    pub fn resemblyzer() -> Self {
        Self::Partials { frames: 160, rate_per_second: 1.3, min_coverage: 0.75 }
    }

    /// Checks the numbers, which may come from a file.
    ///
    /// # Errors
    /// [`AudioError::Setting`] names the first that is out of its range. That the rate fits the frames of a front end is
    /// seen later, by the other methods.
    pub fn validate(&self) -> Result<(), AudioError> {
        let (Self::Partials { frames, .. }
        | Self::Fixed { frames, .. }
        | Self::Last { frames }
        | Self::Crops { frames, .. }) = *self
        else {
            return Ok(());
        };
        if !(1..=MAX_FRAMES).contains(&frames) {
            return Err(setting("windows.frames", frames, "1 to 100000 frames"));
        }
        match *self {
            Self::Partials { rate_per_second, .. } if !(rate_per_second > 0.0 && rate_per_second.is_finite()) => {
                Err(setting("windows.rate_per_second", rate_per_second, "a number above 0"))
            }
            Self::Partials { min_coverage, .. } if !(min_coverage > 0.0 && min_coverage <= 1.0) => {
                Err(setting("windows.min_coverage", min_coverage, "above 0 and at most 1"))
            }
            Self::Fixed { hop, .. } if !(1..=frames).contains(&hop) => {
                Err(setting("windows.hop", hop, "1 to the frames of a window"))
            }
            Self::Crops { count, .. } if !(1..=MAX_CROPS).contains(&count) => {
                Err(setting("windows.count", count, "1 to 10000 crops"))
            }
            _ => Ok(()),
        }
    }

    /// To how many samples the wave is to be extended with zeros before its features are computed; `extent.samples` or
    /// more.
    ///
    /// # Errors
    /// [`AudioError::Setting`] as [`Self::validate`], or for a rate that gives a step of no frame or of more than a piece
    /// has; [`AudioError::NoFrames`] if there is no sample.
    pub fn padded_samples(&self, extent: &Extent) -> Result<usize, AudioError> {
        self.check(extent)?;
        let Self::Partials { frames, rate_per_second, min_coverage } = *self else { return Ok(extent.samples) };
        let partials = Partials::new(extent, frames, rate_per_second, min_coverage)?;
        Ok(extent.samples.max(partials.end_frame() * extent.hop_samples))
    }

    /// The pieces of features with `frames` frames, computed from the wave of `extent` extended to
    /// [`Self::padded_samples`].
    ///
    /// # Errors
    /// As [`Self::padded_samples`]; [`AudioError::NoFrames`] also if `frames` is 0, and [`AudioError::PlanMismatch`] if
    /// the features are too short for partials, because the wave was not extended.
    pub fn plan(&self, extent: &Extent, frames: usize) -> Result<WindowPlan, AudioError> {
        self.check(extent)?;
        let available = frames;
        if available == 0 {
            return Err(AudioError::NoFrames { samples: extent.samples });
        }
        let plan = |frames, pieces, starts| Ok(WindowPlan { available, frames, pieces, starts });
        match *self {
            Self::Whole => plan(available, 1, Starts::Every(available)),
            Self::Partials { frames, rate_per_second, min_coverage } => {
                let partials = Partials::new(extent, frames, rate_per_second, min_coverage)?;
                if partials.end_frame() > available {
                    return Err(AudioError::PlanMismatch { planned: partials.end_frame(), got: available });
                }
                plan(frames, partials.pieces, Starts::Every(partials.step))
            }
            Self::Fixed { frames, hop } => plan(frames, 1 + available.saturating_sub(frames) / hop, Starts::Every(hop)),
            Self::Last { frames } => plan(frames, 1, Starts::From(available.saturating_sub(frames))),
            Self::Crops { frames, .. } if available <= frames => plan(frames, 1, Starts::Every(frames)),
            Self::Crops { frames, count } => plan(frames, count, Starts::Within(available - frames)),
        }
    }

    fn check(&self, extent: &Extent) -> Result<(), AudioError> {
        self.validate()?;
        if extent.samples == 0 {
            return Err(AudioError::NoFrames { samples: 0 });
        }
        // A frame of more than a second is no frame of speech; the bound keeps the products below from overflowing.
        if extent.hop_samples == 0 || extent.hop_samples > extent.rate_hz as usize {
            return Err(setting("hop_samples", extent.hop_samples, "1 to as many as a second has"));
        }
        Ok(())
    }
}

/// Resemblyzer's rule: `voice_encoder.py`, `compute_partial_slices`.
struct Partials {
    frames: usize,
    step: usize,
    pieces: usize,
}

impl Partials {
    fn new(extent: &Extent, frames: usize, rate_per_second: f64, min_coverage: f64) -> Result<Self, AudioError> {
        let window = frames as u64 * extent.hop_samples as u64;
        if window > MAX_PARTIAL_SECONDS * u64::from(extent.rate_hz) {
            return Err(setting("windows.frames", frames, "at most as many frames as 100 s have"));
        }
        let step = (f64::from(extent.rate_hz) / rate_per_second / extent.hop_samples as f64).round_ties_even();
        if !(1.0..=frames as f64).contains(&step) {
            let allowed = "a rate whose step is at least one frame and at most a window";
            return Err(setting("windows.rate_per_second", rate_per_second, allowed));
        }
        let step = step as usize;
        // ceil((n + 1) / hop) frames, and a start every `step` below frames - window + step + 1, at least one.
        let total = extent.samples / extent.hop_samples + 1;
        let pieces = (total + step + 1).saturating_sub(frames).max(1).div_ceil(step);
        let last_start = ((pieces - 1) * step * extent.hop_samples) as f64;
        let coverage = (extent.samples as f64 - last_start) / window as f64;
        let dropped = usize::from(pieces > 1 && coverage < min_coverage);
        Ok(Self { frames, step, pieces: pieces - dropped })
    }

    fn end_frame(&self) -> usize {
        (self.pieces - 1) * self.step + self.frames
    }
}

/// The pieces of one utterance, as ranges of frames; holds a few numbers, however many pieces there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowPlan {
    /// Frames of the features that it was made for.
    available: usize,
    frames: usize,
    pieces: usize,
    starts: Starts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Starts {
    /// At multiples of this.
    Every(usize),
    /// A single one, here.
    From(usize),
    /// Spread evenly from 0 to this.
    Within(usize),
}

impl WindowPlan {
    /// Number of pieces, 1 or more.
    #[must_use]
    pub fn pieces(&self) -> usize {
        self.pieces
    }

    /// Frames of each piece.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// The pieces as ranges of frames, in order.
    ///
    /// A single piece may reach beyond the last frame: what is missing is the utterance again from its start.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = Range<usize>> + use<> {
        let plan = *self;
        (0..plan.pieces).map(move |piece| {
            let start = match plan.starts {
                Starts::Every(step) => piece * step,
                Starts::From(first) => first,
                Starts::Within(last) if plan.pieces == 1 => last / 2,
                // At most 10,000 pieces of features that fit in memory: the product fits in 128 bits on any machine.
                Starts::Within(last) => (piece as u128 * last as u128 / (plan.pieces - 1) as u128) as usize,
            };
            start..start + plan.frames
        })
    }

    /// The pieces of `features`, each ([`Self::frames`], F): views, but for one that had to be filled by repetition.
    ///
    /// # Errors
    /// [`AudioError::PlanMismatch`] if the plan is for another number of frames.
    pub fn cut<'a>(
        &self,
        features: &'a Features,
    ) -> Result<impl ExactSizeIterator<Item = CowArray<'a, f32, Ix2>> + use<'a>, AudioError> {
        let available = self.available;
        if features.frames() != available {
            return Err(AudioError::PlanMismatch { planned: available, got: features.frames() });
        }
        Ok(self.ranges().map(move |range| {
            if range.end <= available {
                let mut piece = features.view();
                piece.slice_axis_inplace(Axis(0), range.into());
                return CowArray::from(piece);
            }
            let rows: Vec<usize> = range.map(|frame| frame % available).collect();
            CowArray::from(features.view().select(Axis(0), &rows))
        }))
    }
}

fn setting(name: &'static str, value: impl ToString, allowed: &'static str) -> AudioError {
    AudioError::Setting { name, value: value.to_string(), allowed }
}

#[cfg(test)]
mod tests;

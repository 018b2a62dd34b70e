//! Vectors and scores in, error rates out. No tensor, no file, no thread, no clock: it builds for wasm.
//!
//! ```text
//! trials     Trials::parse             -> Trials         a checked list; each file named once
//! score      score::cosine             -> f64            in [-1, 1]; higher is more alike
//! norm       norm::Normalization       -> f64            z-, t- and s-norm by a cohort
//! scored     Trials::scored            -> ScoredTrials   finite scores of both kinds, sorted once
//! rates      rates::{det, rates_at}    -> DetPoint, Rates    FAR and FRR, equal scores as one step
//! figures    eer::eer, dcf::min_dcf    -> Eer, MinDcf    and actual DCF, Cllr, min Cllr
//! interval   bootstrap::eer_interval   -> Interval       by resampling speakers
//! picture    tsne::Tsne::layout        -> Layout         neighbours stay neighbours on a plane
//! verdict    Threshold::decide         -> Verdict        accept, reject, or undecided without a threshold
//! ```
//!
//! ```
//! use sv_metrics::{Threshold, ThresholdOrigin, TrialFormat, Trials, Verdict, eer, score};
//!
//! let list = Trials::parse("1 ada/1.wav ada/2.wav\n0 ada/1.wav bob/1.wav\n", TrialFormat::VoxCeleb)?;
//! let embeddings = [[0.9_f32, 0.1], [0.8, 0.3], [-0.2, 0.7]];      // of list.files(), in that order
//! let scores = list
//!     .pairs()
//!     .iter()
//!     .map(|pair| score::cosine(&embeddings[pair.enrolment], &embeddings[pair.test]))
//!     .collect::<Result<Vec<_>, _>>()?;
//! let eer = eer::eer(&list.scored(&scores)?);
//! assert_eq!(eer.rate, 0.0);
//!
//! let origin = ThresholdOrigin::Calibrated { list: "two trials".to_string() };
//! let threshold = Threshold::new(eer.threshold, eer.acceptance, origin)?;
//! assert_eq!(threshold.decide(scores[0]), Verdict::Accept);
//! assert_eq!(threshold.decide(scores[1]), Verdict::Reject);
//! # Ok::<(), sv_metrics::MetricsError>(())
//! ```
#![forbid(unsafe_code)]

pub mod bootstrap;
pub mod dcf;
pub mod eer;
mod error;
pub mod norm;
mod random;
pub mod rates;
pub mod score;
mod scored;
mod threshold;
mod trials;
pub mod tsne;

pub use error::{MetricsError, Side};
pub use scored::ScoredTrials;
pub use threshold::{Acceptance, Threshold, ThresholdOrigin, Verdict};
pub use trials::{Label, ScoreLine, Trial, TrialFormat, TrialPair, Trials};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod bases;
mod classes;
mod config;
mod contrastive;
mod error;
mod ge2e;
mod margin;
mod objective;
mod setting;
mod softmax;

pub use bases::{BasesOptions, BetweenPart, CenterPart, HardPart, SoftmaxPart, SpeakerBases, between_class};
pub use config::ObjectiveConfig;
pub use contrastive::{Contrastive, ContrastiveOptions, Pairs};
pub use error::LossError;
pub use ge2e::{Centroids, Embeddings, Ge2e, Ge2eOptions, Ge2eTf, Ge2eTfOptions, Reduction, Variant};
pub use margin::{AamSoftmaxOptions, AmSoftmaxOptions, Beyond, MarginSoftmax};
pub use objective::{Labels, Objective, Parameter};
pub use setting::Setting;
pub use softmax::{Head, Softmax, SoftmaxOptions};

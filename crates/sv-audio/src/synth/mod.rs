//! Synthesised voices: speech-like recordings of any number of speakers, from a seed and nothing else.
//!
//! They exist so that training and its tests run anywhere without a corpus. They are *synthetic*: figures made on them
//! are figures on synthetic voices and say nothing about people.
//!
//! ```
//! use sv_audio::synth::{Corpus, Speaker};
//!
//! let speaker = Speaker::draw(1, Corpus::TextDependent, 0);
//! let take = speaker.utterance(3);
//! assert_eq!((take.rate_hz(), take.seconds()), (16_000, 1.2));
//! assert_eq!(take, Speaker::draw(1, Corpus::TextDependent, 0).utterance(3));
//! ```
//!
//! The road of one recording:
//!
//! ```text
//! Speaker::draw   what is constant in a voice: pitch, tract, glottis, habits with each phone    speaker.rs
//! Score           phones and lengths, then formants, levels and pitch every 5 ms                score.rs  phones.rs
//! speak           glottal pulses and noise through moving resonators                            source.rs tract.rs
//! record          a room, a microphone, noise, a level                                          channel.rs
//! ```
//!
//! All arithmetic is in f64 and samples are rounded to 16 bits, so the same seed gives the same samples on every machine
//! but for a tie within rounding. How hard the corpora are, and for whom, is in `docs/synthesised-voices.md`; the figures
//! hold for one [`GENERATOR_VERSION`].

mod channel;
mod config;
mod corpus;
mod draw;
mod phones;
mod score;
mod source;
mod speaker;
mod tract;

pub use config::SynthConfig;
pub use corpus::{Corpus, CorpusSize};
pub use speaker::Speaker;

/// Version of the generator. Any change that moves a sample is a new version, and every figure made on it is made again.
pub const GENERATOR_VERSION: u32 = 1;

/// Rate of the recordings in Hz.
pub const RATE_HZ: u32 = 16_000;

/// Samples of one row of targets: 5 ms.
const ROW: usize = 80;

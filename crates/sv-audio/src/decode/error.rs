//! Why a recording could not be decoded, and what is said about one that could.

use std::fmt;

/// Why a recording could not be decoded. [`crate::AudioError::Decode`] says which recording.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The file could not be opened: missing, no permission, and so on.
    #[error("cannot be opened: {reason}")]
    Open {
        /// What the system said.
        reason: std::io::Error,
    },
    /// The path names a directory.
    #[error("is a directory, not a recording; name the files in it")]
    Directory,
    /// The file or stream failed while it was read.
    #[error("cannot be read: {reason}")]
    Read {
        /// What the system or the reader said.
        reason: std::io::Error,
    },
    /// There are no bytes at all.
    #[error("the file is empty (0 bytes)")]
    Empty,
    /// A valid recording without a sample.
    #[error("no audio in it (0 frames)")]
    NoAudio,
    /// Nothing that is known starts like this.
    #[error("not a known audio format; WAV, FLAC, MP3, Ogg, M4A, WebM, AAC, AIFF and CAF are read")]
    UnknownFormat,
    /// A known format or codec that is not read.
    #[error("{what} is not supported; convert it, for example with `ffmpeg -i FILE FILE.wav`")]
    Unsupported {
        /// The format or codec, as a name.
        what: String,
    },
    /// A codec that this build leaves out.
    #[error(
        "{codec} needs the feature `{feature}`, which this build does not have; rebuild with `--features {feature}`"
    )]
    NeedsFeature {
        /// The codec.
        codec: &'static str,
        /// The feature of this crate that decodes it.
        feature: &'static str,
    },
    /// An MP4 file whose index, the `moov` box, is missing: a recording or download that was cut off.
    #[error("cannot be read: its index (`moov`) is missing, the file was cut off before it was written")]
    NoIndex,
    /// A native sample rate outside the limits.
    #[error(
        "invalid sample rate {rate_hz} Hz; {min_hz} to {max_hz} Hz are accepted (`DecodeLimits::min_rate_hz`, `max_rate_hz`)"
    )]
    Rate {
        /// The rate found, in Hz.
        rate_hz: u32,
        /// The lowest that is accepted, in Hz.
        min_hz: u32,
        /// The highest that is accepted, in Hz.
        max_hz: u32,
    },
    /// A channel count outside the limits.
    #[error("invalid channel count {channels}; 1 to {max_channels} are accepted (`DecodeLimits::max_channels`)")]
    Channels {
        /// The count found.
        channels: usize,
        /// The most that are accepted.
        max_channels: usize,
    },
    /// More audio than the limits allow.
    #[error("longer than the limit of {max_seconds} seconds; split it, or raise `DecodeLimits::max_seconds`")]
    TooLong {
        /// The limit, in seconds.
        max_seconds: f64,
    },
    /// More memory than the limits allow.
    #[error("needs more than the limit of {max_bytes} bytes of memory; split it, or raise `DecodeLimits::max_bytes`")]
    TooLarge {
        /// The limit, in bytes.
        max_bytes: u64,
    },
    /// A sample is NaN or infinite.
    #[error("samples are not finite: sample {index} ({seconds:.3} s) is {value}; repair or re-export the recording")]
    NotFinite {
        /// Position of the first such sample of the mono mix.
        index: usize,
        /// The same in seconds.
        seconds: f64,
        /// Its value.
        value: f32,
    },
    /// The container or the codec's data contradict themselves.
    #[error("damaged: {what}")]
    Malformed {
        /// What was found, by the part of the decoder that found it.
        what: String,
    },
    /// The container could be read but hardly any of its packets could be decoded.
    #[error("nothing decodable in it: {bad} of {packets} packets are damaged")]
    Undecodable {
        /// Packets that could not be decoded.
        bad: u64,
        /// All packets.
        packets: u64,
    },
    /// A decoder broke down or would not end on this input, and was stopped.
    #[error("the decoder broke down on it ({what}); it is damaged, or, if other programs play it, please report it")]
    DecoderFault {
        /// What it said.
        what: String,
    },
}

/// Something that whoever uses the samples should know.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum DecodeWarning {
    /// The recording ends before its container says it should; what is there was decoded.
    CutShort {
        /// Seconds that were decoded.
        seconds: f64,
        /// Seconds that the container promised, where it says so.
        expected_seconds: Option<f64>,
    },
    /// At least one sample in a thousand, over all channels, is at full scale.
    Clipped {
        /// Number of such samples.
        samples: u64,
        /// Their share of all samples, 0 to 1.
        share: f64,
    },
    /// Packets that could not be decoded were left out, so that time is missing.
    SkippedPackets {
        /// How many.
        packets: u64,
    },
}

impl fmt::Display for DecodeWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutShort { seconds, expected_seconds: Some(expected) } => {
                write!(f, "cut short: {seconds:.2} s of {expected:.2} s are there and were used")
            }
            Self::CutShort { seconds, expected_seconds: None } => {
                write!(f, "cut short: the end is missing; the {seconds:.2} s that are there were used")
            }
            Self::Clipped { samples, share } => {
                write!(f, "clipped: {samples} samples ({:.1} %) are at full scale", share * 100.0)
            }
            Self::SkippedPackets { packets } => {
                write!(f, "damaged: {packets} packets could not be decoded and were left out")
            }
        }
    }
}

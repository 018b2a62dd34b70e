//! What can go wrong between a recording and its features.

/// Errors of this crate. Each says where, what was found and what was needed, and how to mend it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AudioError {
    /// A sample rate outside what can be processed.
    #[error(
        "sample rate {rate_hz} Hz; rates from {} to {} Hz are supported",
        crate::Waveform::MIN_RATE_HZ,
        crate::Waveform::MAX_RATE_HZ
    )]
    Rate {
        /// The rate that was given, in Hz.
        rate_hz: u32,
    },
    /// A sample is NaN or infinite.
    #[error("sample {index} is {value}, not a finite number; repair or re-export the recording")]
    NotFinite {
        /// Position of the first such sample.
        index: usize,
        /// Its value.
        value: f32,
    },
    /// A setting outside what it may be.
    #[error("{name} = {value}: must be {allowed}")]
    Setting {
        /// The setting, as a configuration names it.
        name: &'static str,
        /// What it was set to.
        value: String,
        /// What it may be.
        allowed: &'static str,
    },
    /// A voice activity detector that does not exist was named.
    #[error("there is no VAD `{name}`; name one of {}", crate::vad::VadChoice::NAMES.join(", "))]
    UnknownVad {
        /// The name that was given.
        name: String,
    },
    /// What was asked for is not in this build.
    #[error("{needed_by} needs the feature `{feature}`, which this build lacks; build with it, or name {instead}")]
    MissingFeature {
        /// The cargo feature that brings it.
        feature: &'static str,
        /// What asked for it.
        needed_by: &'static str,
        /// What this build can do in its place.
        instead: &'static str,
    },
    /// WebRTC's voice activity detector does not know this sample rate.
    #[error(
        "WebRTC's VAD takes 8000, 16000, 32000 or 48000 Hz, not {rate_hz} Hz; resample first or name the VAD `energy` or `none`"
    )]
    VadRate {
        /// The rate of the recording, in Hz.
        rate_hz: u32,
    },
    /// A voice activity detector found nothing to keep.
    #[error("no speech found in {seconds:.2} s by the VAD `{vad}`; check the recording, or name another VAD")]
    NoSpeech {
        /// Length of the recording, in seconds.
        seconds: f64,
        /// Name of the detector.
        vad: &'static str,
    },
    /// The level of a recording without any sound cannot be raised.
    #[error("{samples} samples, all of them zero: digital silence has no level to raise; check the recording")]
    DigitalSilence {
        /// Number of samples, possibly none.
        samples: usize,
    },
    /// There is no frame of features to cut windows from.
    #[error("{samples} samples give no frame of features; record longer")]
    NoFrames {
        /// Number of samples.
        samples: usize,
    },
    /// Windows were planned for more frames than there are.
    #[error(
        "windows were planned for {planned} frames, the features have {got}; plan with the padded wave's number of frames"
    )]
    PlanMismatch {
        /// Frames that the plan is for.
        planned: usize,
        /// Frames of the features.
        got: usize,
    },
    /// A recording that would not fit in memory at another rate.
    #[error("{samples} samples at {from_hz} Hz are more than memory can address at {to_hz} Hz; resample in parts")]
    ResampledSize {
        /// Length of the recording, in samples.
        samples: usize,
        /// Its rate, in Hz.
        from_hz: u32,
        /// The rate asked for, in Hz.
        to_hz: u32,
    },
    /// A front end's name that is not known.
    #[error("no front end is called `{name}`; known are {}", crate::frontend::FrontEnd::names().join(", "))]
    UnknownFrontEnd {
        /// The name that was given.
        name: String,
    },
    /// Fewer samples than a front end needs for one frame.
    #[error("{samples} samples at {rate_hz} Hz, features need at least {need}; record longer")]
    TooShort {
        /// Number of samples.
        samples: usize,
        /// The least that would do.
        need: usize,
        /// Their rate, in Hz.
        rate_hz: u32,
    },
    /// Samples whose rate is not the front end's.
    #[error(
        "the samples are at {rate_hz} Hz, the front end works at {need_hz} Hz; resample them first, as `prepare` does"
    )]
    WrongRate {
        /// Rate of the samples, in Hz.
        rate_hz: u32,
        /// Rate of the front end, in Hz.
        need_hz: u32,
    },
    /// A sample so far beyond full scale that powers would overflow.
    #[error(
        "sample {index} is {value}, and full scale is 1; divide the samples by their full scale (32768 for 16-bit integers)"
    )]
    TooLoud {
        /// Position of the first such sample.
        index: usize,
        /// Its value.
        value: f32,
    },
    /// A recording could not be decoded.
    #[cfg(feature = "decode")]
    #[error("{name}: {reason}")]
    Decode {
        /// The path, or the name that the caller gave.
        name: String,
        /// Why.
        reason: crate::decode::DecodeError,
    },
    /// A setting of the voice synthesis is out of its range.
    #[error("synthesis setting `{name}` is {value}; choose a value from {low} to {high}")]
    SynthSetting {
        /// Name of the setting.
        name: &'static str,
        /// What it was.
        value: f64,
        /// Least value that is accepted.
        low: f64,
        /// Greatest value that is accepted.
        high: f64,
    },
}

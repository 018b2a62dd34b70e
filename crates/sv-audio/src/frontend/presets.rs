//! The published front ends by name, every constant spelled out.

use super::{
    AudioError, Cepstra, Cmn, Compression, Context, Deltas, FirstCepstrum, FrontEnd, Level, MelSpec, Padding,
    PreEmphasis, Precision, Resampler, Spectrum, VadChoice, Window,
};
use crate::mel::Slopes;

/// Kaldi's least energy under a logarithm: the spacing of f32 at 1.
const KALDI_FLOOR: f64 = 1.192_092_895_507_812_5e-7;
/// Kaldi's features are of 16-bit samples.
const SIXTEEN_BIT: f64 = 32_768.0;

/// A name and the preset that it stands for.
type Preset = (&'static str, fn() -> FrontEnd);

const PRESETS: [Preset; 11] = [
    ("ge2e-tf", FrontEnd::ge2e_tf),
    ("resemblyzer", FrontEnd::resemblyzer),
    ("speechbrain", FrontEnd::speechbrain),
    ("speechbrain-xvector", FrontEnd::speechbrain_xvector),
    ("speechbrain-mfcc", FrontEnd::speechbrain_mfcc),
    ("wespeaker", FrontEnd::wespeaker),
    ("taoruijie", FrontEnd::taoruijie),
    ("heo2019", FrontEnd::heo2019),
    ("kaldi", FrontEnd::kaldi),
    ("kaldi-mfcc", FrontEnd::kaldi_mfcc),
    ("kaldi-mfcc-voxceleb", FrontEnd::kaldi_mfcc_voxceleb),
];

const NAMES: [&str; PRESETS.len()] = {
    let mut names = [""; PRESETS.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = PRESETS[index].0;
        index += 1;
    }
    names
};

impl FrontEnd {
    /// 8 kHz, 40 logarithmic mel energies each 10 ms, as the TensorFlow implementation of GE2E computes them.
    ///
    /// # Source
    /// Janghyun1230/Speaker_Verification, `data_preprocess.py` and the defaults of `configuration.py`, run on librosa 0.10 or
    /// later (zeros beyond the ends). Its recordings come to 8 kHz by librosa's high-quality sinc, which
    /// [`Resampler::Sharp`] stands for. It cuts pieces out of long recordings before this; that is data preparation, and no VAD.
    #[must_use]
    pub fn ge2e_tf() -> Self {
        Self {
            name: "ge2e-tf".to_owned(),
            rate_hz: 8_000,
            resampler: Resampler::Sharp,
            n_fft: 512,
            win_length: 200,
            hop: 80,
            window: Window::HannPeriodic,
            padding: Padding::CentreZeros,
            precision: Precision::Double,
            spectrum: Spectrum::Power,
            level: Level::AsIs {},
            vad: VadChoice::None,
            scale: 1.0,
            remove_dc: false,
            pre_emphasis: None,
            mel: MelSpec::slaney(40, 0.0, 4_000.0),
            compression: Compression::Log10 { offset: 1e-6 },
            cepstra: None,
            deltas: None,
            context: None,
            cmn: None,
        }
    }

    /// 16 kHz, raised to -30 dB, silence cut out, 40 mel energies each 10 ms and no logarithm, as Resemblyzer's encoder takes.
    ///
    /// # Source
    /// resemble-ai/Resemblyzer 0.1.4, `audio.py` and `hparams.py`, on librosa 0.10 or later (zeros beyond the ends). It
    /// resamples by librosa's high-quality sinc, which [`Resampler::Sharp`] stands for.
    #[must_use]
    pub fn resemblyzer() -> Self {
        Self {
            name: "resemblyzer".to_owned(),
            rate_hz: 16_000,
            n_fft: 400,
            win_length: 400,
            hop: 160,
            level: Level::RaiseTo { target_dbfs: -30.0 },
            vad: VadChoice::resemblyzer(),
            mel: MelSpec::slaney(40, 0.0, 8_000.0),
            compression: Compression::None {},
            ..Self::ge2e_tf()
        }
    }

    /// 16 kHz, 80 mel energies in dB each 10 ms, within 80 dB of the loudest, less their mean: SpeechBrain's ECAPA-TDNN.
    ///
    /// # Source
    /// SpeechBrain 1.0.3: `Fbank(n_mels=80)` of `lobes/features.py` and `InputNormalization(norm_type="sentence",
    /// std_norm=False)` of `processing/features.py`, one recording at a time; its interfaces resample with torchaudio's default.
    #[must_use]
    pub fn speechbrain() -> Self {
        Self {
            name: "speechbrain".to_owned(),
            rate_hz: 16_000,
            resampler: Resampler::Torchaudio,
            n_fft: 400,
            win_length: 400,
            hop: 160,
            window: Window::HammingPeriodic,
            precision: Precision::Single,
            mel: MelSpec::htk(80, 0.0, 8_000.0, Slopes::LeftWidth),
            compression: Compression::Decibels { floor: 1e-10, top_db: 80.0 },
            cmn: Some(Cmn::Utterance),
            ..Self::ge2e_tf()
        }
    }

    /// As [`Self::speechbrain`] with 24 filters: SpeechBrain's x-vector.
    #[must_use]
    pub fn speechbrain_xvector() -> Self {
        Self {
            name: "speechbrain-xvector".to_owned(),
            mel: MelSpec::htk(24, 0.0, 8_000.0, Slopes::LeftWidth),
            ..Self::speechbrain()
        }
    }

    /// 16 kHz, 20 cepstra of 23 mel energies with their first and second slopes, 5 frames on either side beside each: 660 values.
    ///
    /// # Source
    /// SpeechBrain 1.0.3, `MFCC` of `lobes/features.py` with its defaults, and no normalisation.
    #[must_use]
    pub fn speechbrain_mfcc() -> Self {
        Self {
            name: "speechbrain-mfcc".to_owned(),
            mel: MelSpec::htk(23, 0.0, 8_000.0, Slopes::LeftWidth),
            cepstra: Some(Cepstra { count: 20, lifter: None, first: FirstCepstrum::Coefficient {} }),
            deltas: Some(Deltas { order: 2, reach: 2 }),
            context: Some(Context { left: 5, right: 5 }),
            cmn: None,
            ..Self::speechbrain()
        }
    }

    /// 16 kHz, 80 logarithmic mel energies of 16-bit samples each 10 ms under a Hamming window, less their mean: WeSpeaker's.
    ///
    /// # Source
    /// wenet-e2e/wespeaker, `compute_fbank` and `apply_cmvn` of `dataset/processor.py` as for extraction (no dither), which call
    /// torchaudio's `compliance.kaldi.fbank`; other rates by torchaudio's default.
    #[must_use]
    pub fn wespeaker() -> Self {
        Self { name: "wespeaker".to_owned(), window: Window::HammingSymmetric, ..Self::kaldi() }
    }

    /// 16 kHz, 80 logarithmic mel energies of the pre-emphasised wave each 10 ms, less their mean.
    ///
    /// # Source
    /// TaoRuijie/ECAPA-TDNN, `model.py`: `PreEmphasis`, then torchaudio's `MelSpectrogram`, `log` and the mean over time.
    #[must_use]
    pub fn taoruijie() -> Self {
        Self {
            name: "taoruijie".to_owned(),
            n_fft: 512,
            padding: Padding::CentreReflect,
            pre_emphasis: Some(PreEmphasis::Wave { coefficient: 0.97 }),
            mel: MelSpec::htk(80, 20.0, 7_600.0, Slopes::Hz),
            compression: Compression::Ln { offset: 1e-6 },
            ..Self::speechbrain()
        }
    }

    /// 16 kHz, 64 logarithmic mel energies each 10 ms under a Hamming window, less their mean over the 3 s around.
    ///
    /// # Source
    /// Heo et al. 2019, section 4, read as Kaldi's features (`fbank`, `apply-cmvn-sliding --cmn-window=300 --center=true`).
    #[must_use]
    pub fn heo2019() -> Self {
        Self {
            name: "heo2019".to_owned(),
            mel: MelSpec::htk(64, 20.0, 8_000.0, Slopes::Mel),
            cmn: Some(Cmn::Sliding { frames: 300 }),
            ..Self::wespeaker()
        }
    }

    /// 16 kHz, 80 logarithmic mel energies of 16-bit samples each 10 ms under Povey's window, less their mean: Kaldi's `fbank`.
    ///
    /// # Source
    /// Kaldi's `feature-fbank.cc`, and torchaudio's `compliance.kaldi.fbank`, with 80 filters and no dither.
    #[must_use]
    pub fn kaldi() -> Self {
        Self {
            name: "kaldi".to_owned(),
            n_fft: 512,
            window: Window::Povey,
            padding: Padding::SnipEdges,
            scale: SIXTEEN_BIT,
            remove_dc: true,
            pre_emphasis: Some(PreEmphasis::Frame { coefficient: 0.97 }),
            mel: MelSpec::htk(80, 20.0, 8_000.0, Slopes::Mel),
            compression: Compression::LnFloor { floor: KALDI_FLOOR },
            ..Self::speechbrain()
        }
    }

    /// 16 kHz, 30 cepstra of 30 mel energies each 10 ms: Kaldi's `mfcc`, and no normalisation.
    ///
    /// # Source
    /// torchaudio's `compliance.kaldi.mfcc` with 30 filters, 30 coefficients and no dither.
    #[must_use]
    pub fn kaldi_mfcc() -> Self {
        Self {
            name: "kaldi-mfcc".to_owned(),
            mel: MelSpec::htk(30, 20.0, 8_000.0, Slopes::Mel),
            cepstra: Some(Cepstra { count: 30, lifter: Some(22.0), first: FirstCepstrum::Coefficient {} }),
            cmn: None,
            ..Self::kaldi()
        }
    }

    /// As [`Self::kaldi_mfcc`] to 7,600 Hz, with the log energy in the first column and frames to the very ends.
    ///
    /// # Source
    /// The `mfcc.conf` of Kaldi's x-vector recipes for VoxCeleb. Its energy is what [`crate::vad::kaldi`] reads.
    #[must_use]
    pub fn kaldi_mfcc_voxceleb() -> Self {
        let first = FirstCepstrum::LogEnergy { floor: KALDI_FLOOR };
        Self {
            name: "kaldi-mfcc-voxceleb".to_owned(),
            padding: Padding::KeepEdges,
            mel: MelSpec::htk(30, 20.0, 7_600.0, Slopes::Mel),
            cepstra: Some(Cepstra { count: 30, lifter: Some(22.0), first }),
            ..Self::kaldi_mfcc()
        }
    }

    /// Names of the presets.
    #[must_use]
    pub fn names() -> &'static [&'static str] {
        &NAMES
    }

    /// The preset called `name`.
    ///
    /// # Errors
    /// [`AudioError::UnknownFrontEnd`] lists the names there are.
    pub fn by_name(name: &str) -> Result<Self, AudioError> {
        match PRESETS.iter().find(|(known, _)| *known == name) {
            Some((_, preset)) => Ok(preset()),
            None => Err(AudioError::UnknownFrontEnd { name: name.to_owned() }),
        }
    }
}

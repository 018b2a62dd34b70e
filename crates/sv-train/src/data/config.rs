//! What a recipe says about its data: what recordings become, how batches are drawn from them, what is added.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sv_audio::augment::AugmentConfig;

use super::DataError;

/// Everything between a list of recordings and a batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// What counts as one class of a batch.
    #[serde(default)]
    pub classes: Classes,
    /// What a recording becomes.
    pub preparation: PreparationConfig,
    /// Who is drawn.
    pub sampler: SamplerConfig,
    /// Which frames of it.
    pub crop: CropConfig,
    /// Noise that is added to the waves of every step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<NoiseConfig>,
    /// Rooms, noise, microphones and telephones, drawn for each row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub augmentation: Option<AugmentationConfig>,
    /// Further copies of every row, each with effects of its own, all from the same crop: copy k of all rows stands after
    /// copy k - 1 of all, with the same classes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub copies: Vec<AugmentationConfig>,
    /// A random colouring of the features of each row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature_offset: Option<FeatureOffsetConfig>,
    /// Most memory for prepared recordings, in MiB; what is beyond is read again from the cache when it is drawn, or
    /// prepared again where there is none.
    #[serde(default = "default_memory_mib")]
    pub memory_mib: usize,
}

fn default_memory_mib() -> usize {
    4_096
}

/// What counts as one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Classes {
    /// A speaker.
    #[default]
    Speaker,
    /// A speaker saying one phrase: the same person with another phrase is another class.
    SpeakerAndPhrase,
}

/// What a recording becomes, after the front end has brought it to its rate and level and cut out silences.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum PreparationConfig {
    /// One piece, all of it.
    Whole {
        /// Ends that are this much below the loudest frame are cut off (librosa's `trim`); absent, nothing is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trim_db: Option<f64>,
        /// Recordings of fewer frames give no piece.
        least_frames: usize,
    },
    /// The first and the last frames of each stretch of speech, a piece each.
    ///
    /// Stretches are librosa's `split`, of at least `frames * hop + window` samples; one of exactly that many gives its first
    /// frames only.
    ///
    /// # Source
    /// Janghyun1230/Speaker_Verification, `data_preprocess.py: save_spectrogram_tisv`, with `top_db` 20 and 180 frames.
    Split {
        /// How far below the loudest frame speech ends, in dB.
        top_db: f64,
        /// Frames of a piece.
        frames: usize,
    },
    /// The last frames of the trimmed recording, one piece. Recordings of no more than `(frames + 2) * hop` samples give none.
    ///
    /// # Source
    /// Janghyun1230/Speaker_Verification, `data_preprocess.py: save_spectrogram_tdsv`, with `trim_db` 14 and 80 frames.
    LastFrames {
        /// Ends that are this much below the loudest frame are cut off; absent, nothing is: the front end has trimmed already.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trim_db: Option<f64>,
        /// Frames of the piece.
        frames: usize,
    },
    /// Each stretch of speech (librosa's `split`), a piece of its own length.
    SplitWhole {
        /// How far below the loudest frame speech ends, in dB.
        top_db: f64,
        /// Stretches of fewer frames give no piece.
        least_frames: usize,
    },
}

/// Who is in a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplerConfig {
    /// N, different classes in a batch.
    pub speakers: usize,
    /// M, rows of each.
    pub utterances: usize,
    /// How the rows of a class are drawn.
    pub draw: Draw,
    /// With classes of speakers and phrases: a batch takes N / 2 speakers with two phrases each, so that a phrase is told
    /// from the same voice with another.
    #[serde(default)]
    pub phrases_together: bool,
    /// When shuffled: a recording is drawn once an epoch for each so many frames that it has, rounded down, as if it was cut into
    /// chunks; absent, once however long it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub once_per_frames: Option<usize>,
    /// A class of fewer recordings is left out; absent, of fewer than `utterances` where those are distinct, else of none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least_recordings: Option<usize>,
}

/// How the rows of a class are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Draw {
    /// M different recordings; a class needs as many. Of a recording with several pieces, one.
    Distinct,
    /// M pieces, each from all of the class, so that one may come twice (as in the TensorFlow code).
    WithReplacement,
    /// M crops, of different recordings as long as there are some, then again: a class with one recording will do.
    Crops,
    /// All recordings in random order, each once an epoch, whoever they are of: `speakers` is the number of rows, `utterances`
    /// is 1. What is left at the end of an epoch is less than a batch and is not drawn.
    Shuffled,
}

/// Which frames of a piece make a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CropConfig {
    /// Least and greatest number of frames; one is drawn for a whole batch, each as likely.
    pub frames: [usize; 2],
    /// Where in the piece. A piece that is shorter is repeated from its start until the row is full.
    pub from: TakeFrom,
    /// What its first and last frames see beyond it.
    #[serde(default, skip_serializing_if = "CropEdges::is_default")]
    pub edges: CropEdges,
}

/// What the first and last frames of a row see, and what its mean and its loudest value are taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CropEdges {
    /// The recording as it goes on there: a row is what the recording's features have at this place.
    #[default]
    Recording,
    /// What the front end puts beyond the ends of a recording: the samples of a row are cut out and are a recording of their
    /// own, so that a row has the very features that a recording of this length would have. Samples are kept, and features
    /// computed for each batch.
    Cut,
}

impl CropEdges {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Where in a piece a crop lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TakeFrom {
    /// Its first frames.
    Start,
    /// Anywhere, each place as likely.
    Random,
    /// Its last frames.
    End,
}

/// Noise added to every row, in the wave domain.
///
/// The Fourier transform is linear: adding waves adds their complex spectra, which is what the TensorFlow code does. One track
/// is drawn for a step, and its frames follow each other over the rows of the batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoiseConfig {
    /// Where it comes from.
    pub source: NoiseSource,
    /// Least and greatest ratio of speech to noise in dB, drawn for each row; absent, the noise is added as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snr_db: Option<[f64; 2]>,
}

/// Where noise comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum NoiseSource {
    /// Recordings in a folder, each a track, repeated where it is too short.
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// VCTK's noisy twin: noise is what a noisy recording has beyond the clean one of the same name.
    ///
    /// Recordings follow each other, sorted by name, until a track covers the longest batch; then the next track begins.
    /// (The TensorFlow code subtracts the other way round, which no power can tell, and drops what is left of the last
    /// recording, as here.)
    Twin {
        /// Folder of clean recordings.
        clean: PathBuf,
        /// Folder of noisy ones, of the same names.
        noisy: PathBuf,
        /// Most tracks; 16 in the TensorFlow code.
        tracks: usize,
    },
    /// White noise, new in each step.
    White {
        /// Its level in dB relative to full scale (RMS 1).
        level_dbfs: f64,
    },
}

/// What is done to the wave of each row, before noise that is added and before the features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AugmentationConfig {
    /// The effects and how often each happens.
    pub effects: AugmentConfig,
    /// Folders of noise for `effects.noise`, searched with what is below them; the first 30 s of each recording are used, and
    /// one without any sound in them is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub noise_folders: Vec<PathBuf>,
    /// Folders of impulse responses for `effects.impulse_responses`, likewise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub impulse_response_folders: Vec<PathBuf>,
}

/// A random offset that is smooth over the bands, new for each row: `deviation * K z`, `z` standard normal.
///
/// K's rows are Gaussians of four bands' deviation with unit norm, so that each band's offset has the stated deviation, in
/// units of that band's own deviation over the training data. It stands for microphones and rooms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureOffsetConfig {
    /// Deviation of the offset; 0.25 made the pilots of `docs/synthesised-voices.md`.
    pub deviation: f64,
}

impl DataConfig {
    /// Longest crop, or batch, or piece, in frames: ten minutes at 100 a second.
    pub const MAX_FRAMES: usize = 60_000;
    /// Most rows of a batch.
    pub const MAX_ROWS: usize = 1 << 20;
    /// Most copies of a row.
    pub const MAX_COPIES: usize = 32;

    /// Refuses values that are impossible, or that ask for unbounded memory.
    ///
    /// # Errors
    /// [`DataError::Setting`] names the first.
    pub fn validate(&self) -> Result<(), DataError> {
        let frames = 1..=Self::MAX_FRAMES;
        let decibels = |db: f64| db > 0.0 && db <= 200.0;
        let (levels, count) = match self.preparation {
            PreparationConfig::Whole { trim_db, least_frames } => (trim_db, least_frames),
            PreparationConfig::Split { top_db, frames } => (Some(top_db), frames),
            PreparationConfig::LastFrames { trim_db, frames } => (trim_db, frames),
            PreparationConfig::SplitWhole { top_db, least_frames } => (Some(top_db), least_frames),
        };
        if let Some(db) = levels.filter(|&db| !decibels(db)) {
            return Err(refuse("preparation.top_db or trim_db", db, "more than 0 and at most 200 dB"));
        }
        if !frames.contains(&count) {
            return Err(refuse("preparation.frames or least_frames", count, "1 to 60000 frames"));
        }

        let SamplerConfig { speakers, utterances, phrases_together, .. } = self.sampler;
        let rows = speakers.saturating_mul(utterances);
        if speakers == 0 || utterances == 0 || rows > Self::MAX_ROWS {
            let value = format!("{speakers} with utterances = {utterances}");
            return Err(refuse("sampler.speakers", value, "at least 1 each, and at most 1048576 rows together"));
        }
        let all = rows.saturating_mul(1 + self.copies.len());
        if self.copies.len() > Self::MAX_COPIES || all > Self::MAX_ROWS {
            return Err(refuse("copies", self.copies.len(), "at most 32, and at most 1048576 rows together"));
        }
        if self.sampler.draw == Draw::Shuffled && (utterances != 1 || phrases_together) {
            let value = format!("{utterances}, phrases_together = {phrases_together}");
            return Err(refuse("sampler.utterances", value, "1 and phrases apart where draw = \"shuffled\""));
        }
        if let Some(once) = self.sampler.once_per_frames
            && (once == 0 || self.sampler.draw != Draw::Shuffled)
        {
            return Err(refuse("sampler.once_per_frames", once, "at least 1, and draw = \"shuffled\""));
        }
        if phrases_together && self.classes != Classes::SpeakerAndPhrase {
            return Err(refuse("sampler.phrases_together", true, "false unless classes = \"speaker-and-phrase\""));
        }
        if phrases_together && !speakers.is_multiple_of(2) {
            return Err(refuse("sampler.speakers", speakers, "even where phrases are drawn together"));
        }

        let [least, most] = self.crop.frames;
        if least > most || !frames.contains(&least) || !frames.contains(&most) {
            return Err(refuse(
                "crop.frames",
                format!("[{least}, {most}]"),
                "[least, greatest], from 1 to 60000 frames",
            ));
        }
        if let Some(noise) = &self.noise {
            noise.validate()?;
        }
        if let Some(offset) = &self.feature_offset
            && !(0.0..=10.0).contains(&offset.deviation)
        {
            return Err(refuse("feature_offset.deviation", offset.deviation, "0 to 10"));
        }
        Ok(())
    }

    /// The same with folders of noise and rooms below `root` where their paths are relative: a recipe names them as a
    /// manifest names recordings.
    #[must_use]
    pub fn below(&self, root: &Path) -> Self {
        let mut config = self.clone();
        let mut folders: Vec<&mut PathBuf> = Vec::new();
        match config.noise.as_mut().map(|noise| &mut noise.source) {
            Some(NoiseSource::Folder { path }) => folders.push(path),
            Some(NoiseSource::Twin { clean, noisy, .. }) => folders.extend([clean, noisy]),
            Some(NoiseSource::White { .. }) | None => {}
        }
        for augmentation in config.augmentation.iter_mut().chain(&mut config.copies) {
            folders.extend(&mut augmentation.noise_folders);
            folders.extend(&mut augmentation.impulse_response_folders);
        }
        for folder in folders {
            *folder = root.join(&*folder);
        }
        config
    }

    /// Rows of a batch, copies included.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.sampler.speakers * self.sampler.utterances * (1 + self.copies.len())
    }

    /// Whether waves are kept and features computed for each batch, because something is done to the waves of a step.
    #[must_use]
    pub fn keeps_waveforms(&self) -> bool {
        self.noise.is_some()
            || self.augmentation.is_some()
            || !self.copies.is_empty()
            || self.crop.edges == CropEdges::Cut
    }
}

impl NoiseConfig {
    fn validate(&self) -> Result<(), DataError> {
        if let Some([low, high]) = self.snr_db
            && !(-100.0 <= low && low <= high && high <= 200.0)
        {
            return Err(refuse("noise.snr_db", format!("[{low}, {high}]"), "[least, greatest], from -100 to 200 dB"));
        }
        match self.source {
            NoiseSource::Twin { tracks, .. } if !(1..=4_096).contains(&tracks) => {
                Err(refuse("noise.source.tracks", tracks, "1 to 4096"))
            }
            NoiseSource::White { level_dbfs } if !(-200.0..=0.0).contains(&level_dbfs) => {
                Err(refuse("noise.source.level_dbfs", level_dbfs, "-200 to 0 dBFS"))
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn refuse(name: &'static str, value: impl ToString, allowed: &'static str) -> DataError {
    DataError::Setting { name, value: value.to_string(), allowed }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        classes = "speaker-and-phrase"
        preparation = { kind = "split", top_db = 20.0, frames = 180 }
        sampler = { speakers = 4, utterances = 5, draw = "with-replacement", phrases_together = true }
        crop = { frames = [140, 180], from = "start" }
        feature_offset = { deviation = 0.25 }
        memory_mib = 512
        [noise]
        source = { kind = "twin", clean = "a", noisy = "b", tracks = 16 }
        snr_db = [0.0, 20.0]
        [augmentation]
        noise_folders = ["noise/train"]
        [augmentation.effects.noise]
        probability = 0.5
        snr_db = [5.0, 20.0]
    "#;

    #[test]
    fn a_configuration_is_what_it_was_after_writing_and_reading() {
        let config: DataConfig = toml::from_str(TEXT).unwrap();
        config.validate().unwrap();
        assert!(config.keeps_waveforms());
        let again: DataConfig = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
    }

    #[test]
    fn an_unknown_key_is_refused_wherever_it_stands() {
        for (from, to) in [
            ("memory_mib", "memory_mb"),
            ("top_db", "top"),
            ("phrases_together", "together"),
            ("deviation =", "deviation = 0.1, more ="),
            ("tracks", "track"),
            ("noise_folders", "folders"),
            ("probability", "chance"),
            ("effects.noise", "effects.noises"),
            ("\"with-replacement\"", "\"replaced\""),
        ] {
            assert!(TEXT.contains(from), "{from}");
            assert!(toml::from_str::<DataConfig>(&TEXT.replace(from, to)).is_err(), "{to}");
        }
    }
}

//! The eight lines that an application needs, from two recordings to a verdict.

use std::path::Path;

use ndarray::{ArrayView2, Axis};
use serde::Serialize;
use sv_audio::frontend::FeatureExtractor;
use sv_audio::vad::VadChoice;
use sv_audio::windows::WindowPlan;
use sv_audio::{Features, Waveform};
use sv_metrics::{Threshold, Verdict};
use sv_models::{Classifier, Description, Device, Embedding, Fingerprint, ModelDir, Plan};

#[cfg(feature = "decode")]
use sv_audio::decode::{self, DecodeLimits, DecodeWarning};

use crate::{Enrolment, Error};

/// A model ready to embed and compare: its front end planned, its weights packed. Shared by reference between threads.
///
/// ```no_run
/// use speaker_verification::SpeakerRecognition;
///
/// let model = SpeakerRecognition::load("model")?;
/// let answer = model.verify_files("a.wav", "b.wav")?;
/// println!("{} ({:?})", answer.score, answer.verdict);
/// # Ok::<(), speaker_verification::Error>(())
/// ```
pub struct SpeakerRecognition {
    description: Description,
    fingerprint: Fingerprint,
    extractor: FeatureExtractor,
    pub(crate) plan: Plan,
    classifier: Option<Classifier>,
    embedding_mean: Option<Vec<f32>>,
    #[cfg(feature = "decode")]
    limits: DecodeLimits,
}

/// What a recording became.
#[derive(Debug, Clone, PartialEq)]
pub struct Utterance {
    /// D values and the fingerprint of the model that made them.
    pub embedding: Embedding,
    /// Seconds of speech that went into it: what the front end's VAD kept.
    pub seconds_of_speech: f64,
    /// What the decoder had to say: cut short, clipped.
    #[cfg(feature = "decode")]
    pub warnings: Vec<DecodeWarning>,
}

/// The answer to "is this the same person's voice?".
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verification {
    /// Cosine of the two embeddings, in [-1, 1]; higher is more alike.
    pub score: f64,
    /// What the score was compared with, and where that number comes from; none: undecided.
    pub threshold: Option<Threshold>,
    /// Accept, reject, or undecided where no threshold is known.
    pub verdict: Verdict,
}

/// A recording on its way to an embedding: its features, and the windows to be cut from them.
pub(crate) struct Prepared {
    features: Features,
    windows: WindowPlan,
    seconds_of_speech: f64,
    #[cfg(feature = "decode")]
    warnings: Vec<DecodeWarning>,
}

impl SpeakerRecognition {
    /// Loads a model directory, or a checkpoint of another system (feature `pth` for PyTorch's), and packs it.
    ///
    /// # Errors
    /// [`Error::Model`] says what is wrong with which file.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::new(&ModelDir::load(path.as_ref())?)
    }

    /// Loads a model of the hub by its name, `org/name` or `org/name@revision`: downloaded once, then read from the cache, each file
    /// compared with its checksum. Cache, hub and account are those of the environment ([`sv_models::hub::HubOptions`]).
    ///
    /// # Errors
    /// [`Error::Model`] says what cannot be had, or what is wrong with which file.
    #[cfg(feature = "hub")]
    pub fn from_hub(name: &str) -> Result<Self, Error> {
        use sv_models::ModelError;
        use sv_models::hub::{HubId, HubOptions};

        let id = name.parse::<HubId>().map_err(ModelError::from)?;
        let options = HubOptions::from_env().map_err(ModelError::from)?;
        Self::new(&ModelDir::from_hub(&id, &options)?)
    }

    /// Packs a model that is in memory.
    ///
    /// # Errors
    /// [`Error::Audio`] or [`Error::Model`] if its front end or network cannot be planned.
    pub fn new(model: &ModelDir) -> Result<Self, Error> {
        Self::on_device(model, Device::Cpu)
    }

    /// The same on `device`: on the CPU by this project's kernels, elsewhere by candle's operations. Embeddings stay comparable.
    ///
    /// # Errors
    /// [`Error::Model`] if this build has no code for the device (it names the feature), or the device is not there; those of
    /// [`Self::new`].
    pub fn on_device(model: &ModelDir, device: Device) -> Result<Self, Error> {
        let description = model.description().clone();
        Ok(Self {
            extractor: FeatureExtractor::new(&description.front_end)?,
            plan: Plan::on_device(device, &description.encoder, model.weights())?,
            classifier: model.classifier().cloned(),
            embedding_mean: model.embedding_mean().map(<[f32]>::to_vec),
            fingerprint: model.fingerprint(),
            description,
            #[cfg(feature = "decode")]
            limits: DecodeLimits::default(),
        })
    }

    /// The same model with another VAD than its front end names. Embeddings stay comparable; figures do not carry over.
    ///
    /// # Errors
    /// [`Error::Audio`] if the VAD's constants cannot be.
    pub fn with_vad(mut self, vad: VadChoice) -> Result<Self, Error> {
        self.description.front_end.vad = vad;
        self.extractor = FeatureExtractor::new(&self.description.front_end)?;
        Ok(self)
    }

    /// The same model with the caller's threshold, or with none.
    #[must_use]
    pub fn with_threshold(mut self, threshold: Option<Threshold>) -> Self {
        self.description.threshold = threshold;
        self
    }

    /// The same model with other limits on what is decoded.
    #[cfg(feature = "decode")]
    #[must_use]
    pub fn with_limits(mut self, limits: DecodeLimits) -> Self {
        self.limits = limits;
        self
    }

    /// What the model is.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// What names the speakers of the model's training, if it has that.
    #[must_use]
    pub fn classifier(&self) -> Option<&Classifier> {
        self.classifier.as_ref()
    }

    /// The mean of many speakers' embeddings, if the model has one: D values.
    #[must_use]
    pub fn embedding_mean(&self) -> Option<&[f32]> {
        self.embedding_mean.as_deref()
    }

    /// Which model it is.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Embeds samples from an application's own buffer, at any rate.
    ///
    /// # Errors
    /// [`Error::Audio`] if there is no speech or too little of it; [`Error::Model`] if the network gives no finite
    /// embedding.
    pub fn embed(&self, wave: &Waveform) -> Result<Utterance, Error> {
        let prepared = self.prepare(wave)?;
        self.embed_prepared(vec![prepared]).pop().expect("one result for one recording")
    }

    /// Decodes and embeds a file.
    ///
    /// # Errors
    /// [`Error::Recording`] and [`Error::Embedding`] name the file and what is wrong with it.
    #[cfg(feature = "decode")]
    pub fn embed_file(&self, path: impl AsRef<Path>) -> Result<Utterance, Error> {
        let path = path.as_ref();
        let prepared = self.prepare_file(path)?;
        self.embed_prepared(vec![prepared]).pop().expect("one result for one recording").map_err(|error| error.at(path))
    }

    /// Compares two recordings in memory.
    ///
    /// # Errors
    /// Those of [`Self::embed`].
    pub fn verify(&self, a: &Waveform, b: &Waveform) -> Result<Verification, Error> {
        self.compare(&self.embed(a)?.embedding, &self.embed(b)?.embedding)
    }

    /// Compares two files.
    ///
    /// # Errors
    /// Those of [`Self::embed_file`].
    #[cfg(feature = "decode")]
    pub fn verify_files(&self, a: impl AsRef<Path>, b: impl AsRef<Path>) -> Result<Verification, Error> {
        self.compare(&self.embed_file(a)?.embedding, &self.embed_file(b)?.embedding)
    }

    /// Enrols a speaker from recordings in memory.
    ///
    /// # Errors
    /// Those of [`Self::embed`]; [`Error::NothingToDo`] without a recording.
    pub fn enrol(&self, waves: &[Waveform]) -> Result<Enrolment, Error> {
        let embeddings = waves.iter().map(|wave| Ok(self.embed(wave)?.embedding));
        enrolled(embeddings)
    }

    /// Enrols a speaker from files.
    ///
    /// # Errors
    /// Those of [`Self::embed_file`]; [`Error::NothingToDo`] without a file.
    #[cfg(feature = "decode")]
    pub fn enrol_files(&self, paths: &[impl AsRef<Path>]) -> Result<Enrolment, Error> {
        let embeddings = paths.iter().map(|path| Ok(self.embed_file(path)?.embedding));
        enrolled(embeddings)
    }

    /// Compares an utterance with an enrolled speaker: the cosine with the mean of the enrolment.
    ///
    /// # Errors
    /// [`Error::Model`] if another model made one of them, or one has no direction.
    pub fn verify_enrolled(&self, speaker: &Enrolment, utterance: &Embedding) -> Result<Verification, Error> {
        self.compare(&speaker.embedding()?, utterance)
    }

    /// Compares two embeddings of this model.
    ///
    /// # Errors
    /// [`Error::Model`] if another model made one of them, or one is all zeros.
    pub fn compare(&self, a: &Embedding, b: &Embedding) -> Result<Verification, Error> {
        let score = a.cosine(b)?;
        let threshold = self.description.threshold.clone();
        let verdict = Verdict::of(score, threshold.as_ref());
        Ok(Verification { score, threshold, verdict })
    }

    #[cfg(feature = "decode")]
    pub(crate) fn prepare_file(&self, path: &Path) -> Result<Prepared, Error> {
        let decoded = decode::read(path, &self.limits)?;
        let mut prepared = self.prepare(&decoded.waveform).map_err(|error| error.at(path))?;
        prepared.warnings = decoded.warnings;
        Ok(prepared)
    }

    pub(crate) fn prepare(&self, wave: &Waveform) -> Result<Prepared, Error> {
        let speech = self.extractor.prepare(wave)?;
        let (features, windows) = self.extractor.pieces(&speech, &self.description.windows)?;
        Ok(Prepared {
            features,
            windows,
            seconds_of_speech: speech.seconds(),
            #[cfg(feature = "decode")]
            warnings: Vec::new(),
        })
    }

    /// Embeds what is prepared, all windows through the network together: one result each, in order.
    pub(crate) fn embed_prepared(&self, prepared: Vec<Prepared>) -> Vec<Result<Utterance, Error>> {
        match self.embed_together(&prepared) {
            Ok(utterances) => utterances.into_iter().map(Ok).collect(),
            Err(error) if prepared.len() == 1 => vec![Err(error)],
            // One of them is at fault: alone, each gets its own answer, which is the same for the others.
            Err(_) => prepared.into_iter().flat_map(|one| self.embed_prepared(vec![one])).collect(),
        }
    }

    fn embed_together(&self, prepared: &[Prepared]) -> Result<Vec<Utterance>, Error> {
        let mut pieces = Vec::new();
        for one in prepared {
            pieces.extend(one.windows.cut(&one.features)?);
        }
        let views: Vec<ArrayView2<'_, f32>> = pieces.iter().map(|piece| piece.view()).collect();
        let embeddings = self.plan.embed(&views)?;
        let mut first = 0;
        let mut utterances = Vec::with_capacity(prepared.len());
        for one in prepared {
            let end = first + one.windows.pieces();
            let joined = self.plan.join(embeddings.slice_axis(Axis(0), (first..end).into()));
            first = end;
            utterances.push(Utterance {
                embedding: Embedding::new(joined, self.fingerprint)?,
                seconds_of_speech: one.seconds_of_speech,
                #[cfg(feature = "decode")]
                warnings: one.warnings.clone(),
            });
        }
        Ok(utterances)
    }
}

fn enrolled(mut embeddings: impl Iterator<Item = Result<Embedding, Error>>) -> Result<Enrolment, Error> {
    let first = embeddings.next().ok_or_else(|| Error::NothingToDo { origin: "an enrolment".to_owned() })??;
    let mut enrolment = Enrolment::new(&first)?;
    embeddings.try_for_each(|embedding| enrolment.add(&embedding?))?;
    Ok(enrolment)
}

//! A model, whole: architecture, front end, windows, threshold, where it came from, and its weights.
//!
//! On disk it is a folder of two files, `model.toml` and `weights.safetensors` (and `labels.txt` where there is a
//! classifier). Whatever else can be loaded is turned into the same [`ModelDir`] in memory.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sv_audio::frontend::FrontEnd;
use sv_audio::windows::Windows;
use sv_metrics::Threshold;

use crate::checkpoint::{StateDict, StateTensor, write, write_whole};
use crate::weights::{Weight, Weights};
use crate::{Classifier, ClassifierConfig, EncoderConfig, Fingerprint, ModelError, labels};

/// The version of `model.toml` that this crate writes, and the only one it reads.
pub const FORMAT: u32 = 1;

const CARD: &str = "model.toml";
const WEIGHTS: &str = "weights.safetensors";
const LABELS: &str = "labels.txt";
/// Name of the tensor that holds the mean of many speakers' embeddings.
pub(crate) const EMBEDDING_MEAN: &str = "embedding_mean";

/// Where a model's weights came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// File, repository or recipe.
    pub name: String,
    /// Revision of a repository, step of a training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// SHA-256 of the original file, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// For several files, or a repository of the hub: each file's checksum in hexadecimal, the hub's ETag. SHA-256 has 64 digits;
    /// git's SHA-1, of `blob SIZE\0` and the bytes, has 40.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
}

/// What a model is, but for its weights: the content of `model.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// D; must be the encoder's.
    pub embedding_size: usize,
    /// File beside `model.toml` with one label a line, for a classifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<String>,
    /// The network and its sizes.
    pub encoder: EncoderConfig,
    /// What tells the training's speakers apart, by an embedding; absent in most models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classifier: Option<ClassifierConfig>,
    /// Whether the weights hold `embedding_mean` (D): the mean of many speakers' embeddings, which a caller may subtract.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub embedding_mean: bool,
    /// How a recording becomes features, with every constant.
    pub front_end: FrontEnd,
    /// Which pieces of an utterance are embedded, before their mean is taken.
    pub windows: Windows,
    /// When two embeddings are the same speaker; absent if nobody published or calibrated one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<Threshold>,
    /// Where the weights came from.
    pub source: Source,
}

/// A description and the weights that belong to it, checked against each other.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelDir {
    description: Description,
    weights: Weights,
    classifier: Option<Classifier>,
    embedding_mean: Option<Vec<f32>>,
    fingerprint: Fingerprint,
}

/// `model.toml` as written: the description and two lines before it.
#[derive(Serialize, Deserialize)]
struct Card {
    format: u32,
    fingerprint: String,
    #[serde(flatten)]
    description: toml::Table,
}

impl ModelDir {
    /// Joins a description and `tensors` (our names; a classifier's begin with [`Classifier::PREFIX`]). `origin` names them in
    /// errors.
    ///
    /// # Errors
    /// [`ModelError::Config`] for sizes that do not fit together or cannot be; those of [`Weights::new`] for tensors.
    pub fn new(
        origin: &str,
        description: Description,
        mut tensors: BTreeMap<String, Weight>,
    ) -> Result<Self, ModelError> {
        description.validate()?;
        let encoder = &description.encoder;
        let mut embedding_mean = None;
        if description.embedding_mean {
            let shapes = [(EMBEDDING_MEAN.to_owned(), vec![encoder.embedding_size()])].into();
            let tensor = tensors.remove_entry(EMBEDDING_MEAN).into_iter().collect();
            let mean = Weights::exactly(origin, &shapes, tensor)?;
            embedding_mean = Some(mean.get(EMBEDDING_MEAN).values.clone());
        }
        let mut classifier = None;
        if let Some(config) = description.classifier {
            let is_its = |name: &String, _: &mut Weight| name.starts_with(Classifier::PREFIX);
            let its: BTreeMap<_, _> = tensors.extract_if(.., is_its).collect();
            let unprefixed =
                its.into_iter().map(|(name, weight)| (name[Classifier::PREFIX.len()..].to_owned(), weight));
            let weights = Weights::exactly(origin, &config.tensors(encoder.embedding_size()), unprefixed.collect())?;
            classifier = Some(Classifier::new(config, encoder, weights));
        }
        let weights = Weights::new(origin, encoder, tensors)?;
        let fingerprint = fingerprint(&description, &weights);
        Ok(Self { description, weights, classifier, embedding_mean, fingerprint })
    }

    /// The same model with a name for each class of its classifier; `path` is where they came from.
    ///
    /// # Errors
    /// [`ModelError::Labels`] if there are more or fewer than classes (or there is no classifier), or one could not be kept on a
    /// line of its own.
    pub fn with_labels(mut self, path: &Path, labels: Vec<String>) -> Result<Self, ModelError> {
        let classes = self.classifier.as_ref().map_or(0, |classifier| classifier.config().classes());
        labels::check(&labels, classes).map_err(|problem| ModelError::Labels { path: path.into(), problem })?;
        if let Some(classifier) = &mut self.classifier {
            classifier.set_labels(labels);
            self.description.labels.get_or_insert_with(|| LABELS.into());
        }
        Ok(self)
    }

    /// Loads a model: a directory of ours, or a foreign checkpoint, which is converted in memory.
    ///
    /// # Errors
    /// [`ModelError`] says which file, what is wrong with it and what would be right.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        let kind = fs::metadata(path).map_err(|source| ModelError::Read { path: path.into(), source })?;
        if !kind.is_dir() {
            return crate::checkpoint::family::load(path);
        }
        if path.join(CARD).is_file() { Self::load_own(path) } else { crate::checkpoint::family::load_directory(path) }
    }

    fn load_own(folder: &Path) -> Result<Self, ModelError> {
        let card_path = folder.join(CARD);
        let text = read_text(&card_path, LARGEST_CARD)?;
        let (claimed, description) = parse_card(&card_path, &text)?;
        let weights_path = folder.join(WEIGHTS);
        let state = StateDict::read(&weights_path)?;
        let mut tensors = BTreeMap::new();
        for (name, tensor) in state.iter() {
            tensors.insert(name.to_owned(), Weight { shape: tensor.shape.clone(), values: tensor.f32()? });
        }
        let model = Self::new(&weights_path.display().to_string(), description, tensors)?;
        let found = model.fingerprint.to_string();
        if claimed != found {
            return Err(ModelError::Fingerprint { path: card_path, claimed, found });
        }
        match &model.description.labels {
            None => Ok(model),
            Some(name) => {
                let path = folder.join(name);
                let labels = read_text(&path, LARGEST_LABELS)?.lines().map(str::to_owned).collect();
                model.with_labels(&path, labels)
            }
        }
    }

    /// Writes the model into `folder`, which is made if need be. Each file is written beside its place and renamed, the
    /// weights first: a reader sees the old model, the new one, or an error that says they do not belong together.
    ///
    /// # Errors
    /// [`ModelError::Write`] with the path.
    pub fn save(&self, folder: &Path) -> Result<(), ModelError> {
        fs::create_dir_all(folder).map_err(|source| ModelError::Write { path: folder.into(), source })?;
        let tensor = |(name, weight): (&str, &Weight)| {
            Ok((name.to_owned(), StateTensor::from_f32(&weight.shape, &weight.values)?))
        };
        let mut tensors = self.weights.iter().map(tensor).collect::<Result<Vec<_>, ModelError>>()?;
        for (name, weight) in self.classifier.iter().flat_map(|classifier| classifier.weights().iter()) {
            let name = format!("{}{name}", Classifier::PREFIX);
            tensors.push((name, StateTensor::from_f32(&weight.shape, &weight.values)?));
        }
        if let Some(mean) = &self.embedding_mean {
            tensors.push((EMBEDDING_MEAN.into(), StateTensor::from_f32(&[mean.len()], mean)?));
        }
        let path = folder.join(WEIGHTS);
        write(&path, &StateDict::from_tensors(WEIGHTS, tensors), &BTreeMap::new())?;
        if let (Some(name), Some(labels)) = (&self.description.labels, self.labels()) {
            let lines: String = labels.iter().flat_map(|label| [label, "\n"]).collect();
            write_whole(&folder.join(name), |out| out.write_all(lines.as_bytes()))?;
        }
        let card = self.card()?;
        write_whole(&folder.join(CARD), |out| out.write_all(card.as_bytes()))
    }

    /// `model.toml` as text.
    ///
    /// # Errors
    /// [`ModelError::Card`] if a value cannot be written as TOML.
    pub fn card(&self) -> Result<String, ModelError> {
        let unwritable =
            |error: toml::ser::Error| ModelError::Card { path: PathBuf::from(CARD), message: error.to_string() };
        let description = toml::Table::try_from(&self.description).map_err(unwritable)?;
        toml::to_string(&Card { format: FORMAT, fingerprint: self.fingerprint.to_string(), description })
            .map_err(unwritable)
    }

    /// What the model is.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The tensors of its encoder.
    #[must_use]
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// What tells the training's speakers apart, where the model has it.
    #[must_use]
    pub fn classifier(&self) -> Option<&Classifier> {
        self.classifier.as_ref()
    }

    /// The names of the classifier's classes, in their order.
    #[must_use]
    pub fn labels(&self) -> Option<&[String]> {
        self.classifier.as_ref()?.labels()
    }

    /// The mean of many speakers' embeddings (D), where the model has it.
    #[must_use]
    pub fn embedding_mean(&self) -> Option<&[f32]> {
        self.embedding_mean.as_deref()
    }

    /// SHA-256 over encoder, front end and the encoder's tensors; the same for an original and its conversion.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The same model with another threshold, or none.
    #[must_use]
    pub fn with_threshold(mut self, threshold: Option<Threshold>) -> Self {
        self.description.threshold = threshold;
        self
    }
}

impl Description {
    fn validate(&self) -> Result<(), ModelError> {
        self.encoder.validate()?;
        self.front_end.validate()?;
        self.windows.validate()?;
        if let Some(classifier) = &self.classifier {
            classifier.validate()?;
        }
        let sizes = |key, got: usize, need: usize, of: &str| {
            if got == need {
                Ok(())
            } else {
                Err(ModelError::Config { key, got: got.to_string(), need: format!("{need}, as {of}") })
            }
        };
        sizes("embedding_size", self.embedding_size, self.encoder.embedding_size(), "the encoder gives")?;
        sizes("encoder.bins", self.encoder.bins(), self.front_end.bins(), "the front end gives")?;
        if let Some(labels) = &self.labels
            && (labels.is_empty() || Path::new(labels).components().count() != 1 || labels.starts_with('.'))
        {
            return Err(ModelError::Config {
                key: "labels",
                got: labels.clone(),
                need: "the name of a file beside model.toml".into(),
            });
        }
        if self.labels.is_some() && self.classifier.is_none() {
            return Err(ModelError::Config {
                key: "labels",
                got: "given".into(),
                need: "left out where there is no classifier".into(),
            });
        }
        Ok(())
    }
}

/// The largest `model.toml` that is read: real ones take 2 KiB.
const LARGEST_CARD: u64 = 1 << 20;
/// The largest list of labels that is read: one of 7,205 speakers takes 56 KiB.
pub(crate) const LARGEST_LABELS: u64 = 16 << 20;

pub(crate) fn read_text(path: &Path, largest: u64) -> Result<String, ModelError> {
    let unreadable = |source| ModelError::Read { path: path.into(), source };
    let about = fs::metadata(path).map_err(unreadable)?;
    if !about.is_file() {
        return Err(ModelError::NotAFile { path: path.into() });
    }
    if about.len() > largest {
        return Err(ModelError::TooLong { path: path.into(), bytes: about.len(), limit: largest });
    }
    fs::read_to_string(path).map_err(unreadable)
}

/// Parses `model.toml`: the fingerprint it claims, and the description.
///
/// # Errors
/// [`ModelError::Card`] with the line, the key and what was expected; [`ModelError::Format`] for another version.
pub fn parse_card(path: &Path, text: &str) -> Result<(String, Description), ModelError> {
    let malformed = |error: toml::de::Error| ModelError::Card { path: path.into(), message: error.to_string() };
    let mut table: toml::Table = text.parse().map_err(malformed)?;
    // The version first: in another format, other keys are not mistakes.
    match table.remove("format").and_then(|value| value.as_integer()) {
        Some(found) if found == i64::from(FORMAT) => {}
        found => return Err(ModelError::Format { path: path.into(), found, need: FORMAT }),
    }
    let Some(toml::Value::String(claimed)) = table.remove("fingerprint") else {
        return Err(ModelError::Card { path: path.into(), message: "`fingerprint` is missing or no string".into() });
    };
    let description = table.try_into().map_err(malformed)?;
    Ok((claimed, description))
}

fn fingerprint(description: &Description, weights: &Weights) -> Fingerprint {
    let mut hash = Sha256::new();
    // Field by field in the order of the structs, floats in their shortest form: stable, and readable in a debugger.
    for part in [serde_json::to_vec(&description.encoder), serde_json::to_vec(&description.front_end)] {
        let part = part.expect("a struct of numbers and names is always JSON");
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let mut bytes = Vec::new();
    for (name, weight) in weights.iter() {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name.as_bytes());
        hash.update((weight.shape.len() as u64).to_le_bytes());
        for &size in &weight.shape {
            hash.update((size as u64).to_le_bytes());
        }
        bytes.clear();
        bytes.extend(weight.values.iter().flat_map(|value| value.to_le_bytes()));
        hash.update(&bytes);
    }
    Fingerprint::new(hash.finalize().into())
}

/// SHA-256 of a file in hexadecimal.
pub(crate) fn sha256_of(path: &Path) -> Result<String, ModelError> {
    let unreadable = |source| ModelError::Read { path: path.into(), source };
    let mut file = fs::File::open(path).map_err(unreadable)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(unreadable)? {
            0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            bytes => hash.update(&buffer[..bytes]),
        }
    }
}

//! A recipe: everything that decides what a training does, in one typed TOML file.
//!
//! The published ones are embedded and known by name ([`Recipe::names`]); others are read from a path. Every key is
//! checked: an unknown one, or an impossible value, is an error before anything is computed.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sv_audio::frontend::{Cmn, FrontEnd};
use sv_audio::vad::VadChoice;
use sv_audio::windows::Windows;
use sv_losses::ObjectiveConfig;
use sv_models::EncoderConfig;

use crate::TrainError;
use crate::back_end::BackEndConfig;
use crate::data::DataConfig;
use crate::initialisation::Initialisation;
use crate::optim::{MarginSchedule, OptimizerConfig, Schedule};

/// What is trained, on what, by what, for how long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Its name: a path-like word.
    pub name: String,
    /// One or two sentences for `sv train --list`.
    pub about: String,
    /// Every draw follows from it: see [`crate::Stream`].
    pub seed: u64,
    /// Optimizer steps.
    pub steps: u64,
    /// What is trained on.
    pub corpus: CorpusConfig,
    /// How recordings become features.
    pub front_end: FrontEndConfig,
    /// How features become batches.
    pub data: DataConfig,
    /// Whether each band is standardised by its mean and deviation over the training data.
    pub standardise: bool,
    /// The network.
    pub encoder: EncoderConfig,
    /// Its weights at the start.
    pub initialisation: Initialisation,
    /// What is minimised.
    pub objective: ObjectiveConfig,
    /// How.
    pub optimizer: OptimizerConfig,
    /// The learning rate of each step.
    pub schedule: Schedule,
    /// The margin of each step, where the objective has one; absent: the objective's own throughout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<MarginSchedule>,
    /// What is trained on the embeddings of the finished encoder; absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_end: Option<BackEndConfig>,
    /// How the model is judged, and how it cuts utterances from then on.
    pub evaluation: EvaluationConfig,
    /// When the state is saved.
    pub checkpoints: CheckpointConfig,
}

/// What is trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum CorpusConfig {
    /// Synthesised voices: no recording of anybody is needed. Figures on them say nothing about people.
    Synthetic {
        /// Which text they say.
        text: SyntheticText,
        /// The generator's seed.
        seed: u64,
        /// Speakers to train on.
        speakers: u64,
        /// Recordings of each.
        utterances: u64,
        /// Other speakers that the threshold is set on, with ten recordings each.
        dev_speakers: u64,
    },
    /// Recordings that a manifest lists; it is named when the training starts.
    Manifest {
        /// Corpora to take, by the manifest's names; empty takes all.
        corpora: Vec<String>,
        /// Splits to take.
        splits: Vec<String>,
        /// Share of the recordings that is not trained on, drawn by the recipe's seed over all speakers; in [0, 0.9].
        #[serde(default, skip_serializing_if = "is_zero")]
        held_out: f64,
    },
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

/// Which text synthesised voices say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SyntheticText {
    /// One phrase, always the same.
    Dependent,
    /// Syllables at random.
    Independent,
}

impl From<SyntheticText> for sv_audio::synth::Corpus {
    fn from(text: SyntheticText) -> Self {
        match text {
            SyntheticText::Dependent => Self::TextDependent,
            SyntheticText::Independent => Self::TextIndependent,
        }
    }
}

/// A published front end, and what is changed of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrontEndConfig {
    /// Its name: [`FrontEnd::names`].
    pub preset: String,
    /// Another detector of speech than the preset's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vad: Option<VadChoice>,
    /// What is subtracted from the features.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmn: Option<Cmn>,
}

impl FrontEndConfig {
    /// The front end, every constant spelled out; its name says where it departs from the preset.
    ///
    /// # Errors
    /// [`TrainError::Audio`] for an unknown preset or impossible constants.
    pub fn build(&self) -> Result<FrontEnd, TrainError> {
        let mut front_end = FrontEnd::by_name(&self.preset)?;
        if let Some(vad) = &self.vad {
            front_end.name = format!("{}+{}", front_end.name, vad.name());
            front_end.vad = vad.clone();
        }
        if self.cmn.is_some() {
            front_end.name.push_str("+cmn");
            front_end.cmn = self.cmn;
        }
        front_end.validate()?;
        Ok(front_end)
    }
}

/// How a model is judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationConfig {
    /// How the model cuts utterances: written into `model.toml`.
    pub windows: Windows,
    /// Steps between evaluations on the dev lists; 0: only at the end.
    pub every: u64,
    /// Names of trial lists, `trials/NAME.txt` under the data's folder; the first sets the threshold.
    #[serde(default)]
    pub dev: Vec<String>,
    /// Names of trial lists that are scored once, after the last step.
    #[serde(default)]
    pub test: Vec<String>,
}

/// When the state is saved. The last five and those at 50, 75 and 100 % of the steps are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointConfig {
    /// Steps between two.
    pub every: u64,
}

/// The published recipes, by name.
const EMBEDDED: [(&str, &str); 21] = [
    ("ge2e-tf/td", include_str!("../recipes/ge2e-tf/td.toml")),
    ("ge2e-tf/ti", include_str!("../recipes/ge2e-tf/ti.toml")),
    ("synthetic/td", include_str!("../recipes/synthetic/td.toml")),
    ("synthetic/ti", include_str!("../recipes/synthetic/ti.toml")),
    ("d-vector/td", include_str!("../recipes/d-vector/td.toml")),
    ("d-vector/ti", include_str!("../recipes/d-vector/ti.toml")),
    ("ecapa/narrow", include_str!("../recipes/ecapa/narrow.toml")),
    ("ecapa/voxceleb", include_str!("../recipes/ecapa/voxceleb.toml")),
    ("ecapa/voxceleb-lm", include_str!("../recipes/ecapa/voxceleb-lm.toml")),
    ("xvector/voxceleb", include_str!("../recipes/xvector/voxceleb.toml")),
    ("resnet/narrow", include_str!("../recipes/resnet/narrow.toml")),
    ("heo2019/metric-learning", include_str!("../recipes/heo2019/metric-learning.toml")),
    ("heo2019/softmax", include_str!("../recipes/heo2019/softmax.toml")),
    ("heo2019/center", include_str!("../recipes/heo2019/center.toml")),
    ("heo2019/am-softmax", include_str!("../recipes/heo2019/am-softmax.toml")),
    ("heo2019/ge2e", include_str!("../recipes/heo2019/ge2e.toml")),
    ("heo2019/center-between", include_str!("../recipes/heo2019/center-between.toml")),
    ("heo2019/hard-between", include_str!("../recipes/heo2019/hard-between.toml")),
    ("heo2019/voxceleb2-center", include_str!("../recipes/heo2019/voxceleb2-center.toml")),
    ("heo2019/voxceleb2-hard100", include_str!("../recipes/heo2019/voxceleb2-hard100.toml")),
    ("heo2019/voxceleb2-hard50", include_str!("../recipes/heo2019/voxceleb2-hard50.toml")),
];

/// The largest recipe that is read: real ones take 3 KiB.
const LARGEST: u64 = 1 << 20;

impl Recipe {
    /// Names of the embedded recipes.
    pub fn names() -> impl ExactSizeIterator<Item = &'static str> {
        EMBEDDED.iter().map(|(name, _)| *name)
    }

    /// The embedded recipe `name`, or the file at that path, with `changes` (`key.key=value`, the value as in TOML; what is
    /// no TOML is taken as a string).
    ///
    /// # Errors
    /// [`TrainError::UnknownRecipe`] lists the names, [`TrainError::Recipe`] names the key and the line, [`TrainError::Set`]
    /// a change that cannot be made.
    pub fn load(name: &str, changes: &[String]) -> Result<Self, TrainError> {
        let (origin, text) = match EMBEDDED.iter().find(|(known, _)| *known == name) {
            Some((name, text)) => (PathBuf::from(name), (*text).to_owned()),
            None => {
                let path = PathBuf::from(name);
                if !path.is_file() {
                    return Err(TrainError::UnknownRecipe { name: name.to_owned() });
                }
                (path.clone(), read_text(&path)?)
            }
        };
        Self::parse(&origin, &text, changes)
    }

    /// Reads a recipe from text; `origin` names it in errors.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn parse(origin: &Path, text: &str, changes: &[String]) -> Result<Self, TrainError> {
        let malformed =
            |error: toml::de::Error| TrainError::Recipe { origin: origin.to_owned(), message: error.to_string() };
        let recipe: Self = if changes.is_empty() {
            // From the text itself: errors then show the line.
            toml::from_str(text).map_err(malformed)?
        } else {
            let mut table: toml::Table = text.parse().map_err(malformed)?;
            for change in changes {
                set(&mut table, change)?;
            }
            table.try_into().map_err(malformed)?
        };
        recipe.validate(origin)?;
        Ok(recipe)
    }

    /// Refuses impossible values.
    fn validate(&self, origin: &Path) -> Result<(), TrainError> {
        let refuse = |message: String| Err(TrainError::Recipe { origin: origin.to_owned(), message });
        if self.name.is_empty() || self.name.len() > 100 || self.name.chars().any(char::is_control) {
            return refuse(format!("name is {:?}; 1 to 100 characters are needed", self.name));
        }
        if !(1..=100_000_000).contains(&self.steps) {
            return refuse(format!("steps is {}; 1 to 100000000 are possible", self.steps));
        }
        if self.checkpoints.every == 0 {
            return refuse("checkpoints.every is 0; the state must be saved now and then".to_owned());
        }
        if let CorpusConfig::Synthetic { speakers, utterances, dev_speakers, .. } = &self.corpus {
            for (key, value, least) in
                [("speakers", *speakers, 2), ("utterances", *utterances, 2), ("dev_speakers", *dev_speakers, 2)]
            {
                if !(least..=1_000_000).contains(&value) {
                    return refuse(format!("corpus.{key} is {value}; {least} to 1000000 are possible"));
                }
            }
        }
        if let CorpusConfig::Manifest { held_out, .. } = self.corpus
            && !(0.0..=0.9).contains(&held_out)
        {
            return refuse(format!("corpus.held_out is {held_out}; it must be 0 to 0.9"));
        }
        if let CorpusConfig::Manifest { splits, .. } = &self.corpus
            && splits.is_empty()
        {
            return refuse("corpus.splits is empty; name the splits to train on".to_owned());
        }
        for (key, lists) in [("dev", &self.evaluation.dev), ("test", &self.evaluation.test)] {
            if let Some(name) = lists.iter().find(|name| !is_plain(name)) {
                return refuse(format!("evaluation.{key} has {name:?}; a list is named by letters, digits, - and _"));
            }
        }
        let front_end = self.front_end.build()?;
        if front_end.bins() != self.encoder.bins() {
            let (gives, takes) = (front_end.bins(), self.encoder.bins());
            let preset = &self.front_end.preset;
            return refuse(format!("encoder.bins is {takes}; front_end.preset {preset} gives {gives} bins a frame"));
        }
        let parts: [(&str, Result<(), TrainError>); 8] = [
            ("back_end", self.back_end.as_ref().map_or(Ok(()), |back_end| back_end.check(&self.encoder))),
            ("margin", self.margin.as_ref().map_or(Ok(()), |margin| margin_of(&self.objective, margin))),
            ("encoder", self.encoder.validate().map_err(Into::into)),
            ("evaluation.windows", self.evaluation.windows.validate().map_err(Into::into)),
            ("objective", self.objective.validate().map_err(Into::into)),
            ("optimizer", self.optimizer.check().map_err(Into::into)),
            ("schedule", self.schedule.check().map_err(Into::into)),
            ("data", self.data.validate().map_err(Into::into)),
        ];
        for (section, checked) in parts {
            if let Err(error) = checked {
                return refuse(format!("{section}: {error}"));
            }
        }
        Ok(())
    }

    /// The recipe as TOML, every key there is.
    ///
    /// # Errors
    /// [`TrainError::Recipe`] if a number has no place in TOML (a seed above 2^63).
    pub fn to_toml(&self) -> Result<String, TrainError> {
        toml::to_string(self)
            .map_err(|error| TrainError::Recipe { origin: PathBuf::from(&self.name), message: error.to_string() })
    }

    /// SHA-256 of [`Self::to_toml`], in hexadecimal: runs of one hash and seed differ in data, threads and machine only.
    ///
    /// # Errors
    /// As [`Self::to_toml`].
    pub fn hash(&self) -> Result<String, TrainError> {
        let digest = Sha256::digest(self.to_toml()?.as_bytes());
        Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The first key in which two recipes differ, with both values; none if they are equal.
    ///
    /// # Errors
    /// As [`Self::to_toml`].
    pub fn difference(&self, other: &Self) -> Result<Option<(String, String, String)>, TrainError> {
        let table = |recipe: &Self| -> Result<toml::Value, TrainError> {
            toml::Value::try_from(recipe)
                .map_err(|error| TrainError::Recipe { origin: PathBuf::from(&recipe.name), message: error.to_string() })
        };
        Ok(first_difference("", &table(self)?, &table(other)?))
    }
}

/// Checks a schedule by itself and the margins that it comes from and goes to.
fn margin_of(objective: &ObjectiveConfig, schedule: &MarginSchedule) -> Result<(), TrainError> {
    schedule.check()?;
    objective.validate_margin(schedule.initial)?;
    Ok(objective.validate_margin(schedule.last)?)
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

fn first_difference(at: &str, a: &toml::Value, b: &toml::Value) -> Option<(String, String, String)> {
    let (Some(left), Some(right)) = (a.as_table(), b.as_table()) else {
        return (a != b).then(|| (at.to_owned(), a.to_string(), b.to_string()));
    };
    let mut keys: Vec<&String> = left.keys().chain(right.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter().find_map(|key| {
        let at = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
        match (left.get(key), right.get(key)) {
            (Some(a), Some(b)) => first_difference(&at, a, b),
            (a, b) => {
                let text = |value: Option<&toml::Value>| value.map_or("absent".to_owned(), ToString::to_string);
                Some((at, text(a), text(b)))
            }
        }
    })
}

/// Makes one change, `key.key=value`. The key must lead through tables; whether it exists is seen when the recipe is read.
fn set(table: &mut toml::Table, change: &str) -> Result<(), TrainError> {
    let wrong = |why: &'static str| TrainError::Set { change: change.to_owned(), why };
    let (path, value) = change.split_once('=').ok_or_else(|| wrong("there is no `=`; write key.key=value"))?;
    let value = format!("value = {value}")
        .parse::<toml::Table>()
        .ok()
        // More keys than one: a line end in the value would set them past everybody's eyes.
        .filter(|parsed| parsed.len() == 1)
        .and_then(|mut parsed| parsed.remove("value"))
        .unwrap_or_else(|| toml::Value::String(value.trim().to_owned()));
    let keys: Vec<&str> = path.trim().split('.').collect();
    let Some((last, parents)) = keys.split_last() else { return Err(wrong("there is no key before `=`")) };
    if keys.iter().any(|key| key.is_empty()) {
        return Err(wrong("a key is empty; write key.key=value"));
    }
    let mut at = table;
    for key in parents {
        at = at
            .entry((*key).to_owned())
            .or_insert_with(|| toml::Value::Table(toml::Table::new()))
            .as_table_mut()
            .ok_or_else(|| wrong("a key before the last is no table"))?;
    }
    at.insert((*last).to_owned(), value);
    Ok(())
}

fn read_text(path: &Path) -> Result<String, TrainError> {
    let unreadable = |source| TrainError::Read { path: path.to_owned(), source };
    let bytes = fs::metadata(path).map_err(unreadable)?.len();
    if bytes > LARGEST {
        let message = format!("{bytes} bytes; at most {LARGEST} are read");
        return Err(TrainError::Recipe { origin: path.to_owned(), message });
    }
    fs::read_to_string(path).map_err(unreadable)
}

#[cfg(test)]
mod tests;

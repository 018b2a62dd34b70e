//! The b-vector: a network that scores two embeddings, trained to say whether they are of one speaker.
//!
//! ```text
//! length      embeddings as given, or brought to sqrt(D)    D
//! b-vector    [e1 + e2; e1 - e2; e1 * e2]                   3 D
//! hidden      linear and leaky ReLU, for each hidden size   H
//! output      linear: different, same                       2
//! ```
//!
//! The score is the difference of the two outputs, the mean over both orders of the embeddings: the logarithm of how much more
//! likely one speaker is, at the prior of the pairs it was trained on. Heo et al. 2019, section 4.3; Lee et al. 2014.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sv_kernels::gemm::PackedLinear;

use crate::checkpoint::{StateDict, StateTensor, write, write_whole};
use crate::encoders::{MOST, Shapes, check_size, insert_layer};
use crate::model_dir::read_text;
use crate::weights::{Weight, Weights};
use crate::{Fingerprint, ModelError};

/// The second of the three parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Difference {
    /// `e1 - e2`: the two orders differ.
    #[default]
    Signed,
    /// Its magnitude: both orders are one.
    Absolute,
}

/// How long embeddings are when the parts are made of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Length {
    /// As long as they come.
    #[default]
    AsGiven,
    /// All of length `sqrt(D)` (what Kaldi's `ivector-normalize-length` makes of i-vectors): only directions count, and the
    /// values of sum, difference and product are of one size. An embedding of zeros stays.
    RootD,
}

/// Sizes and form of the network. The default is the paper's, for embeddings of 1,024 values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BVectorConfig {
    /// D, values of an embedding.
    pub embedding: usize,
    /// H of each hidden layer.
    pub hidden: Vec<usize>,
    /// Factor of what is below 0, from 0 (ReLU) to 1.
    pub slope: f64,
    /// The second part.
    pub difference: Difference,
    /// What is done to embeddings before all else.
    pub length: Length,
}

impl Default for BVectorConfig {
    fn default() -> Self {
        Self {
            embedding: 1_024,
            hidden: vec![512; 3],
            slope: 0.3,
            difference: Difference::Signed,
            length: Length::AsGiven,
        }
    }
}

/// The most hidden layers: a config is read from a file.
const MOST_LAYERS: usize = 16;

impl BVectorConfig {
    /// Our names and shapes: `fc0.weight` (H, 3 D), `fc0.bias` (H) and so on; the last layer has two outputs, different and same.
    #[must_use]
    pub fn tensors(&self) -> Shapes {
        let mut tensors = Shapes::new();
        let mut inputs = self.embedding.saturating_mul(3);
        for (layer, &outputs) in self.hidden.iter().chain(&[2]).enumerate() {
            insert_layer(&mut tensors, &format!("fc{layer}"), &[outputs, inputs]);
            inputs = outputs;
        }
        tensors
    }

    /// Checks the sizes, which may come from a file.
    ///
    /// # Errors
    /// [`ModelError::Config`] names the key and what it may be.
    pub fn validate(&self) -> Result<(), ModelError> {
        check_size("embedding", self.embedding, MOST)?;
        self.hidden.iter().try_for_each(|&size| check_size("hidden", size, MOST))?;
        if self.hidden.len() > MOST_LAYERS {
            let got = format!("{} layers", self.hidden.len());
            return Err(ModelError::Config { key: "hidden", got, need: format!("at most {MOST_LAYERS}") });
        }
        if !(0.0..=1.0).contains(&self.slope) {
            let need = "a number from 0 to 1".into();
            return Err(ModelError::Config { key: "slope", got: self.slope.to_string(), need });
        }
        Ok(())
    }
}

/// A b-vector network ready to score. `Send + Sync`.
pub struct BVector {
    config: BVectorConfig,
    weights: Weights,
    model: Fingerprint,
    layers: Vec<PackedLinear>,
}

/// `b_vector.toml`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Card {
    format: u32,
    /// Whose embeddings it was trained on.
    model: String,
    network: BVectorConfig,
}

const FORMAT: u32 = 1;
const CARD: &str = "b_vector.toml";
const WEIGHTS: &str = "weights.safetensors";
/// Real ones take 200 bytes.
const LARGEST_CARD: u64 = 1 << 16;
/// Pairs that are scored at a time.
const CHUNK: usize = 128;

impl BVector {
    /// Joins a config and its tensors, named as [`BVectorConfig::tensors`] says; `model`: whose embeddings it was trained on.
    ///
    /// # Errors
    /// [`ModelError::Config`]; [`ModelError::MissingTensor`] and its kin for tensors, `origin` says where they came from.
    pub fn new(
        origin: &str,
        config: &BVectorConfig,
        model: Fingerprint,
        tensors: BTreeMap<String, Weight>,
    ) -> Result<Self, ModelError> {
        config.validate()?;
        let weights = Weights::exactly(origin, &config.tensors(), tensors)?;
        let pack = |layer: usize| {
            let (weight, bias) = (weights.get(&format!("fc{layer}.weight")), weights.get(&format!("fc{layer}.bias")));
            PackedLinear::new(weight.shape[1], weight.shape[0], &weight.values, &bias.values)
        };
        let layers = (0..=config.hidden.len()).map(pack).collect::<Result<_, _>>()?;
        Ok(Self { config: config.clone(), weights, model, layers })
    }

    /// Its sizes and form.
    #[must_use]
    pub fn config(&self) -> &BVectorConfig {
        &self.config
    }

    /// The model whose embeddings it was trained on: scores of another's mean nothing.
    #[must_use]
    pub fn model(&self) -> Fingerprint {
        self.model
    }

    /// Its tensors.
    #[must_use]
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The two outputs, different and same, of each pair in the order given; on all threads of rayon's current pool.
    ///
    /// # Errors
    /// [`ModelError::EmbeddingSize`] if an embedding has another number of values than D.
    pub fn logits(&self, pairs: &[(&[f32], &[f32])]) -> Result<Vec<[f32; 2]>, ModelError> {
        let need = self.config.embedding;
        if let Some(wrong) = pairs.iter().flat_map(|(a, b)| [a.len(), b.len()]).find(|&got| got != need) {
            return Err(ModelError::EmbeddingSize { got: wrong, need });
        }
        let chunks: Vec<Vec<[f32; 2]>> =
            pairs.par_chunks(CHUNK).map(|pairs| self.forward(pairs)).collect::<Result<_, _>>()?;
        Ok(chunks.concat())
    }

    /// Of each pair the logarithm of how much more likely one speaker is than two, the mean over both orders.
    ///
    /// # Errors
    /// As [`Self::logits`].
    pub fn scores(&self, pairs: &[(&[f32], &[f32])]) -> Result<Vec<f64>, ModelError> {
        let swapped: Vec<_> = pairs.iter().map(|&(a, b)| (b, a)).collect();
        let ahead = |logits: &[f32; 2]| f64::from(logits[1]) - f64::from(logits[0]);
        let (there, back) = (self.logits(pairs)?, self.logits(&swapped)?);
        Ok(there.iter().zip(&back).map(|(there, back)| (ahead(there) + ahead(back)) / 2.0).collect())
    }

    fn forward(&self, pairs: &[(&[f32], &[f32])]) -> Result<Vec<[f32; 2]>, ModelError> {
        let mut values = Vec::with_capacity(pairs.len() * 3 * self.config.embedding);
        for (a, b) in pairs {
            let factors = [self.factor(a), self.factor(b)];
            let both = || a.iter().zip(*b).map(|(a, b)| (a * factors[0], b * factors[1]));
            values.extend(both().map(|(a, b)| a + b));
            match self.config.difference {
                Difference::Signed => values.extend(both().map(|(a, b)| a - b)),
                Difference::Absolute => values.extend(both().map(|(a, b)| (a - b).abs())),
            }
            values.extend(both().map(|(a, b)| a * b));
        }
        let slope = self.config.slope as f32;
        for (layer, linear) in self.layers.iter().enumerate() {
            if layer > 0 {
                values.iter_mut().filter(|value| **value < 0.0).for_each(|value| *value *= slope);
            }
            let mut outputs = vec![0.0; pairs.len() * linear.outputs()];
            linear.apply(pairs.len(), &values, &mut outputs)?;
            values = outputs;
        }
        Ok(values.as_chunks::<2>().0.to_vec())
    }

    /// What the values of an embedding are multiplied by first.
    fn factor(&self, embedding: &[f32]) -> f32 {
        match self.config.length {
            Length::AsGiven => 1.0,
            Length::RootD => {
                let squares: f64 = embedding.iter().map(|&value| f64::from(value).powi(2)).sum();
                // As the trained form has it in f32 (`ops::unit_rows`).
                if squares <= 1e-30 { 0.0 } else { (embedding.len() as f64 / squares).sqrt() as f32 }
            }
        }
    }

    /// Writes the network into `folder`, which is made if need be: `b_vector.toml` and `weights.safetensors`, each whole.
    ///
    /// # Errors
    /// [`ModelError::Write`].
    pub fn save(&self, folder: &Path) -> Result<(), ModelError> {
        fs::create_dir_all(folder).map_err(|source| ModelError::Write { path: folder.into(), source })?;
        let tensor = |(name, weight): (&str, &Weight)| {
            Ok((name.to_owned(), StateTensor::from_f32(&weight.shape, &weight.values)?))
        };
        let tensors = self.weights.iter().map(tensor).collect::<Result<Vec<_>, ModelError>>()?;
        write(&folder.join(WEIGHTS), &StateDict::from_tensors(WEIGHTS, tensors), &BTreeMap::new())?;
        let path = folder.join(CARD);
        let card = Card { format: FORMAT, model: self.model.to_string(), network: self.config.clone() };
        let card = toml::to_string(&card)
            .map_err(|error| ModelError::Card { path: path.clone(), message: error.to_string() })?;
        write_whole(&path, |out| out.write_all(card.as_bytes()))
    }

    /// Reads what [`Self::save`] wrote.
    ///
    /// # Errors
    /// [`ModelError::Read`], [`ModelError::Card`] with the line, [`ModelError::Format`] for another version; those of
    /// [`Self::new`].
    pub fn load(folder: &Path) -> Result<Self, ModelError> {
        let path = folder.join(CARD);
        let text = read_text(&path, LARGEST_CARD)?;
        let card = |message: String| ModelError::Card { path: path.clone(), message };
        let Card { format, model, network } = toml::from_str(&text).map_err(|error| card(error.to_string()))?;
        if format != FORMAT {
            return Err(ModelError::Format { path, found: Some(i64::from(format)), need: FORMAT });
        }
        let model = model.parse().map_err(|error: crate::NotAFingerprint| card(error.to_string()))?;
        let weights = folder.join(WEIGHTS);
        let state = StateDict::read(&weights)?;
        let mut tensors = BTreeMap::new();
        for (name, tensor) in state.iter() {
            tensors.insert(name.to_owned(), Weight { shape: tensor.shape.clone(), values: tensor.f32()? });
        }
        Self::new(&weights.display().to_string(), &network, model, tensors)
    }
}

impl std::fmt::Debug for BVector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BVector").field("config", &self.config).field("model", &self.model).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(difference: Difference) -> BVector {
        made_up(&BVectorConfig { embedding: 3, hidden: vec![5, 4], difference, ..BVectorConfig::default() })
    }

    fn made_up(config: &BVectorConfig) -> BVector {
        let mut step = 0.0_f32;
        let mut value = || {
            step += 1.0;
            (step * 1.3).sin()
        };
        let fill = |(name, shape): (String, Vec<usize>)| {
            let values = (0..shape.iter().product()).map(|_| value()).collect();
            (name, Weight { shape, values })
        };
        let tensors = config.tensors().into_iter().map(fill).collect();
        BVector::new("made up", config, Fingerprint::new([7; 32]), tensors).unwrap()
    }

    #[test]
    fn the_order_of_two_embeddings_does_not_move_their_score() {
        let (a, b) = ([0.3, -1.0, 0.5], [1.1, 0.2, -0.7]);
        for difference in [Difference::Signed, Difference::Absolute] {
            let network = small(difference);
            let scores = network.scores(&[(&a, &b), (&b, &a)]).unwrap();
            assert_eq!(scores[0], scores[1]);
            let logits = network.logits(&[(&a, &b), (&b, &a)]).unwrap();
            assert_eq!(logits[0] == logits[1], difference == Difference::Absolute);
        }
    }

    #[test]
    fn brought_to_one_length_only_directions_count() {
        let config = BVectorConfig { embedding: 3, hidden: vec![5, 4], length: Length::RootD, ..Default::default() };
        let network = made_up(&config);
        // Lengths 3 and 7; brought to the root of 3 they are these.
        let (a, b) = ([1.0, -2.0, 2.0], [6.0, 2.0, -3.0]);
        let to = |factor: f32| move |value: f32| value * factor;
        let (third, seventh) = (3.0_f32.sqrt() / 3.0, 3.0_f32.sqrt() / 7.0);
        let by_hand = (a.map(to(third)), b.map(to(seventh)));
        let as_given = made_up(&BVectorConfig { length: Length::AsGiven, ..config });
        let expected = as_given.scores(&[(&by_hand.0, &by_hand.1)]).unwrap()[0];
        let zeros = [0.0; 3];
        // Also where squares would overflow in f32.
        let (long, short) = (a.map(to(1e30)), b.map(to(1e-3)));
        let scores = network.scores(&[(&a, &b), (&long, &short), (&zeros, &b)]).unwrap();
        for score in &scores[..2] {
            assert!((score - expected).abs() <= 1e-5 * (1.0 + expected.abs()), "{score} {expected}");
        }
        assert!((as_given.scores(&[(&a, &b)]).unwrap()[0] - expected).abs() > 0.1, "a length that counts");
        let apart = as_given.scores(&[(&zeros, &by_hand.1)]).unwrap()[0];
        assert!((scores[2] - apart).abs() <= 1e-5 * (1.0 + apart.abs()), "zeros stay zeros");
    }

    #[test]
    fn what_was_written_is_read_and_a_changed_card_refused() {
        let folder = tempfile::tempdir().unwrap();
        let network = made_up(&BVectorConfig { length: Length::RootD, ..small(Difference::Absolute).config().clone() });
        network.save(folder.path()).unwrap();
        let read = BVector::load(folder.path()).unwrap();
        assert_eq!(
            (read.config(), read.model(), read.weights()),
            (network.config(), network.model(), network.weights())
        );
        let path = folder.path().join(CARD);
        let card = fs::read_to_string(&path).unwrap();
        // Written before there was a length.
        let before = card.replacen("length = \"root-d\"\n", "", 1);
        assert_ne!(before, card);
        fs::write(&path, before).unwrap();
        assert_eq!(BVector::load(folder.path()).unwrap().config().length, Length::AsGiven);
        for (from, to) in
            [("slope = 0.3", "slope = 2.0"), ("slope", "slop"), ("format = 1", "format = 2"), ("[5, 4]", "[5, 3]")]
        {
            fs::write(&path, card.replacen(from, to, 1)).unwrap();
            assert!(BVector::load(folder.path()).is_err(), "{to}");
        }
    }

    #[test]
    fn embeddings_of_another_size_and_impossible_configs_are_refused() {
        let network = small(Difference::Signed);
        let refused = network.scores(&[(&[0.0; 3], &[0.0; 4])]);
        assert!(matches!(refused, Err(ModelError::EmbeddingSize { got: 4, need: 3 })));
        assert_eq!(network.scores(&[]).unwrap(), Vec::<f64>::new());
        let refused = |change: &dyn Fn(&mut BVectorConfig)| {
            let mut config = BVectorConfig::default();
            change(&mut config);
            assert!(matches!(config.validate(), Err(ModelError::Config { .. })), "{config:?}");
        };
        refused(&|config| config.embedding = 0);
        refused(&|config| config.embedding = usize::MAX);
        refused(&|config| config.hidden = vec![0]);
        refused(&|config| config.hidden = vec![1; 17]);
        refused(&|config| config.slope = f64::NAN);
    }
}

//! What an objective has learnt of the training's speakers, as the classifier of a model.

use std::collections::BTreeMap;

use sv_losses::{Head, Objective, ObjectiveConfig};
use sv_models::weights::Weight;
use sv_models::{Classifier, ClassifierConfig};

use crate::TrainError;

/// The classifier that `objective` trains for so many classes, if models have one of its kind.
pub(crate) fn config(objective: &ObjectiveConfig, classes: usize) -> Option<ClassifierConfig> {
    match objective {
        ObjectiveConfig::AamSoftmax(options) => Some(ClassifierConfig::Cosine { classes, scale: options.scale }),
        ObjectiveConfig::AmSoftmax(options) => Some(ClassifierConfig::Cosine { classes, scale: options.scale }),
        ObjectiveConfig::Softmax(options) => match &options.head {
            Head::Layers { sizes } if sizes.len() == 1 => {
                Some(ClassifierConfig::LogSoftmax { classes, hidden: sizes[0] })
            }
            _ => None,
        },
        _ => None,
    }
}

/// The objective's name and the classifier's of each tensor.
pub(crate) fn names(config: ClassifierConfig) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut pair = |ours: String, theirs: String| pairs.push((ours, theirs));
    match config {
        ClassifierConfig::LogSoftmax { .. } => {
            for (ours, theirs) in [("head.0.norm", "norm1"), ("head.1.norm", "norm2")] {
                for kind in ["weight", "bias", "running_mean", "running_var"] {
                    pair(format!("{ours}.{kind}"), format!("{theirs}.{kind}"));
                }
            }
            for (ours, theirs) in [("head.1", "hidden"), ("classes", "out")] {
                for kind in ["weight", "bias"] {
                    pair(format!("{ours}.{kind}"), format!("{theirs}.{kind}"));
                }
            }
        }
        _ => pair("classes.weight".into(), "weight".into()),
    }
    pairs
}

/// The tensors of the classifier of `config`, named as in a model's file, as `objective` has them now.
pub(crate) fn tensors(
    config: ClassifierConfig,
    objective: &dyn Objective,
) -> Result<BTreeMap<String, Weight>, TrainError> {
    let own: BTreeMap<String, _> = objective
        .parameters()
        .into_iter()
        .chain(objective.buffers())
        .map(|parameter| (parameter.name, parameter.var))
        .collect();
    let mut tensors = BTreeMap::new();
    for (ours, theirs) in names(config) {
        // One that is missing is reported, by its name in the model, where the model is put together.
        let Some(var) = own.get(&ours) else { continue };
        let values = var.as_tensor().flatten_all()?.to_vec1::<f32>()?;
        tensors.insert(format!("{}{theirs}", Classifier::PREFIX), Weight { shape: var.dims().to_vec(), values });
    }
    Ok(tensors)
}

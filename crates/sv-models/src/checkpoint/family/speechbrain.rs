//! SpeechBrain's directories: `hyperparams.yaml`, the network, and what else its pretrainer loads.

use std::path::Path;

use sv_audio::windows::Windows;
use sv_metrics::{Acceptance, Threshold, ThresholdOrigin};

use super::settings::{Allowed, Rule, Settings};
use super::tensors::{Theirs, size, take};
use super::{Family, Network, describe, ecapa, front_end_for, labels, needed, source_of, xvector};
use crate::checkpoint::StateDict;
use crate::checkpoint::yaml::Yaml;
use crate::classifier::ClassifierConfig;
use crate::encoders::ecapa::EcapaConfig;
use crate::encoders::xvector::XVectorConfig;
use crate::model_dir::{EMBEDDING_MEAN, LARGEST_LABELS, read_text};
use crate::weights::Weight;
use crate::{Classifier, EncoderConfig, ModelDir, ModelError};

pub(super) const YAML: &str = "hyperparams.yaml";
pub(super) const MODEL: &str = "embedding_model.ckpt";
const CLASSIFIER: &str = "classifier.ckpt";
const LABELS: &str = "label_encoder.txt";
/// What SpeechBrain renames the labels to in a folder that it saves to.
const LABELS_SAVED: &str = "label_encoder.ckpt";
const MEAN: &str = "mean_var_norm_emb.ckpt";
const SYSTEM: &str = "a SpeechBrain directory";

const ECAPA: &str = "speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN";
const ECAPA_CLASSIFIER: &str = "speechbrain.lobes.models.ECAPA_TDNN.Classifier";
const XVECTOR: &str = "speechbrain.lobes.models.Xvector.Xvector";
const XVECTOR_CLASSIFIER: &str = "speechbrain.lobes.models.Xvector.Classifier";
const FBANK: &str = "speechbrain.lobes.features.Fbank";
const NORMALISATION: &str = "speechbrain.processing.features.InputNormalization";
/// Classes whose sections say nothing that an embedding depends on.
const HARMLESS: [&str; 2] =
    ["speechbrain.dataio.encoder.CategoricalEncoder", "speechbrain.utils.parameter_transfer.Pretrainer"];

/// The score above which SpeechBrain's `verify_batch` says "same speaker", unless its caller names another.
const THRESHOLD: f64 = 0.25;
/// What its AAM-softmax multiplies cosines by while it trains; not in its files.
const SCALE: f64 = 30.0;

/// Reads a directory.
pub(super) fn load(folder: &Path) -> Result<ModelDir, ModelError> {
    let settings = Settings::read(&needed(folder, YAML, SYSTEM)?)?;
    let model = needed(folder, MODEL, SYSTEM)?;
    let state = StateDict::read(&model)?;
    let family = Family::of(&state)?;
    let section = settings.get("embedding_model");
    let (class, classifier_class) = match family {
        Family::SpeechBrainXVector => (XVECTOR, XVECTOR_CLASSIFIER),
        _ => (ECAPA, ECAPA_CLASSIFIER),
    };
    if let Some(Yaml::Class { name, .. }) = section
        && (name == ECAPA || name == XVECTOR)
        && (name != class || !matches!(family, Family::SpeechBrainEcapa | Family::SpeechBrainXVector))
    {
        return Err(ModelError::OtherArchitecture {
            file: model,
            found: family.name(),
            expected: name.clone(),
            by: YAML,
        });
    }
    let (network, preset): (Network, _) = match family {
        Family::SpeechBrainEcapa => (ecapa::speechbrain(&state)?, "speechbrain"),
        Family::SpeechBrainXVector => (xvector::speechbrain(&state)?, "speechbrain-xvector"),
        _ => {
            return Err(ModelError::OtherArchitecture {
                file: model,
                found: family.name(),
                expected: format!("{ECAPA} or {XVECTOR}"),
                by: YAML,
            });
        }
    };
    let (encoder, mut tensors) = network;
    let loads =
        |what: &str| settings.get("pretrainer").and_then(|pretrainer| pretrainer.get("loadables")?.get(what)).is_some();
    let mut files = vec![YAML, MODEL];
    let mut classifier = None;
    if loads("classifier") {
        files.push(CLASSIFIER);
        let state = StateDict::read(&needed(folder, CLASSIFIER, SYSTEM)?)?;
        let (config, its) = read_classifier(&state, &encoder)?;
        tensors.extend(its.into_iter().map(|(name, weight)| (format!("{}{name}", Classifier::PREFIX), weight)));
        classifier = Some(config);
    }
    let embedding_mean = loads("mean_var_norm_emb");
    if embedding_mean {
        files.push(MEAN);
        let mean = read_mean(&StateDict::read(&needed(folder, MEAN, SYSTEM)?)?, encoder.embedding_size())?;
        tensors.insert(EMBEDDING_MEAN.into(), mean);
    }
    check(&settings, class, classifier_class, &encoder, classifier.as_ref())?;

    let mut label_file = None;
    if classifier.is_some() && loads("label_encoder") {
        let saved = !folder.join(LABELS).exists() && folder.join(LABELS_SAVED).exists();
        let file = if saved { LABELS_SAVED } else { LABELS };
        files.push(file);
        label_file = Some(needed(folder, file, SYSTEM)?);
    }
    let front_end = front_end_for(preset, encoder.bins())?;
    let mut description = describe(encoder, front_end, Windows::Whole, source_of(folder, &files)?);
    description.classifier = classifier;
    description.embedding_mean = embedding_mean;
    let origin = ThresholdOrigin::Published { source: "SpeechBrain's default".into() };
    description.threshold = Some(Threshold::new(THRESHOLD, Acceptance::Above, origin)?);
    let model = ModelDir::new(state.file(), description, tensors)?;
    match label_file {
        None => Ok(model),
        Some(path) => {
            let labels = labels::parse(&read_text(&path, LARGEST_LABELS)?)
                .map_err(|problem| ModelError::Labels { path: path.clone(), problem })?;
            model.with_labels(&path, labels)
        }
    }
}

/// `classifier.ckpt`: rows of cosines beside an ECAPA-TDNN, two linear layers beside an x-vector network.
fn read_classifier(
    state: &StateDict,
    encoder: &EncoderConfig,
) -> Result<(ClassifierConfig, super::Tensors), ModelError> {
    let config = match encoder {
        EncoderConfig::XVector(_) => ClassifierConfig::LogSoftmax {
            classes: size(state, "out.w.weight", 2, 0)?,
            hidden: size(state, "out.w.weight", 2, 1)?,
        },
        _ => ClassifierConfig::Cosine { classes: size(state, "weight", 2, 0)?, scale: SCALE },
    };
    config.validate()?;
    let theirs = |ours: &[&str]| match *ours {
        ["norm1"] => Theirs::layer("norm.norm"),
        ["hidden"] => Theirs::layer("DNN.block_0.linear.w"),
        ["norm2"] => Theirs::layer("DNN.block_0.norm.norm"),
        _ => Theirs::layer("out.w"),
    };
    let tensors = take(state, &config.tensors(encoder.embedding_size()), theirs, |_| false)?;
    Ok((config, tensors))
}

/// `mean_var_norm_emb.ckpt`: its global mean. A deviation other than 1 would have to be divided by.
fn read_mean(state: &StateDict, size: usize) -> Result<Weight, ModelError> {
    let values = state.f32("glob_mean", &[size])?;
    if let Some(deviation) = state.get("glob_std") {
        let ones = deviation.f32()?.iter().all(|&value| value == 1.0);
        if !ones {
            return Err(ModelError::TensorValues {
                file: state.file().into(),
                tensor: "glob_std".into(),
                need: "1, as no known model divides its embeddings by a deviation",
            });
        }
    }
    Ok(Weight { shape: vec![size], values })
}

/// Compares `hyperparams.yaml` with what was read and with what is known of the family.
fn check(
    settings: &Settings,
    class: &'static str,
    classifier_class: &'static str,
    encoder: &EncoderConfig,
    classifier: Option<&ClassifierConfig>,
) -> Result<(), ModelError> {
    for (key, value) in settings.entries() {
        let Yaml::Class { name, .. } = value else { continue };
        let rules = match (key.as_str(), name.as_str()) {
            ("compute_features", FBANK) => fbank(encoder.bins()),
            ("mean_var_norm", NORMALISATION) => normalisation("sentence"),
            ("mean_var_norm_emb", NORMALISATION) => normalisation("global"),
            ("embedding_model", name) if name == class => network(encoder),
            ("classifier", name) if name == classifier_class => head(encoder, classifier),
            (_, name) if HARMLESS.contains(&name) => continue,
            _ => {
                let need = "one of the classes that a known model has there".into();
                return Err(settings.refused(key.clone(), value, need));
            }
        };
        settings.check(key, value, &rules)?;
    }
    Ok(())
}

/// `Fbank`'s arguments, with its defaults.
fn fbank(bins: usize) -> Vec<Rule> {
    use Allowed::{Flag, Null, Number};
    vec![
        ("n_mels", Allowed::size(bins)),
        ("deltas", vec![Flag(false)]),
        ("context", vec![Flag(false)]),
        ("requires_grad", vec![Flag(false)]),
        ("sample_rate", vec![Number(16_000.0)]),
        ("f_min", vec![Number(0.0)]),
        ("f_max", vec![Null, Number(8_000.0)]),
        ("n_fft", vec![Number(400.0)]),
        ("filter_shape", vec![Allowed::Text("triangular")]),
        ("param_change_factor", vec![Number(1.0)]),
        ("param_rand_factor", vec![Number(0.0)]),
        ("left_frames", vec![Allowed::Anything]),
        ("right_frames", vec![Allowed::Anything]),
        ("win_length", vec![Number(25.0)]),
        ("hop_length", vec![Number(10.0)]),
    ]
}

/// `InputNormalization`'s arguments that known models have.
fn normalisation(kind: &'static str) -> Vec<Rule> {
    vec![
        ("norm_type", vec![Allowed::Text(kind)]),
        ("mean_norm", vec![Allowed::Flag(true)]),
        ("std_norm", vec![Allowed::Flag(false)]),
    ]
}

fn network(encoder: &EncoderConfig) -> Vec<Rule> {
    match encoder {
        EncoderConfig::Ecapa(config) => ecapa_rules(config),
        EncoderConfig::XVector(config) => xvector_rules(config),
        _ => Vec::new(),
    }
}

fn ecapa_rules(config: &EcapaConfig) -> Vec<Rule> {
    use Allowed::{Flag, Number, Numbers};
    // SpeechBrain's lists have the aggregation as their last layer.
    let and = |list: &[usize], last: usize| vec![Numbers(list.iter().copied().chain([last]).collect())];
    let layers = config.kernels.len();
    vec![
        ("input_size", Allowed::size(config.bins)),
        ("channels", and(&vec![config.channels; layers], config.mfa)),
        ("kernel_sizes", and(&config.kernels, 1)),
        ("dilations", and(&config.dilations, 1)),
        ("attention_channels", Allowed::size(config.attention)),
        ("lin_neurons", Allowed::size(config.size)),
        ("res2net_scale", Allowed::size(config.scale)),
        ("se_channels", Allowed::size(config.squeeze)),
        ("global_context", vec![Flag(true)]),
        ("groups", and(&vec![1; layers], 1)),
        ("dropout", vec![Number(0.0)]),
        ("activation", vec![Allowed::Class("torch.nn.ReLU")]),
        ("device", vec![Allowed::Anything]),
    ]
}

fn xvector_rules(config: &XVectorConfig) -> Vec<Rule> {
    vec![
        ("in_channels", Allowed::size(config.bins)),
        ("activation", vec![Allowed::Class("torch.nn.LeakyReLU")]),
        ("tdnn_blocks", Allowed::size(config.channels.len())),
        ("tdnn_channels", vec![Allowed::Numbers(config.channels.clone())]),
        ("tdnn_kernel_sizes", vec![Allowed::Numbers(config.kernels.clone())]),
        ("tdnn_dilations", vec![Allowed::Numbers(config.dilations.clone())]),
        ("lin_neurons", Allowed::size(config.size)),
        ("device", vec![Allowed::Anything]),
    ]
}

fn head(encoder: &EncoderConfig, classifier: Option<&ClassifierConfig>) -> Vec<Rule> {
    // Where its weights are not loaded, it has no part in anything.
    let sizes = |size: fn(&ClassifierConfig) -> usize| {
        classifier.map_or_else(|| vec![Allowed::Anything], |config| Allowed::size(size(config)))
    };
    let hidden = |config: &ClassifierConfig| match *config {
        ClassifierConfig::LogSoftmax { hidden, .. } => hidden,
        // SpeechBrain's default width of blocks that no known ECAPA-TDNN has.
        ClassifierConfig::Cosine { .. } => 192,
    };
    let blocks = if matches!(encoder, EncoderConfig::XVector(_)) { 1 } else { 0 };
    vec![
        ("input_size", Allowed::size(encoder.embedding_size())),
        ("input_shape", vec![Allowed::Anything]),
        ("activation", vec![Allowed::Class("torch.nn.LeakyReLU")]),
        ("lin_blocks", Allowed::size(blocks)),
        ("lin_neurons", sizes(hidden)),
        ("out_neurons", sizes(ClassifierConfig::classes)),
        ("device", vec![Allowed::Anything]),
    ]
}

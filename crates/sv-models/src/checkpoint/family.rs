//! Which system a foreign checkpoint belongs to, and its tensors under our names.
//!
//! Sizes are read off the tensors; what is not in them (front end, windows) comes from the system's own definition.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sv_audio::frontend::FrontEnd;
use sv_audio::windows::Windows;
use sv_kernels::lstm::{LayerSizes, LayerWeights};

use super::StateDict;
use crate::encoders::lstm::{Head, LstmConfig, Normalization};
use crate::model_dir::{Description, Source, sha256_of};
use crate::weights::Weight;
use crate::{EncoderConfig, ModelDir, ModelError};

/// Systems whose checkpoints are recognised but whose networks are not built yet: a tensor that only they have.
const NOT_BUILT: [(&str, &str); 7] = [
    ("blocks.0.conv.conv.weight", "ECAPA-TDNN (SpeechBrain)"),
    ("blocks.0.conv.weight", "x-vector (SpeechBrain)"),
    ("seg_1.weight", "ResNet (WeSpeaker)"),
    ("layer2.se_res2block.0.conv.weight", "ECAPA-TDNN (WeSpeaker)"),
    ("speaker_encoder.conv1.weight", "ECAPA-TDNN (TaoRuijie)"),
    ("xvector.tdnn.linear.weight", "CAM++ (WeSpeaker)"),
    ("resnet.conv1.weight", "ResNet (pyannote)"),
];

/// Files that mark a directory of another system.
const DIRECTORIES: [(&str, &str); 2] =
    [("hyperparams.yaml", "a SpeechBrain directory"), ("avg_model.pt", "a WeSpeaker directory")];

const TENSORFLOW_CELL: &str = "lstm/rnn/multi_rnn_cell/cell_";

/// Reads a checkpoint of another system and converts it in memory.
pub(crate) fn load(path: &Path) -> Result<ModelDir, ModelError> {
    let state = StateDict::read(path)?;
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    convert(&state, Source { name, revision: None, sha256: Some(sha256_of(path)?), files: BTreeMap::new() })
}

/// Converts a state dict of a known system.
///
/// # Errors
/// [`ModelError::NotBuilt`] for a system that is recognised but not built yet, [`ModelError::UnknownArchitecture`] for any
/// other; a tensor that is missing or of another shape is named.
pub fn convert(state: &StateDict, source: Source) -> Result<ModelDir, ModelError> {
    if state.contains("lstm.weight_ih_l0") {
        return resemblyzer(state, source);
    }
    if state.names().any(|name| name.starts_with(TENSORFLOW_CELL)) {
        return tensorflow_ge2e(state, source);
    }
    if let Some((_, architecture)) = NOT_BUILT.iter().find(|(tensor, _)| state.contains(tensor)) {
        return Err(ModelError::NotBuilt { origin: state.file().into(), architecture });
    }
    let names = state.names().take(3).map(str::to_owned).collect();
    Err(ModelError::UnknownArchitecture { file: state.file().into(), names })
}

/// Says what a directory without `model.toml` is.
pub(crate) fn refuse_directory(path: &Path) -> ModelError {
    match DIRECTORIES.iter().find(|(file, _)| path.join(file).exists()) {
        Some((_, architecture)) => ModelError::NotBuilt { origin: path.display().to_string(), architecture },
        None => ModelError::NotAModelDirectory { path: PathBuf::from(path) },
    }
}

/// Resemblyzer's (and its training code's) `model_state`: PyTorch's LSTM, then a linear layer. The scalars of its loss,
/// `similarity_weight` and `similarity_bias`, are no part of the encoder.
fn resemblyzer(state: &StateDict, source: Source) -> Result<ModelDir, ModelError> {
    let (gates, bins) = rows_and_columns(state, "lstm.weight_ih_l0")?;
    let (size, _) = rows_and_columns(state, "linear.weight")?;
    let layers = (0..).take_while(|layer| state.contains(&format!("lstm.weight_ih_l{layer}"))).count();
    let config = LstmConfig {
        bins,
        layers,
        hidden: gates / 4,
        projection: None,
        head: Head::LinearRelu { size },
        normalization: Normalization::L2 { epsilon: 0.0 },
    };
    config.validate()?;
    let hidden = config.hidden;
    let mut tensors = BTreeMap::new();
    for layer in 0..layers {
        let input = if layer == 0 { bins } else { hidden };
        let f32 = |kind: &str, shape: &[usize]| state.f32(&format!("lstm.{kind}_l{layer}"), shape);
        let weights = LayerWeights::from_torch(
            LayerSizes { input, hidden, projection: None },
            f32("weight_ih", &[4 * hidden, input])?,
            f32("weight_hh", &[4 * hidden, hidden])?,
            &f32("bias_ih", &[4 * hidden])?,
            &f32("bias_hh", &[4 * hidden])?,
            None,
        )?;
        insert_layer(&mut tensors, layer, &weights);
    }
    insert(&mut tensors, "head.weight", &[size, hidden], state.f32("linear.weight", &[size, hidden])?);
    insert(&mut tensors, "head.bias", &[size], state.f32("linear.bias", &[size])?);
    let description = describe(EncoderConfig::Lstm(config), FrontEnd::resemblyzer(), Windows::resemblyzer(), source);
    ModelDir::new(state.file(), description, tensors)
}

/// The TensorFlow code's variables: per cell a kernel (inputs + state, 4H) with columns i, j, f, o, a bias, and a
/// projection (H, S) without bias. `w`, `b` and `global_step` are its loss's.
fn tensorflow_ge2e(state: &StateDict, source: Source) -> Result<ModelDir, ModelError> {
    let cell = |layer: usize, variable: &str| format!("{TENSORFLOW_CELL}{layer}/lstm_cell/{variable}");
    let layers = (0..).take_while(|&layer| state.contains(&cell(layer, "kernel"))).count();
    let (rows, gates) = rows_and_columns(state, &cell(0, "kernel"))?;
    let (hidden, projection) = rows_and_columns(state, &cell(0, "projection/kernel"))?;
    let config = LstmConfig {
        bins: rows.saturating_sub(projection),
        layers,
        hidden: gates / 4,
        projection: Some(projection),
        ..LstmConfig::ge2e_tf()
    };
    config.validate()?;
    let mut tensors = BTreeMap::new();
    for layer in 0..layers {
        let input = if layer == 0 { config.bins } else { projection };
        let weights = LayerWeights::from_tensorflow(
            LayerSizes { input, hidden, projection: Some(projection) },
            &state.f32(&cell(layer, "kernel"), &[input + projection, 4 * hidden])?,
            &state.f32(&cell(layer, "bias"), &[4 * hidden])?,
            Some(&state.f32(&cell(layer, "projection/kernel"), &[hidden, projection])?),
        )?;
        insert_layer(&mut tensors, layer, &weights);
    }
    let windows = Windows::Fixed { frames: 160, hop: 80 };
    let description = describe(EncoderConfig::Lstm(config), FrontEnd::ge2e_tf(), windows, source);
    ModelDir::new(state.file(), description, tensors)
}

/// The shape of a matrix whose sizes are to be read off.
fn rows_and_columns(state: &StateDict, name: &str) -> Result<(usize, usize), ModelError> {
    match state.get(name).map(|tensor| tensor.shape.as_slice()) {
        Some(&[rows, columns]) => Ok((rows, columns)),
        // Missing, or no matrix: said as for any other tensor.
        _ => Err(state
            .f32(name, &[0, 0])
            .err()
            .unwrap_or_else(|| ModelError::UnexpectedTensor { file: state.file().into(), tensor: name.into() })),
    }
}

fn describe(encoder: EncoderConfig, front_end: FrontEnd, windows: Windows, source: Source) -> Description {
    let embedding_size = encoder.embedding_size();
    // Neither system publishes a threshold.
    Description { embedding_size, labels: None, encoder, front_end, windows, threshold: None, source }
}

fn insert_layer(tensors: &mut BTreeMap<String, Weight>, layer: usize, weights: &LayerWeights) {
    let sizes = weights.sizes();
    let (input, hidden, state, gates) = (sizes.input, sizes.hidden, sizes.output(), 4 * sizes.hidden);
    let name = |kind: &str| format!("lstm.{layer}.{kind}");
    insert(tensors, &name("weight_ih"), &[gates, input], weights.w_ih().to_vec());
    insert(tensors, &name("weight_hh"), &[gates, state], weights.w_hh().to_vec());
    insert(tensors, &name("bias"), &[gates], weights.bias().to_vec());
    if let Some(projection) = weights.w_hr() {
        insert(tensors, &name("weight_hr"), &[state, hidden], projection.to_vec());
    }
}

fn insert(tensors: &mut BTreeMap<String, Weight>, name: &str, shape: &[usize], values: Vec<f32>) {
    tensors.insert(name.to_owned(), Weight { shape: shape.to_vec(), values });
}

//! LSTM d-vectors: Resemblyzer's checkpoint and the TensorFlow GE2E code's variables.

use std::collections::BTreeMap;

use sv_audio::frontend::FrontEnd;
use sv_audio::windows::Windows;
use sv_kernels::lstm::{LayerSizes, LayerWeights};

use super::describe;
use super::tensors::rows_and_columns;
use crate::checkpoint::StateDict;
use crate::encoders::lstm::{Head, LstmConfig, Normalization};
use crate::model_dir::Source;
use crate::weights::Weight;
use crate::{EncoderConfig, ModelDir, ModelError};

pub(super) const TENSORFLOW_CELL: &str = "lstm/rnn/multi_rnn_cell/cell_";

/// Resemblyzer's (and its training code's) `model_state`: PyTorch's LSTM, then a linear layer. The scalars of its loss,
/// `similarity_weight` and `similarity_bias`, are no part of the encoder.
pub(super) fn resemblyzer(state: &StateDict, source: Source) -> Result<ModelDir, ModelError> {
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
pub(super) fn tensorflow_ge2e(state: &StateDict, source: Source) -> Result<ModelDir, ModelError> {
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

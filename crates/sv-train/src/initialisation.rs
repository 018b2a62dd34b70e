//! Weights at the start, each tensor from a stream of its own: the same seed gives the same weights whatever else is drawn.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sv_models::EncoderConfig;
use sv_models::weights::Weight;

use crate::{Purpose, Stream};

/// How weights are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Initialisation {
    /// Uniform within `sqrt(6 / (inputs + outputs))`, biases 0 (Glorot and Bengio 2010). Input and recurrent weights of an
    /// LSTM layer are one matrix here, as TensorFlow keeps them: `inputs` are both, `outputs` the four gates.
    Glorot {
        /// Bias of the LSTM's forget gates. TensorFlow's cell adds 1 when it runs, which is the same.
        forget_bias: f64,
    },
    /// Uniform within `1 / sqrt(cells)`, biases too, as `torch.nn.LSTM` does, or `1 / sqrt(inputs)`, as `torch.nn.Linear` and
    /// `torch.nn.Conv1d` do; an output of a convolution has kernel times channels of them. An LSTM's bias is the sum of
    /// PyTorch's two and is drawn so.
    Torch {
        /// Added to the bias of the LSTM's forget gates.
        forget_bias: f64,
    },
    /// Nothing is drawn: the weights are those of a model that is named when the training begins ([`crate::Start`]).
    Model {},
}

impl Initialisation {
    /// Draws every tensor of a network of `config`; none of [`Self::Model`].
    #[must_use]
    pub fn draw(self, config: &EncoderConfig, seed: u64) -> BTreeMap<String, Weight> {
        let mut tensors = BTreeMap::new();
        let (Self::Glorot { forget_bias } | Self::Torch { forget_bias }) = self else { return tensors };
        let shapes = config.tensors();
        for (index, (name, shape)) in shapes.iter().enumerate() {
            let mut stream = Stream::new(seed, Purpose::Initialisation, 0, index as u64);
            let count: usize = shape.iter().product();
            if let Some(value) = of_batch_norm(name, &shapes) {
                tensors.insert(name.clone(), Weight { shape: shape.clone(), values: vec![value; count] });
                continue;
            }
            let bound = self.bound(name, shape, &shapes);
            let is_lstm_bias = name.starts_with("lstm.") && name.ends_with(".bias");
            let mut draw = || {
                let once = stream.uniform(-bound, bound);
                // PyTorch's two biases, of which we keep the sum.
                if is_lstm_bias { once + stream.uniform(-bound, bound) } else { once }
            };
            let mut values: Vec<f32> = (0..count).map(|_| draw() as f32).collect();
            if is_lstm_bias {
                // Gates in the order i, f, g, o.
                let gate = count / 4;
                values[gate..2 * gate].iter_mut().for_each(|value| *value += forget_bias as f32);
            }
            tensors.insert(name.clone(), Weight { shape: shape.clone(), values });
        }
        tensors
    }

    fn bound(self, name: &str, shape: &[usize], shapes: &BTreeMap<String, Vec<usize>>) -> f64 {
        let taps = shape.iter().skip(2).product::<usize>() as f64;
        let outputs = shape[0] as f64 * taps;
        let inputs = shape.get(1).map_or(0.0, |&size| size as f64) * taps;
        let sibling = |kind: &str| {
            let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
            shapes.get(&format!("{stem}.{kind}"))
        };
        match self {
            Self::Glorot { .. } => match shape.len() {
                1 => 0.0,
                _ => {
                    let both = match (sibling("weight_ih"), sibling("weight_hh")) {
                        (Some(ih), Some(hh)) if !name.ends_with("weight_hr") => (ih[1] + hh[1]) as f64,
                        _ => inputs,
                    };
                    (6.0 / (both + outputs)).sqrt()
                }
            },
            Self::Torch { .. } | Self::Model {} => {
                let cells = match (sibling("weight_ih"), sibling("weight")) {
                    (Some(gates), _) => gates[0] as f64 / 4.0,
                    (None, Some(weight)) => weight[1..].iter().product::<usize>() as f64,
                    (None, None) => inputs,
                };
                1.0 / cells.sqrt()
            }
        }
    }
}

/// What a tensor of a batch normalisation starts at; none for those of others.
fn of_batch_norm(name: &str, shapes: &BTreeMap<String, Vec<usize>>) -> Option<f32> {
    let (stem, kind) = name.rsplit_once('.')?;
    shapes.contains_key(&format!("{stem}.running_mean")).then_some(match kind {
        "weight" | "running_var" => 1.0,
        _ => 0.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sv_models::encoders::ecapa::EcapaConfig;
    use sv_models::encoders::lstm::{Head, LstmConfig};

    fn extremes(values: &[f32]) -> (f32, f32) {
        values.iter().fold((f32::MAX, f32::MIN), |(low, high), &v| (low.min(v), high.max(v)))
    }

    #[test]
    fn glorot_bounds_are_those_of_tensorflows_kernels() {
        let config = EncoderConfig::Lstm(LstmConfig::ge2e_tf());
        let tensors = Initialisation::Glorot { forget_bias: 1.0 }.draw(&config, 1);
        // Layer 0: kernel (40 + 64) x 512, so sqrt(6 / 616) = 0.098693; projection 128 x 64: sqrt(6 / 192) = 0.17678.
        for (name, bound) in
            [("lstm.0.weight_ih", 0.098_693), ("lstm.0.weight_hh", 0.098_693), ("lstm.0.weight_hr", 0.176_78)]
        {
            let (low, high) = extremes(&tensors[name].values);
            assert!(
                -bound <= low && low < -0.95 * bound && 0.95 * bound < high && high <= bound,
                "{name} {low} {high}"
            );
        }
        let bias = &tensors["lstm.0.bias"].values;
        assert!(bias[..128].iter().chain(&bias[256..]).all(|&b| b == 0.0) && bias[128..256].iter().all(|&b| b == 1.0));
    }

    #[test]
    fn torchs_bound_follows_from_the_cells() {
        let config = LstmConfig { head: Head::Linear { size: 32 }, ..LstmConfig::ge2e_tf() };
        let tensors = Initialisation::Torch { forget_bias: 3.0 }.draw(&EncoderConfig::Lstm(config), 1);
        let (low, high) = extremes(&tensors["lstm.1.weight_hh"].values);
        let bound = 1.0 / 128.0_f32.sqrt();
        assert!(low >= -bound && high <= bound && high > 0.95 * bound);
        let (low, high) = extremes(&tensors["head.weight"].values);
        assert!(low >= -0.125 && high <= 0.125 && high > 0.115, "1 / sqrt(64)");
        let bias = &tensors["lstm.1.bias"].values;
        assert!(bias[128..256].iter().all(|&b| (b - 3.0).abs() <= 2.0 * bound));
    }

    #[test]
    fn a_convolution_has_kernel_times_channels_inputs_and_batch_norm_starts_as_none() {
        let config =
            EncoderConfig::Ecapa(EcapaConfig { channels: 64, mfa: 48, size: 16, ..EcapaConfig::speechbrain() });
        let tensors = Initialisation::Torch { forget_bias: 0.0 }.draw(&config, 1);
        // 80 bands, 5 taps: 1 / 20.
        for name in ["stem.conv.weight", "stem.conv.bias"] {
            let (low, high) = extremes(&tensors[name].values);
            assert!(low >= -0.05 && high <= 0.05 && high > 0.045, "{name} {low} {high}");
        }
        let (_, high) = extremes(&tensors["embedding.weight"].values);
        assert!(high <= 1.0 / 96.0_f32.sqrt() && high > 0.1, "{high}");
        for (kind, value) in [("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)] {
            assert!(tensors[&format!("blocks.1.res2.2.norm.{kind}")].values.iter().all(|&v| v == value), "{kind}");
        }
        let glorot = Initialisation::Glorot { forget_bias: 0.0 }.draw(&config, 1);
        // 80 x 5 and 64 x 5: sqrt(6 / 720).
        let (low, high) = extremes(&glorot["stem.conv.weight"].values);
        assert!(low >= -0.091_29 && high <= 0.091_29 && high > 0.085, "{low} {high}");
        assert!(glorot["stem.conv.bias"].values.iter().all(|&v| v == 0.0));
        assert!(glorot["stem.norm.weight"].values.iter().all(|&v| v == 1.0));
    }

    #[test]
    fn a_seed_gives_the_same_weights_and_another_seed_others() {
        let config = EncoderConfig::Lstm(LstmConfig::ge2e_tf());
        let draw = |seed| Initialisation::Glorot { forget_bias: 1.0 }.draw(&config, seed);
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1)["lstm.0.weight_ih"], draw(2)["lstm.0.weight_ih"]);
    }
}

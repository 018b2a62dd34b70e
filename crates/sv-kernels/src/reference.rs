//! The plain definition of each kernel, on f32 or f64: what the fast ones are tested against, and the path for numbers
//! they do not take. Slow and short on purpose.

mod backward;
mod conv;
mod norm;

use crate::error::{KernelError, expect_shape};
use crate::lstm::{LayerWeights, check_chain};
pub use backward::lstm_backward;
pub use conv::{conv1d, conv2d};
pub use norm::{NormAdded, batch_norm_add_leaky_relu};

/// A floating-point number that the definitions run on: f32 or f64.
pub trait Real:
    Copy
    + std::fmt::Debug
    + PartialEq
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
{
    /// 0
    const ZERO: Self;
    /// 1
    const ONE: Self;
    /// Exponential.
    #[must_use]
    fn exp(self) -> Self;
    /// Hyperbolic tangent.
    #[must_use]
    fn tanh(self) -> Self;
}

macro_rules! real {
    ($t:ty) => {
        impl Real for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            fn exp(self) -> Self {
                <$t>::exp(self)
            }
            fn tanh(self) -> Self {
                <$t>::tanh(self)
            }
        }
    };
}
real!(f32);
real!(f64);

/// `1 / (1 + e^-x)`.
#[must_use]
pub fn sigmoid<T: Real>(x: T) -> T {
    T::ONE / (T::ONE + (T::ZERO - x).exp())
}

/// `y = x W^T + b`: `x` (rows, inputs), `weight` (outputs, inputs), `bias` (outputs); returns (rows, outputs).
///
/// # Panics
/// If a slice is shorter than its shape.
#[must_use]
pub fn linear<T: Real>(rows: usize, inputs: usize, outputs: usize, x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
    let mut out = Vec::with_capacity(rows * outputs);
    for row in 0..rows {
        for output in 0..outputs {
            let terms = x[row * inputs..][..inputs].iter().zip(&weight[output * inputs..][..inputs]);
            out.push(terms.fold(bias[output], |sum, (&a, &b)| sum + a * b));
        }
    }
    out
}

/// What an LSTM gives.
#[derive(Debug, Clone, PartialEq)]
pub struct LstmOutputs<T> {
    /// Output of the last layer at each frame (B, T, S).
    pub sequence: Vec<T>,
    /// Output of each layer at the last frame (layers, B, S), layers of other sizes one after the other.
    pub h_n: Vec<T>,
    /// Cell state of each layer after the last frame (layers, B, H).
    pub c_n: Vec<T>,
}

/// The LSTM by its definition: `input` (B, T, I) row-major; `start` the states (h0, c0) in the layout of `h_n` and `c_n`,
/// zeros if `None`.
///
/// # Errors
/// [`KernelError::Chain`] or [`KernelError::Zero`] for layers that do not fit, [`KernelError::Length`] for slices that do not.
///
/// # Source
/// Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000, projection after Sak et al. 2014; without
/// peepholes, as in `torch.nn.LSTM`.
pub fn lstm<T: Real>(
    layers: &[LayerWeights<T>],
    sequences: usize,
    frames: usize,
    input: &[T],
    start: Option<(&[T], &[T])>,
) -> Result<LstmOutputs<T>, KernelError> {
    check_chain(layers)?;
    expect_shape("input of an LSTM", input.len(), &[sequences, frames, layers[0].sizes().input])?;
    let outputs: usize = layers.iter().map(|layer| layer.sizes().output()).sum();
    let units: usize = layers.iter().map(|layer| layer.sizes().hidden).sum();
    if let Some((h0, c0)) = start {
        expect_shape("h0 of an LSTM", h0.len(), &[outputs, sequences])?;
        expect_shape("c0 of an LSTM", c0.len(), &[units, sequences])?;
    }
    let (mut h_n, mut c_n) = match start {
        Some((h0, c0)) => (h0.to_vec(), c0.to_vec()),
        None => (vec![T::ZERO; outputs * sequences], vec![T::ZERO; units * sequences]),
    };
    let mut x = input.to_vec();
    let (mut h_first, mut c_first) = (0, 0);
    for layer in layers {
        let (s, h) = (layer.sizes().output(), layer.sizes().hidden);
        let mut y = Vec::with_capacity(sequences * frames * s);
        for sequence in 0..sequences {
            let state = &mut h_n[h_first + sequence * s..][..s];
            let cell = &mut c_n[c_first + sequence * h..][..h];
            for frame in 0..frames {
                let i = layer.sizes().input;
                step(layer, &x[(sequence * frames + frame) * i..][..i], state, cell);
                y.extend_from_slice(state);
            }
        }
        h_first += s * sequences;
        c_first += h * sequences;
        x = y;
    }
    Ok(LstmOutputs { sequence: x, h_n, c_n })
}

/// One layer, one sequence, one frame: moves `state` (S) and `cell` (H) on by the frame `x` (I).
fn step<T: Real>(layer: &LayerWeights<T>, x: &[T], state: &mut [T], cell: &mut [T]) {
    let (h, s) = (cell.len(), state.len());
    let from_input = linear(1, x.len(), 4 * h, x, layer.w_ih(), layer.bias());
    let z = linear(1, s, 4 * h, state, layer.w_hh(), &from_input);
    let mut output = Vec::with_capacity(h);
    for unit in 0..h {
        let [i, f, g, o] = [0, 1, 2, 3].map(|gate| z[gate * h + unit]);
        cell[unit] = sigmoid(f) * cell[unit] + sigmoid(i) * g.tanh();
        output.push(sigmoid(o) * cell[unit].tanh());
    }
    match layer.w_hr() {
        Some(w_hr) => state.copy_from_slice(&linear(1, h, s, &output, w_hr, &vec![T::ZERO; s])),
        None => state.copy_from_slice(&output),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lstm::LayerSizes;

    #[test]
    fn one_unit_by_hand() {
        // All weights 0, bias 0 but g = 1: s(0) = 0.5, c = 0.5 tanh 1, h = 0.5 tanh c.
        let sizes = LayerSizes { input: 1, hidden: 1, projection: None };
        let layer = LayerWeights::new(sizes, vec![0.0; 4], vec![0.0; 4], vec![0.0, 0.0, 1.0, 0.0], None).unwrap();
        let out = lstm(&[layer], 1, 1, &[7.0], None).unwrap();
        let c = 0.5 * 1.0_f64.tanh();
        assert_eq!(out.c_n, [c]);
        assert_eq!(out.sequence, [0.5 * c.tanh()]);
        assert_eq!(out.h_n, out.sequence);
    }

    #[test]
    fn sigmoid_is_one_half_at_zero_and_saturates() {
        assert_eq!(sigmoid(0.0_f64), 0.5);
        assert_eq!(sigmoid(-1000.0_f64), 0.0);
        assert_eq!(sigmoid(1000.0_f64), 1.0);
    }
}

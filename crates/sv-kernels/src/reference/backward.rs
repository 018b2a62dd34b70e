//! The plain LSTM backward: each gradient by the chain rule, one sequence and one frame at a time.

use super::{Real, linear, sigmoid};
use crate::error::{Given, KernelError, expect_shape};
use crate::lstm::{Gradients, LayerGradients, LayerWeights, LstmSlopes, check_chain};

/// The gradients of a loss whose gradient with regard to what [`super::lstm`] gives is `slopes`; the other arguments are
/// those of [`super::lstm`]. The gradient of the input is always computed.
///
/// # Errors
/// As [`super::lstm`]; [`KernelError::Length`] also for `slopes` that do not fit.
///
/// # Source
/// The chain rule through the equations at [`LayerWeights`], frame by frame from the last (Werbos 1990).
pub fn lstm_backward<T: Real>(
    layers: &[LayerWeights<T>],
    sequences: usize,
    frames: usize,
    input: &[T],
    start: Option<(&[T], &[T])>,
    slopes: &LstmSlopes<'_, T>,
) -> Result<Gradients<T>, KernelError> {
    check_chain(layers)?;
    expect_shape("input of an LSTM", input.len(), &[sequences, frames, layers[0].sizes().input])?;
    let outputs: usize = layers.iter().map(|layer| layer.sizes().output()).sum();
    let units: usize = layers.iter().map(|layer| layer.sizes().hidden).sum();
    let output = layers[layers.len() - 1].sizes().output();
    let (h_shape, c_shape) = ([outputs, sequences], [units, sequences]);
    let given: [Given<'_, T>; 6] = [
        ("h0 of an LSTM", start.map(|(h0, _)| h0), &h_shape),
        ("c0 of an LSTM", start.map(|(_, c0)| c0), &c_shape),
        ("gradient of an LSTM's outputs", slopes.sequence, &[sequences, frames, output]),
        ("gradient of an LSTM's last outputs", slopes.last, &[sequences, output]),
        ("gradient of an LSTM's h_n", slopes.h_n, &h_shape),
        ("gradient of an LSTM's c_n", slopes.c_n, &c_shape),
    ];
    for (what, values, shape) in given {
        if let Some(values) = values {
            expect_shape(what, values.len(), shape)?;
        }
    }
    let (h_values, c_values) = (outputs * sequences, units * sequences);
    let or_zeros = |values: Option<&[T]>, count| values.map_or_else(|| vec![T::ZERO; count], <[T]>::to_vec);
    let (h_start, c_start) = (or_zeros(start.map(|s| s.0), h_values), or_zeros(start.map(|s| s.1), c_values));
    // Gradients of the states after the last frame; moved back in place, they end as those of the states before the first.
    let (mut h0, mut c0) = (or_zeros(slopes.h_n, h_values), or_zeros(slopes.c_n, c_values));
    if let Some(last) = slopes.last {
        for (to, &from) in h0[h_values - output * sequences..].iter_mut().zip(last) {
            *to = *to + from;
        }
    }

    // Forward, keeping every frame of every layer and sequence.
    let mut x = input.to_vec();
    let (mut inputs, mut kept) = (Vec::new(), Vec::new());
    let (mut h_first, mut c_first) = (0, 0);
    for layer in layers {
        let (i, s, h) = (layer.sizes().input, layer.sizes().output(), layer.sizes().hidden);
        let (mut y, mut steps) = (Vec::new(), Vec::new());
        for sequence in 0..sequences {
            let mut state = h_start[h_first + sequence * s..][..s].to_vec();
            let mut cell = c_start[c_first + sequence * h..][..h].to_vec();
            for frame in 0..frames {
                let step = Step::forward(layer, &x[(sequence * frames + frame) * i..][..i], state, cell);
                (state, cell) = (step.output.clone(), step.cell.clone());
                y.extend_from_slice(&state);
                steps.push(step);
            }
        }
        h_first += s * sequences;
        c_first += h * sequences;
        inputs.push(std::mem::replace(&mut x, y));
        kept.push(steps);
    }

    // Backward: `above` is the gradient of a layer's outputs at each frame, then of its inputs.
    let mut above = or_zeros(slopes.sequence, sequences * frames * output);
    let mut gradients = Vec::new();
    for (index, layer) in layers.iter().enumerate().rev() {
        let (i, s, h) = (layer.sizes().input, layer.sizes().output(), layer.sizes().hidden);
        h_first -= s * sequences;
        c_first -= h * sequences;
        let mut sums = LayerGradients {
            w_ih: vec![T::ZERO; layer.w_ih().len()],
            w_hh: vec![T::ZERO; layer.w_hh().len()],
            bias: vec![T::ZERO; layer.bias().len()],
            w_hr: vec![T::ZERO; layer.w_hr().map_or(0, <[T]>::len)],
        };
        let mut below = vec![T::ZERO; sequences * frames * i];
        for sequence in 0..sequences {
            let state = &mut h0[h_first + sequence * s..][..s];
            let cell = &mut c0[c_first + sequence * h..][..h];
            for frame in (0..frames).rev() {
                let row = sequence * frames + frame;
                for (to, &from) in state.iter_mut().zip(&above[row * s..]) {
                    *to = *to + from;
                }
                let x = &inputs[index][row * i..][..i];
                kept[index][row].backward(layer, x, state, cell, &mut below[row * i..][..i], &mut sums);
            }
        }
        gradients.push(sums);
        above = below;
    }
    gradients.reverse();
    Ok(Gradients { layers: gradients, h0, c0, input: above })
}

/// What one frame of one sequence leaves behind in a layer.
struct Step<T> {
    /// i, f, g, o after their functions (4H).
    gates: Vec<T>,
    state_before: Vec<T>,
    cell_before: Vec<T>,
    cell: Vec<T>,
    unprojected: Vec<T>,
    output: Vec<T>,
}

impl<T: Real> Step<T> {
    fn forward(layer: &LayerWeights<T>, x: &[T], state: Vec<T>, cell_before: Vec<T>) -> Self {
        let (h, s) = (cell_before.len(), state.len());
        let from_input = linear(1, x.len(), 4 * h, x, layer.w_ih(), layer.bias());
        let z = linear(1, s, 4 * h, &state, layer.w_hh(), &from_input);
        let gates: Vec<T> =
            z.iter().enumerate().map(|(n, &z)| if n / h == 2 { z.tanh() } else { sigmoid(z) }).collect();
        let cell: Vec<T> =
            (0..h).map(|unit| gates[h + unit] * cell_before[unit] + gates[unit] * gates[2 * h + unit]).collect();
        let unprojected: Vec<T> = (0..h).map(|unit| gates[3 * h + unit] * cell[unit].tanh()).collect();
        let output = match layer.w_hr() {
            Some(w_hr) => linear(1, h, s, &unprojected, w_hr, &vec![T::ZERO; s]),
            None => unprojected.clone(),
        };
        Self { gates, state_before: state, cell_before, cell, unprojected, output }
    }

    /// `state` and `cell` are the gradients of the states after this frame and become those of the states before it.
    fn backward(
        &self,
        layer: &LayerWeights<T>,
        x: &[T],
        state: &mut [T],
        cell: &mut [T],
        below: &mut [T],
        sums: &mut LayerGradients<T>,
    ) {
        let h = cell.len();
        let unprojected = match layer.w_hr() {
            Some(w_hr) => {
                add_outer(&mut sums.w_hr, state, &self.unprojected);
                let mut slopes = vec![T::ZERO; h];
                add_transposed(&mut slopes, w_hr, state);
                slopes
            }
            None => state.to_vec(),
        };
        let mut z = vec![T::ZERO; 4 * h];
        for unit in 0..h {
            let [i, f, g, o] = [0, 1, 2, 3].map(|gate| self.gates[gate * h + unit]);
            let squashed = self.cell[unit].tanh();
            let slope = cell[unit] + unprojected[unit] * o * (T::ONE - squashed * squashed);
            z[unit] = slope * g * i * (T::ONE - i);
            z[h + unit] = slope * self.cell_before[unit] * f * (T::ONE - f);
            z[2 * h + unit] = slope * i * (T::ONE - g * g);
            z[3 * h + unit] = unprojected[unit] * squashed * o * (T::ONE - o);
            cell[unit] = slope * f;
        }
        add_outer(&mut sums.w_ih, &z, x);
        add_outer(&mut sums.w_hh, &z, &self.state_before);
        for (sum, &z) in sums.bias.iter_mut().zip(&z) {
            *sum = *sum + z;
        }
        add_transposed(below, layer.w_ih(), &z);
        state.fill(T::ZERO);
        add_transposed(state, layer.w_hh(), &z);
    }
}

/// `sums += a b^T`, (a, b) row-major.
fn add_outer<T: Real>(sums: &mut [T], a: &[T], b: &[T]) {
    for (row, &a) in sums.chunks_exact_mut(b.len()).zip(a) {
        for (sum, &b) in row.iter_mut().zip(b) {
            *sum = *sum + a * b;
        }
    }
}

/// `sums += W^T a`, `weight` (a, sums) row-major.
fn add_transposed<T: Real>(sums: &mut [T], weight: &[T], a: &[T]) {
    for (row, &a) in weight.chunks_exact(sums.len()).zip(a) {
        for (sum, &w) in sums.iter_mut().zip(row) {
            *sum = *sum + a * w;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lstm::LayerSizes;
    use crate::reference::lstm;

    /// Repeatable values in [-0.5, 0.5).
    fn noise(seed: u64, length: usize) -> Vec<f64> {
        crate::gemm::tests::noise(seed, length).iter().map(|&v| 0.5 * f64::from(v)).collect()
    }

    fn sum_of_products(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    /// What the layers and data of a case are made of, flat, so that each value can be moved.
    #[derive(Clone)]
    struct Values {
        sizes: Vec<LayerSizes>,
        weights: Vec<[Vec<f64>; 4]>,
        input: Vec<f64>,
        h0: Vec<f64>,
        c0: Vec<f64>,
    }

    const SEQUENCES: usize = 2;
    const FRAMES: usize = 3;

    impl Values {
        fn layers(&self) -> Vec<LayerWeights<f64>> {
            let layer = |(&sizes, [w_ih, w_hh, bias, w_hr]): (&LayerSizes, &[Vec<f64>; 4])| {
                let w_hr = sizes.projection.map(|_| w_hr.clone());
                LayerWeights::new(sizes, w_ih.clone(), w_hh.clone(), bias.clone(), w_hr).unwrap()
            };
            self.sizes.iter().zip(&self.weights).map(layer).collect()
        }

        /// All arrays, in the order in which `gradients` are listed below.
        fn arrays(&mut self) -> Vec<&mut Vec<f64>> {
            self.weights.iter_mut().flatten().chain([&mut self.input, &mut self.h0, &mut self.c0]).collect()
        }
    }

    #[test]
    fn every_gradient_is_that_of_finite_differences() {
        let sizes = vec![
            LayerSizes { input: 2, hidden: 3, projection: Some(2) },
            LayerSizes { input: 2, hidden: 2, projection: None },
        ];
        let weights = sizes
            .iter()
            .zip(0..)
            .map(|(sizes, seed)| {
                let (i, h, s) = (sizes.input, sizes.hidden, sizes.output());
                let counts = [4 * h * i, 4 * h * s, 4 * h, sizes.projection.unwrap_or(0) * h];
                std::array::from_fn(|n| noise(10 * seed + n as u64, counts[n]))
            })
            .collect();
        let (input, h0, c0) = (noise(50, SEQUENCES * FRAMES * 2), noise(51, SEQUENCES * 4), noise(52, SEQUENCES * 5));
        let mut values = Values { sizes, weights, input, h0, c0 };
        let factors = [SEQUENCES * FRAMES * 2, SEQUENCES * 2, SEQUENCES * 4, SEQUENCES * 5];
        let factors: [Vec<f64>; 4] = std::array::from_fn(|n| noise(60 + n as u64, factors[n]));
        let loss = |values: &Values| {
            let start = Some((&values.h0[..], &values.c0[..]));
            let out = lstm(&values.layers(), SEQUENCES, FRAMES, &values.input, start).unwrap();
            let last = &out.h_n[SEQUENCES * 2..];
            let outputs = [&out.sequence[..], last, &out.h_n, &out.c_n];
            outputs.iter().zip(&factors).map(|(a, b)| sum_of_products(a, b)).sum::<f64>()
        };
        let [sequence, last, h_n, c_n] = factors.each_ref().map(|factors| Some(&factors[..]));
        let slopes = LstmSlopes { sequence, last, h_n, c_n };
        let start = Some((&values.h0[..], &values.c0[..]));
        let got = lstm_backward(&values.layers(), SEQUENCES, FRAMES, &values.input, start, &slopes).unwrap();
        let weights = got.layers.into_iter().flat_map(|layer| [layer.w_ih, layer.w_hh, layer.bias, layer.w_hr]);
        let got: Vec<Vec<f64>> = weights.chain([got.input, got.h0, got.c0]).collect();
        for (array, got) in got.iter().enumerate() {
            assert_eq!(values.arrays()[array].len(), got.len());
            for (index, &got) in got.iter().enumerate() {
                let at = |step: f64| {
                    let mut moved = values.clone();
                    moved.arrays()[array][index] += step;
                    loss(&moved)
                };
                let expected = (at(1e-5) - at(-1e-5)) / 2e-5;
                assert!((got - expected).abs() <= 1e-9, "array {array}, {index}: {got} is not {expected}");
            }
        }
    }

    #[test]
    fn slopes_that_do_not_fit_are_refused() {
        let sizes = LayerSizes { input: 1, hidden: 1, projection: None };
        let layers = [LayerWeights::new(sizes, vec![0.0; 4], vec![0.0; 4], vec![0.0; 4], None).unwrap()];
        let slopes = LstmSlopes { last: Some(&[1.0, 2.0][..]), ..LstmSlopes::default() };
        let error = lstm_backward(&layers, 1, 1, &[1.0], None, &slopes).unwrap_err();
        assert!(matches!(error, KernelError::Length { expected: 1, got: 2, .. }));
    }
}

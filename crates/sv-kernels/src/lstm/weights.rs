//! The weights of one layer in one form, and the forms of others brought into it.

use crate::error::{KernelError, expect_shape};
use crate::reference::Real;

/// Sizes of an LSTM layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerSizes {
    /// Values of an input frame, I.
    pub input: usize,
    /// Units, H: the size of the cell state.
    pub hidden: usize,
    /// Size P that the output is projected to, if it is.
    pub projection: Option<usize>,
}

impl LayerSizes {
    /// Values of an output frame, S: the projection if there is one, else the units.
    #[must_use]
    pub fn output(&self) -> usize {
        self.projection.unwrap_or(self.hidden)
    }
}

/// The weights of one LSTM layer, gates in the order i, f, g, o (input, forget, new, output):
///
/// `z = w_ih x + w_hh h + bias; c' = s(z_f) c + s(z_i) tanh(z_g); h' = w_hr (s(z_o) tanh(c'))`, `s` the sigmoid.
///
/// f32 for [`crate::lstm::Lstm`], f64 for the plain definition, [`crate::reference::lstm`].
#[derive(Debug, Clone, PartialEq)]
pub struct LayerWeights<T = f32> {
    sizes: LayerSizes,
    w_ih: Vec<T>,
    w_hh: Vec<T>,
    bias: Vec<T>,
    w_hr: Option<Vec<T>>,
}

impl<T: Real> LayerWeights<T> {
    /// Checks the shapes: `w_ih` (4H, I), `w_hh` (4H, S), `bias` (4H; all that is added to the gates), `w_hr` (P, H) if
    /// there is a projection; all row-major.
    ///
    /// # Errors
    /// [`KernelError::Zero`] for a size of 0, [`KernelError::Length`] for a slice that does not fit,
    /// [`KernelError::Projection`] if only one of `sizes.projection` and `w_hr` is given.
    pub fn new(
        sizes: LayerSizes,
        w_ih: Vec<T>,
        w_hh: Vec<T>,
        bias: Vec<T>,
        w_hr: Option<Vec<T>>,
    ) -> Result<Self, KernelError> {
        let LayerSizes { input, hidden, projection } = sizes;
        check_sizes(sizes)?;
        let gates =
            hidden.checked_mul(4).ok_or(KernelError::TooLarge { what: "LSTM gates", shape: vec![4, hidden] })?;
        expect_shape("w_ih of an LSTM layer", w_ih.len(), &[gates, input])?;
        expect_shape("w_hh of an LSTM layer", w_hh.len(), &[gates, sizes.output()])?;
        expect_shape("bias of an LSTM layer", bias.len(), &[gates])?;
        match (projection, &w_hr) {
            (Some(size), Some(weights)) => expect_shape("w_hr of an LSTM layer", weights.len(), &[size, hidden])?,
            (None, None) => {}
            (size, weights) => {
                return Err(KernelError::Projection { size, got: weights.as_ref().map_or(0, Vec::len) });
            }
        }
        Ok(Self { sizes, w_ih, w_hh, bias, w_hr })
    }

    /// From PyTorch's `weight_ih_l*` (4H, I), `weight_hh_l*` (4H, S), `bias_ih_l*` and `bias_hh_l*` (4H; empty if the
    /// module has none) and `weight_hr_l*` (P, H), each flat and row-major.
    ///
    /// # Errors
    /// As [`LayerWeights::new`].
    ///
    /// # Source
    /// `torch.nn.LSTM`; its gates stand in the order i, f, g, o, its two biases are added.
    pub fn from_torch(
        sizes: LayerSizes,
        weight_ih: Vec<T>,
        weight_hh: Vec<T>,
        bias_ih: &[T],
        bias_hh: &[T],
        weight_hr: Option<Vec<T>>,
    ) -> Result<Self, KernelError> {
        check_sizes(sizes)?;
        let gates = sizes.hidden.saturating_mul(4);
        let mut bias = vec![T::ZERO; if weight_ih.is_empty() { 0 } else { gates.min(weight_ih.len()) }];
        for (what, part) in [("bias_ih of an LSTM layer", bias_ih), ("bias_hh of an LSTM layer", bias_hh)] {
            if !part.is_empty() {
                expect_shape(what, part.len(), &[gates])?;
                for (sum, &value) in bias.iter_mut().zip(part) {
                    *sum = *sum + value;
                }
            }
        }
        Self::new(sizes, weight_ih, weight_hh, bias, weight_hr)
    }

    /// From TensorFlow's LSTM cell: `kernel` (I + S, 4H), columns i, j, f, o, rows first of the input, then of the state;
    /// `bias` (4H); `projection` (H, P), if there is one. The forget bias of 1 that the cell adds is added here, once.
    ///
    /// # Errors
    /// As [`LayerWeights::new`], in TensorFlow's shapes.
    ///
    /// # Source
    /// `tf.nn.rnn_cell.LSTMCell` with its default `forget_bias = 1.0`; j is what PyTorch calls g.
    pub fn from_tensorflow(
        sizes: LayerSizes,
        kernel: &[T],
        bias: &[T],
        projection: Option<&[T]>,
    ) -> Result<Self, KernelError> {
        check_sizes(sizes)?;
        let LayerSizes { input, hidden, .. } = sizes;
        let state = sizes.output();
        let too_large = || KernelError::TooLarge { what: "LSTM kernel", shape: vec![input, state, 4, hidden] };
        let gates = hidden.checked_mul(4).ok_or_else(too_large)?;
        let rows = input.checked_add(state).ok_or_else(too_large)?;
        expect_shape("kernel of a TensorFlow LSTM cell", kernel.len(), &[rows, gates])?;
        expect_shape("bias of a TensorFlow LSTM cell", bias.len(), &[gates])?;
        if let (Some(size), Some(weights)) = (sizes.projection, projection) {
            expect_shape("projection of a TensorFlow LSTM cell", weights.len(), &[hidden, size])?;
        }
        // Ours i f g o from theirs i j f o.
        let column = |gate: usize, unit: usize| [0, 2, 1, 3][gate] * hidden + unit;
        let transposed = |first: usize, rows: usize| {
            let mut out = Vec::with_capacity(gates * rows);
            for output in 0..gates {
                let column = column(output / hidden, output % hidden);
                out.extend((first..first + rows).map(|row| kernel[row * gates + column]));
            }
            out
        };
        let bias = (0..gates)
            .map(|output| {
                let value = bias[column(output / hidden, output % hidden)];
                if output / hidden == 1 { value + T::ONE } else { value }
            })
            .collect();
        let w_hr = projection.map(|weights| {
            let size = sizes.projection.unwrap_or(0);
            (0..size * hidden).map(|i| weights[i % hidden * size + i / hidden]).collect()
        });
        Self::new(sizes, transposed(0, input), transposed(input, state), bias, w_hr)
    }

    /// The sizes.
    #[must_use]
    pub fn sizes(&self) -> LayerSizes {
        self.sizes
    }

    /// Input weights (4H, I).
    #[must_use]
    pub fn w_ih(&self) -> &[T] {
        &self.w_ih
    }

    /// Recurrent weights (4H, S).
    #[must_use]
    pub fn w_hh(&self) -> &[T] {
        &self.w_hh
    }

    /// Bias (4H).
    #[must_use]
    pub fn bias(&self) -> &[T] {
        &self.bias
    }

    /// Projection weights (P, H).
    #[must_use]
    pub fn w_hr(&self) -> Option<&[T]> {
        self.w_hr.as_deref()
    }
}

fn check_sizes(sizes: LayerSizes) -> Result<(), KernelError> {
    let named = [
        ("input size of an LSTM layer", sizes.input),
        ("hidden size of an LSTM layer", sizes.hidden),
        ("projection size of an LSTM layer", sizes.output()),
    ];
    match named.into_iter().find(|&(_, size)| size == 0) {
        Some((what, _)) => Err(KernelError::Zero { what }),
        None => Ok(()),
    }
}

/// Checks that each layer takes what the one before it gives.
pub(crate) fn check_chain<T: Real>(layers: &[LayerWeights<T>]) -> Result<(), KernelError> {
    if layers.is_empty() {
        return Err(KernelError::Zero { what: "number of LSTM layers" });
    }
    for (layer, pair) in layers.windows(2).enumerate() {
        let (gives, takes) = (pair[0].sizes.output(), pair[1].sizes.input);
        if gives != takes {
            return Err(KernelError::Chain { layer: layer + 1, takes, gives });
        }
    }
    Ok(())
}

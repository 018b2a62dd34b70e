//! Training of an LSTM: a forward pass that keeps what the backward pass needs, and the backward pass through time.
//!
//! What is kept are the gates after their functions, the cell states and the outputs (of a projected layer also before the
//! projection), once for each frame and sequence, in f32; the gates' memory then takes their gradients. The sequences are
//! shared out among the threads, each of which sums the weights' gradients of its own; these sums are added in the threads'
//! order. So the same input on as many threads gives the same bits.

mod part;
mod products;
mod steps;

use rayon::prelude::*;

use super::{Batch, Keep, LEAST_SHARE, LayerSizes, LayerWeights, Outputs, Threads, check_chain};
use crate::error::{Given, KernelError, expect_shape, volume};
use crate::gemm::pack::{Panels, gate_row};
use crate::tier::Tier;
use part::{Kept, Part};

/// An LSTM in training: the packed weights of a step, what its forward pass kept, and the gradients.
///
/// All memory is reused: a step no larger than an earlier one allocates nothing.
///
/// ```
/// use sv_kernels::lstm::{Batch, Keep, LayerSizes, LayerWeights, LstmSlopes, LstmTraining, Threads};
///
/// let sizes = LayerSizes { input: 2, hidden: 3, projection: None };
/// let layers = [LayerWeights::new(sizes, vec![0.1; 12 * 2], vec![0.1; 12 * 3], vec![0.0; 12], None)?];
/// let mut training = LstmTraining::default();
/// let frames = [0.5_f32; 2 * 4 * 2];              // (B = 2, T = 4, I = 2)
/// let out = training.forward(&layers, &Batch::new(&frames, 2, 4), Keep::Last, Threads::Pool)?;
/// // The gradient of a loss, half the sum of squares of the last outputs, is these outputs.
/// let last = out.last().to_vec();
/// let gradients = training.backward(&LstmSlopes { last: Some(&last), ..LstmSlopes::default() }, false)?;
/// assert_eq!(gradients.layers[0].w_hh.len(), 12 * 3);
/// # Ok::<(), sv_kernels::KernelError>(())
/// ```
#[derive(Debug)]
pub struct LstmTraining {
    tier: Tier,
    layers: Vec<PackedLayer>,
    parts: Vec<Part>,
    /// How many of `parts` the last forward pass used.
    used: usize,
    /// Sequences and frames of the last forward pass, unless a backward pass has spent it.
    kept: Option<(usize, usize)>,
    sequence: Vec<f32>,
    h_n: Vec<f32>,
    c_n: Vec<f32>,
    gradients: Gradients,
}

/// Both directions of a projection.
#[derive(Debug, Default)]
struct Projection {
    there: Panels,
    back: Panels,
}

#[derive(Debug)]
struct PackedLayer {
    sizes: LayerSizes,
    input: Panels,
    recurrent: Panels,
    input_back: Panels,
    recurrent_back: Panels,
    projection: Option<Projection>,
}

impl PackedLayer {
    fn new(sizes: LayerSizes) -> Self {
        let [input, recurrent, input_back, recurrent_back] = std::array::from_fn(|_| Panels::default());
        Self { sizes, input, recurrent, input_back, recurrent_back, projection: None }
    }

    fn set(&mut self, tier: Tier, layer: &LayerWeights) {
        let sizes = layer.sizes();
        let (i, h, s) = (sizes.input, sizes.hidden, sizes.output());
        self.sizes = sizes;
        self.input.set_gates(tier, i, h, layer.w_ih(), layer.bias());
        self.recurrent.set_gates(tier, s, h, layer.w_hh(), &[]);
        self.input_back.set_gates_transposed(tier, i, h, layer.w_ih());
        self.recurrent_back.set_gates_transposed(tier, s, h, layer.w_hh());
        self.projection = layer.w_hr().map(|w_hr| {
            let mut projection = self.projection.take().unwrap_or_default();
            projection.there.set_dense(tier, h, s, w_hr, &[]);
            projection.back.set_dense_transposed(tier, h, s, w_hr);
            projection
        });
    }

    /// Values of a row of outputs before projection, padded to whole panels; 0 without one.
    fn unprojected_columns(&self) -> usize {
        self.projection.as_ref().map_or(0, |projection| projection.back.columns())
    }
}

/// The gradient of a loss with regard to what [`LstmTraining::forward`] gave; what is `None` has none.
#[derive(Debug, Clone, Copy, Default)]
pub struct LstmSlopes<'a, T = f32> {
    /// Of the last layer's outputs (B, T, S).
    pub sequence: Option<&'a [T]>,
    /// Of the last layer's outputs at the last frame (B, S).
    pub last: Option<&'a [T]>,
    /// Of the outputs of all layers at the last frame, in the layout of [`Outputs::h_n`].
    pub h_n: Option<&'a [T]>,
    /// Of the cell states of all layers after the last frame, in the layout of [`Outputs::c_n`].
    pub c_n: Option<&'a [T]>,
}

/// The gradient of a loss with regard to what [`LstmTraining::forward`] was given.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gradients<T = f32> {
    /// Of the weights of each layer, first to last.
    pub layers: Vec<LayerGradients<T>>,
    /// Of the starting outputs, in the layout of [`Outputs::h_n`].
    pub h0: Vec<T>,
    /// Of the starting cell states, in the layout of [`Outputs::c_n`].
    pub c0: Vec<T>,
    /// Of the input (B, T, I), if it was wanted; else empty.
    pub input: Vec<T>,
}

/// Gradients of one layer's weights, in the shapes of [`LayerWeights`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LayerGradients<T = f32> {
    /// (4H, I)
    pub w_ih: Vec<T>,
    /// (4H, S)
    pub w_hh: Vec<T>,
    /// (4H)
    pub bias: Vec<T>,
    /// (P, H); empty without a projection.
    pub w_hr: Vec<T>,
}

impl Default for LstmTraining {
    /// For the best tier of this machine.
    fn default() -> Self {
        Self::on_tier(Tier::detect())
    }
}

impl LstmTraining {
    /// For a given tier.
    #[must_use]
    pub fn on_tier(tier: Tier) -> Self {
        Self {
            tier,
            layers: Vec::new(),
            parts: Vec::new(),
            used: 0,
            kept: None,
            sequence: Vec::new(),
            h_n: Vec::new(),
            c_n: Vec::new(),
            gradients: Gradients::default(),
        }
    }

    /// Packs `layers`, first to last, runs them over `batch` and keeps what [`LstmTraining::backward`] needs. Lengths are
    /// not taken: every sequence of a batch has T frames.
    ///
    /// Magnitudes below [`crate::math::FLUSHED`] in inputs, weights, states and gates count as 0.
    ///
    /// # Errors
    /// As [`super::Lstm::new`] and [`super::Lstm::forward`]; [`KernelError::Ragged`] if `batch` has lengths.
    pub fn forward(
        &mut self,
        layers: &[LayerWeights],
        batch: &Batch<'_>,
        keep: Keep,
        threads: Threads,
    ) -> Result<Outputs<'_>, KernelError> {
        self.kept = None;
        check_chain(layers)?;
        let (b, t) = (batch.sequences, batch.frames);
        let sizes = || layers.iter().map(LayerWeights::sizes);
        let (outputs, units) =
            (sizes().map(|sizes| sizes.output()).sum::<usize>(), sizes().map(|sizes| sizes.hidden).sum::<usize>());
        let output = layers[layers.len() - 1].sizes().output();
        expect_shape("input of an LSTM", batch.input.len(), &[b, t, layers[0].sizes().input])?;
        let (h_values, c_values) = (volume("h_n of an LSTM", &[outputs, b])?, volume("c_n of an LSTM", &[units, b])?);
        // The largest that is kept: gates of units padded to whole panels.
        volume("gates of an LSTM in training", &[units + 64 * layers.len(), 4, b, t.saturating_add(1)])?;
        let width = if keep == Keep::Sequence { volume("outputs of an LSTM", &[t, output])? } else { 0 };
        if let Some((h0, c0)) = batch.start {
            expect_shape("h0 of an LSTM", h0.len(), &[outputs, b])?;
            expect_shape("c0 of an LSTM", c0.len(), &[units, b])?;
        }
        if batch.lengths.is_some() {
            return Err(KernelError::Ragged);
        }
        let tier = self.tier;
        self.layers.truncate(layers.len());
        for (index, layer) in layers.iter().enumerate() {
            if self.layers.len() == index {
                self.layers.push(PackedLayer::new(layer.sizes()));
            }
            self.layers[index].set(tier, layer);
        }
        self.used = match threads {
            Threads::One => 1,
            Threads::Pool => rayon::current_num_threads().min(b / LEAST_SHARE).max(1),
        };
        let share = b.div_ceil(self.used).max(1);
        self.used = b.div_ceil(share).max(1);
        self.parts.resize_with(self.used.max(self.parts.len()), Part::default);
        let packed = &self.layers;
        each(&mut self.parts[..self.used], |index, part| {
            (part.first, part.sequences) = ((index * share).min(b), share.min(b - (index * share).min(b)));
            part.forward(tier, packed, batch);
        });
        for (buffer, values) in [(&mut self.h_n, h_values), (&mut self.c_n, c_values), (&mut self.sequence, b * width)]
        {
            buffer.resize(values, 0.0);
        }
        for part in &self.parts[..self.used] {
            part.collect_states(packed, b, &mut self.h_n, &mut self.c_n);
        }
        if width > 0 {
            for (sequence, to) in self.sequence.chunks_exact_mut(width).enumerate() {
                self.parts[sequence / share].copy_outputs(packed, sequence % share, to);
            }
        }
        self.kept = Some((b, t));
        Ok(Outputs { sequence: &self.sequence, h_n: &self.h_n, c_n: &self.c_n, last: h_values - output * b })
    }

    /// Whether a forward pass is kept that no backward pass has spent.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// Goes back through the last forward pass, on its threads, and spends it: what it kept is overwritten. The gradient
    /// of the input is computed only if it `wants_input`.
    ///
    /// Gradients of outputs, states and gates of magnitudes below [`crate::math::FLUSHED`] count as 0.
    ///
    /// # Errors
    /// [`KernelError::NothingKept`] if no forward pass went before or it is spent, [`KernelError::Length`] if `slopes` do
    /// not fit it.
    ///
    /// # Source
    /// The chain rule through the equations at [`LayerWeights`], frame by frame from the last (Werbos 1990).
    pub fn backward(&mut self, slopes: &LstmSlopes<'_>, wants_input: bool) -> Result<&Gradients, KernelError> {
        let (b, t) = self.kept.ok_or(KernelError::NothingKept)?;
        let sizes = || self.layers.iter().map(|layer| layer.sizes);
        let (outputs, units) =
            (sizes().map(|sizes| sizes.output()).sum::<usize>(), sizes().map(|sizes| sizes.hidden).sum::<usize>());
        let output = self.layers.last().map_or(0, |layer| layer.sizes.output());
        let shapes: [Given<'_, f32>; 4] = [
            ("gradient of an LSTM's outputs", slopes.sequence, &[b, t, output]),
            ("gradient of an LSTM's last outputs", slopes.last, &[b, output]),
            ("gradient of an LSTM's h_n", slopes.h_n, &[outputs, b]),
            ("gradient of an LSTM's c_n", slopes.c_n, &[units, b]),
        ];
        for (what, given, shape) in shapes {
            if let Some(given) = given {
                expect_shape(what, given.len(), shape)?;
            }
        }
        self.kept = None;
        let (tier, layers) = (self.tier, &self.layers);
        let gradients = &mut self.gradients;
        let inputs = layers.first().map_or(0, |layer| layer.sizes.input);
        gradients.input.resize(if wants_input { b * t * inputs } else { 0 }, 0.0);
        let parts = &mut self.parts[..self.used];
        let mut rest = &mut gradients.input[..];
        let mut work = Vec::with_capacity(parts.len());
        for part in parts.iter_mut() {
            let own = if wants_input { part.sequences * t * inputs } else { 0 };
            let (own, others) = std::mem::take(&mut rest).split_at_mut(own);
            rest = others;
            work.push((part, own));
        }
        each(&mut work, |_, (part, own)| part.backward(tier, layers, b, slopes, own));
        gradients.h0.resize(outputs * b, 0.0);
        gradients.c0.resize(units * b, 0.0);
        for part in &*parts {
            part.collect_slopes(layers, b, &mut gradients.h0, &mut gradients.c0);
        }
        gradients.layers.resize_with(layers.len(), LayerGradients::default);
        for (index, (layer, to)) in layers.iter().zip(&mut gradients.layers).enumerate() {
            let sums: Vec<&Kept> = parts.iter().map(|part| part.kept(index)).collect();
            to.gather(tier, layer, &sums);
        }
        Ok(gradients)
    }
}

/// A gradient, the values of its rows, and the sums it is gathered from.
type Table<'a> = (&'a mut [f32], usize, Vec<&'a [f32]>);

impl LayerGradients {
    /// Adds the sums of all parts, in their order, and brings them out of their panels.
    fn gather(&mut self, tier: Tier, layer: &PackedLayer, parts: &[&Kept]) {
        let LayerSizes { input, hidden, projection } = layer.sizes;
        let (lanes, width, s) = (tier.width(), layer.recurrent.width(), layer.sizes.output());
        let gates = |panel: usize, column: usize| gate_row(lanes, hidden, panel, column);
        // The place of each row of gates: its panel and column.
        let mut places = vec![(0, 0); 4 * hidden];
        for panel in 0..layer.recurrent.count() {
            for column in 0..width {
                if let Some(row) = gates(panel, column) {
                    places[row] = (panel, column);
                }
            }
        }
        self.w_ih.resize(4 * hidden * input, 0.0);
        self.w_hh.resize(4 * hidden * s, 0.0);
        self.bias.resize(4 * hidden, 0.0);
        let sums = |buffer: fn(&Kept) -> &crate::buffer::Buffer| {
            parts.iter().map(|part| buffer(part).values()).collect::<Vec<_>>()
        };
        let tables: [Table<'_>; 3] = [
            (&mut self.w_ih, input, sums(|kept| &kept.w_ih)),
            (&mut self.w_hh, s, sums(|kept| &kept.w_hh)),
            (&mut self.bias, 1, sums(|kept| &kept.bias)),
        ];
        for (to, inputs, sums) in tables {
            let row = |(to, &(panel, column)): (&mut [f32], &(usize, usize))| {
                for (k, to) in to.iter_mut().enumerate() {
                    let at = (panel * inputs + k) * width + column;
                    *to = sums[1..].iter().fold(sums[0][at], |sum, part| sum + part[at]);
                }
            };
            if parts.len() > 1 {
                to.par_chunks_exact_mut(inputs).zip(&places).for_each(row);
            } else {
                to.chunks_exact_mut(inputs).zip(&places).for_each(row);
            }
        }
        self.w_hr.resize(projection.unwrap_or(0) * hidden, 0.0);
        let sums = sums(|kept| &kept.w_hr);
        for (row, to) in self.w_hr.chunks_exact_mut(hidden).enumerate() {
            for (unit, to) in to.iter_mut().enumerate() {
                let at = (unit / width * s + row) * width + unit % width;
                *to = sums[1..].iter().fold(sums[0][at], |sum, part| sum + part[at]);
            }
        }
    }
}

/// Does `work` to each, on as many threads as there are.
fn each<W: Send>(items: &mut [W], work: impl Fn(usize, &mut W) + Sync) {
    match items {
        [one] => work(0, one),
        many => many.par_iter_mut().enumerate().for_each(|(index, item)| work(index, item)),
    }
}

#[cfg(test)]
mod tests;

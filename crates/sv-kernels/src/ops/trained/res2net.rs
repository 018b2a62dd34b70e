//! The chunks of a Res2Net block, one after the other, as one operation.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::layer::{TdnnPass, follow, vectors};
use super::{lent, sizes, values};
use crate::ops::blocks::{Tdnn, Untouched};
use crate::tdnn::pooling::Sizes;
use crate::tdnn::share;

/// See [`crate::ops::res2net_block`]: of x (B, T, C) and the layers' weights, biases and normalisations in one row.
pub(in crate::ops) fn res2net(x: &Tensor, layers: &[Tdnn], untouched: Untouched) -> Result<Tensor> {
    let Sizes { batch, frames, channels } = sizes(x)?;
    let scale = layers.len() + 1;
    if !channels.is_multiple_of(scale) || channels == 0 {
        bail!("{channels} channels cannot be cut into {scale} chunks of one size")
    }
    let width = channels / scale;
    let chunk = Sizes { batch, frames, channels: width };
    let mut passes = Vec::with_capacity(layers.len());
    let mut flat = Vec::with_capacity(2 * layers.len());
    let mut parts = Vec::with_capacity(layers.len());
    for layer in layers {
        if layer.weight.dims3()?.0 != width {
            bail!("a chunk of {width} channels is given a layer of {:?}", layer.weight.dims())
        }
        let (weight, vectors) = (layer.weight.flatten_all()?, vectors(layer)?);
        parts.push((weight.elem_count(), vectors.elem_count()));
        passes.push(TdnnPass::new(chunk, layer, true)?);
        flat.extend([weight, vectors]);
    }
    if layers.is_empty() {
        return Ok(x.clone());
    }
    let kept: Vec<_> = passes.iter().map(|pass| Arc::clone(&pass.kept)).collect();
    let pass = Res2NetPass { channels, width, untouched, passes, parts };
    let y = x.contiguous()?.apply_op2(&Tensor::cat(&flat, 0)?, pass)?;
    for (layer, kept) in layers.iter().zip(&kept) {
        if let Some(norm) = &layer.norm {
            follow(norm, kept, batch * frames)?;
        }
    }
    Ok(y)
}

struct Res2NetPass {
    channels: usize,
    width: usize,
    untouched: Untouched,
    passes: Vec<TdnnPass>,
    /// Values of each layer's weight, and of its vectors.
    parts: Vec<(usize, usize)>,
}

impl Res2NetPass {
    /// First channel of a layer's chunk.
    fn first(&self, layer: usize) -> usize {
        (layer + usize::from(self.untouched == Untouched::First)) * self.width
    }

    /// First channel of the chunk without a layer.
    fn rest(&self) -> usize {
        match self.untouched {
            Untouched::First => 0,
            Untouched::Last => self.channels - self.width,
        }
    }

    /// Each layer's weight and vectors.
    fn layers<'a>(&self, mut flat: &'a [f32]) -> Vec<(&'a [f32], &'a [f32])> {
        let mut layers = Vec::with_capacity(self.parts.len());
        for &(weight, vectors) in &self.parts {
            let (own, rest) = flat.split_at(weight + vectors);
            layers.push(own.split_at(weight));
            flat = rest;
        }
        layers
    }

    /// The chunk from channel `first` on, (rows, width).
    fn chunk(&self, x: &[f32], first: usize) -> Vec<f32> {
        let mut chunk = vec![0.0; x.len() / self.channels * self.width];
        self.each_row(x, &mut chunk, |x, chunk| chunk.copy_from_slice(&x[first..first + self.width]));
        chunk
    }

    /// The same with the channels from `first` on of `y` added.
    fn sum(&self, x: &[f32], first: usize, y: &[f32], other: usize) -> Vec<f32> {
        let mut chunk = self.chunk(x, first);
        self.each_row(y, &mut chunk, |y, chunk| {
            for (sum, y) in chunk.iter_mut().zip(&y[other..other + self.width]) {
                *sum += y;
            }
        });
        chunk
    }

    /// Does something with each row of channels and its row of the chunk.
    fn each_row(&self, x: &[f32], chunk: &mut [f32], work: impl Fn(&[f32], &mut [f32]) + Sync) {
        let share = share(x.len() / self.channels);
        x.par_chunks(share * self.channels).zip(chunk.par_chunks_mut(share * self.width)).for_each(|(x, chunk)| {
            for (x, chunk) in x.chunks_exact(self.channels).zip(chunk.chunks_exact_mut(self.width)) {
                work(x, chunk);
            }
        });
    }

    /// Puts a chunk in its place.
    fn put(&self, chunk: &[f32], y: &mut [f32], first: usize) {
        let share = share(y.len() / self.channels);
        y.par_chunks_mut(share * self.channels).zip(chunk.par_chunks(share * self.width)).for_each(|(y, chunk)| {
            for (y, chunk) in y.chunks_exact_mut(self.channels).zip(chunk.chunks_exact(self.width)) {
                y[first..first + self.width].copy_from_slice(chunk);
            }
        });
    }

    fn forward(&self, x: &[f32], flat: &[f32]) -> Vec<f32> {
        let mut y = vec![0.0; x.len()];
        let mut before: Option<Vec<f32>> = None;
        for (layer, (pass, (weight, vectors))) in self.passes.iter().zip(self.layers(flat)).enumerate() {
            let first = self.first(layer);
            let mut own = self.chunk(x, first);
            if let Some(before) = before {
                own.iter_mut().zip(&before).for_each(|(own, before)| *own += before);
            }
            let out = pass.forward(&own, weight, vectors);
            self.put(&out, &mut y, first);
            before = Some(out);
        }
        self.put(&self.chunk(x, self.rest()), &mut y, self.rest());
        y
    }

    /// The gradients of the input and of the row of weights; `y` is what [`Self::forward`] gave.
    fn backward(&self, x: &[f32], flat: &[f32], y: &[f32], dy: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let mut of_x = vec![0.0; x.len()];
        let mut of_flat = vec![Vec::new(); self.passes.len()];
        let mut carried: Option<Vec<f32>> = None;
        let layers = self.layers(flat);
        for (layer, pass) in self.passes.iter().enumerate().rev() {
            let first = self.first(layer);
            let own = match layer.checked_sub(1) {
                Some(before) => self.sum(x, first, y, self.first(before)),
                None => self.chunk(x, first),
            };
            let mut slopes = self.chunk(dy, first);
            if let Some(carried) = carried {
                slopes.iter_mut().zip(&carried).for_each(|(slope, carried)| *slope += carried);
            }
            let (weight, vectors) = layers[layer];
            let (of_own, of_weight, of_vectors) = pass.backward(&own, weight, vectors, &slopes);
            of_flat[layer] = [of_weight, of_vectors].concat();
            let of_own = of_own.unwrap_or_default();
            self.put(&of_own, &mut of_x, first);
            carried = Some(of_own);
        }
        self.put(&self.chunk(dy, self.rest()), &mut of_x, self.rest());
        (of_x, of_flat.concat())
    }
}

impl CustomOp2 for Res2NetPass {
    fn name(&self) -> &'static str {
        "sv-res2net"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, w: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = self.forward(values(x, lx)?, values(w, lw)?);
        Ok((CpuStorage::F32(y), lx.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, y: &Tensor, slopes: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (of_x, of_w) =
            lent(x, |x| lent(w, |w| lent(y, |y| lent(slopes, |slopes| Ok(self.backward(x, w, y, slopes))))))?;
        let device = x.device();
        Ok((Some(Tensor::from_vec(of_x, x.shape(), device)?), Some(Tensor::from_vec(of_w, w.shape(), device)?)))
    }
}

//! A linear layer of rows: its three products, each with the weights packed for it.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

use super::{Slopes, lent, values};
use crate::ops::rows::add;
use crate::tdnn::products;
use crate::tier::Tier;

/// `x weight^T + bias` of `x` (B, I), `weight` (O, I), none of which is empty, and `bias` (O).
pub(in crate::ops) fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let ((rows, inputs), (outputs, _)) = (x.dims2()?, weight.dims2()?);
    let wants = [x.track_op(), weight.track_op(), bias.is_some_and(Tensor::track_op)];
    let pass = LinearPass { rows, inputs, outputs, wants };
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    match bias {
        Some(bias) => x.apply_op3(&weight, &bias.contiguous()?, pass),
        None => x.apply_op2(&weight, pass),
    }
}

struct LinearPass {
    rows: usize,
    inputs: usize,
    outputs: usize,
    /// Whether a gradient of the input is asked for, of the weights, and of the bias.
    wants: [bool; 3],
}

impl LinearPass {
    fn forward(&self, x: &[f32], weight: &[f32], bias: &[f32]) -> (CpuStorage, Shape) {
        let mut y = vec![0.0; self.rows * self.outputs];
        products::forward(Tier::detect(), x, self.inputs, weight, bias, &mut y);
        (CpuStorage::F32(y), Shape::from((self.rows, self.outputs)))
    }

    fn backward(&self, x: &Tensor, weight: &Tensor, slopes: &[f32]) -> Result<[Option<Tensor>; 2]> {
        let tier = Tier::detect();
        let filled = |like: &Tensor, work: &dyn Fn(&mut [f32]) -> Result<()>| {
            let mut all = vec![0.0; like.elem_count()];
            work(&mut all)?;
            Tensor::from_vec(all, like.shape(), like.device())
        };
        let of_x = |all: &mut [f32]| {
            lent(weight, |weight| {
                products::input_slope(tier, slopes, self.outputs, weight, all);
                Ok(())
            })
        };
        let of_weight = |all: &mut [f32]| {
            lent(x, |x| {
                products::weight_slope(tier, slopes, self.outputs, x, self.inputs, all);
                Ok(())
            })
        };
        Ok([
            self.wants[0].then(|| filled(x, &of_x)).transpose()?,
            self.wants[1].then(|| filled(weight, &of_weight)).transpose()?,
        ])
    }
}

impl CustomOp2 for LinearPass {
    fn name(&self) -> &'static str {
        "sv-linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, w: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(self.forward(values(x, lx)?, values(w, lw)?, &[]))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _: &Tensor, slopes: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [of_x, of_w] = lent(slopes, |slopes| self.backward(x, w, slopes))?;
        Ok((of_x, of_w))
    }
}

impl CustomOp3 for LinearPass {
    fn name(&self) -> &'static str {
        "sv-linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Ok(self.forward(values(x, lx)?, values(w, lw)?, values(b, lb)?))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, b: &Tensor, _: &Tensor, slopes: &Tensor) -> Result<Slopes> {
        lent(slopes, |slopes| {
            let [of_x, of_w] = self.backward(x, w, slopes)?;
            if !self.wants[2] {
                return Ok((of_x, of_w, None));
            }
            let mut of_bias = vec![0.0; self.outputs];
            slopes.chunks_exact(self.outputs).for_each(|row| add(&mut of_bias, 1.0, row));
            Ok((of_x, of_w, Some(Tensor::from_vec(of_bias, self.outputs, b.device())?)))
        })
    }
}

//! The arithmetic of a step on plain slices: the formulas of [`Method`], element by element, in parallel where it pays.

use std::cell::RefCell;
use std::ops::{Add, Div, Mul, Sub};

use candle_core::{CpuStorage, DType, InplaceOp2, Layout, Result, Storage, Tensor, bail};
use rayon::prelude::*;

use super::config::{AdamForm, Method};

/// Values that one thread takes at a time; sums are taken over these blocks, then over their sums, so that the number of
/// threads moves no bit.
const BLOCK: usize = 1 << 14;

/// f32 or f64.
pub(super) trait Real:
    Copy + Send + Sync + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    fn of(value: f64) -> Self;
    fn wide(self) -> f64;
    fn root(self) -> Self;
}

impl Real for f32 {
    fn of(value: f64) -> Self {
        value as Self
    }
    fn wide(self) -> f64 {
        f64::from(self)
    }
    fn root(self) -> Self {
        self.sqrt()
    }
}

impl Real for f64 {
    fn of(value: f64) -> Self {
        value
    }
    fn wide(self) -> f64 {
        self
    }
    fn root(self) -> Self {
        self.sqrt()
    }
}

/// What a method remembers of one parameter, in the parameter's type and order; as many as [`Method::moments`] names.
#[derive(Debug)]
pub(super) enum Moments {
    F32(Vec<Vec<f32>>),
    F64(Vec<Vec<f64>>),
}

impl Method {
    /// Names of what is remembered of each parameter.
    pub(super) fn moments(&self) -> &'static [&'static str] {
        match self {
            Self::Sgd { momentum: 0.0, .. } => &[],
            Self::Sgd { .. } => &["momentum"],
            Self::RmsProp { .. } => &["mean-square"],
            Self::Adam { .. } | Self::AdamW { .. } => &["first-moment", "second-moment"],
        }
    }

    /// What is remembered before the first step.
    pub(super) fn start(&self, dtype: DType, values: usize) -> Option<Moments> {
        let fill = if matches!(self, Self::RmsProp { .. }) { 1.0 } else { 0.0 };
        let count = self.moments().len();
        match dtype {
            DType::F32 => Some(Moments::F32(vec![vec![fill as f32; values]; count])),
            DType::F64 => Some(Moments::F64(vec![vec![fill; values]; count])),
            _ => None,
        }
    }
}

/// The numbers of one step of one parameter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scalars {
    /// The rate, with the group's factor.
    pub(super) rate: f64,
    /// Factor of the method's weight decay.
    pub(super) weight_decay: f64,
    /// Factor of the gradient: the group's and that of clipping.
    pub(super) gradient: f64,
    /// Steps made when this one is over, 1 or more.
    pub(super) count: u64,
}

/// Moves `parameter` along `gradient` in place, both contiguous on the CPU and of the type of `moments`.
pub(super) fn step(
    method: &Method,
    scalars: Scalars,
    parameter: &Tensor,
    gradient: &Tensor,
    moments: &mut Moments,
) -> Result<()> {
    parameter.inplace_op2(gradient, &Step { method, scalars, moments: RefCell::new(moments) })
}

struct Step<'a> {
    method: &'a Method,
    scalars: Scalars,
    moments: RefCell<&'a mut Moments>,
}

impl InplaceOp2 for Step<'_> {
    fn name(&self) -> &'static str {
        "sv-optimizer-step"
    }

    fn cpu_fwd(&self, p: &mut CpuStorage, p_layout: &Layout, g: &CpuStorage, g_layout: &Layout) -> Result<()> {
        let (Some((from, to)), Some((start, end))) = (p_layout.contiguous_offsets(), g_layout.contiguous_offsets())
        else {
            return Err(candle_core::Error::RequiresContiguous { op: self.name() });
        };
        match (p, g, &mut **self.moments.borrow_mut()) {
            (CpuStorage::F32(p), CpuStorage::F32(g), Moments::F32(moments)) => {
                update(self.method, self.scalars, &mut p[from..to], &g[start..end], moments);
            }
            (CpuStorage::F64(p), CpuStorage::F64(g), Moments::F64(moments)) => {
                update(self.method, self.scalars, &mut p[from..to], &g[start..end], moments);
            }
            _ => bail!("{}: parameter, gradient and moments are of different types", self.name()),
        }
        Ok(())
    }
}

fn update<T: Real>(method: &Method, scalars: Scalars, p: &mut [T], g: &[T], moments: &mut [Vec<T>]) {
    let Scalars { rate, gradient, count, .. } = scalars;
    let scale = T::of(gradient);
    match (*method, moments) {
        (Method::Sgd { weight_decay, .. }, []) => {
            let (rate, decay) = (T::of(rate), T::of(weight_decay * scalars.weight_decay));
            let blocks = p.par_chunks_mut(BLOCK).zip(g.par_chunks(BLOCK));
            blocks.for_each(|(p, g)| {
                for (p, &g) in p.iter_mut().zip(g) {
                    *p = *p - rate * (g * scale + decay * *p);
                }
            });
        }
        (Method::Sgd { momentum, nesterov, weight_decay }, [v]) => {
            let (rate, decay, momentum) = (T::of(rate), T::of(weight_decay * scalars.weight_decay), T::of(momentum));
            each(p, g, v, |p, g, v| {
                let g = g * scale + decay * *p;
                *v = momentum * *v + g;
                *p = *p - rate * if nesterov { g + momentum * *v } else { *v };
            });
        }
        (Method::RmsProp { decay, epsilon }, [s]) => {
            let (rate, keep, take, epsilon) = (T::of(rate), T::of(decay), T::of(1.0 - decay), T::of(epsilon));
            each(p, g, s, |p, g, s| {
                let g = g * scale;
                *s = keep * *s + take * (g * g);
                *p = *p - rate * g / (*s + epsilon).root();
            });
        }
        (Method::Adam { form, beta1, beta2, epsilon, weight_decay }, [m, v]) => {
            let decay = T::of(form.decay_factor() * weight_decay * scalars.weight_decay);
            let adam = Adam::new(form, [beta1, beta2], epsilon.unwrap_or(form.epsilon()), rate, count);
            each_pair(p, g, m, v, |p, g, m, v| adam.step(p, g * scale + decay * *p, m, v));
        }
        (Method::AdamW { beta1, beta2, epsilon, weight_decay }, [m, v]) => {
            let shrink = T::of(1.0 - rate * (weight_decay * scalars.weight_decay));
            let adam = Adam::new(AdamForm::Pytorch, [beta1, beta2], epsilon, rate, count);
            each_pair(p, g, m, v, |p, g, m, v| {
                *p = *p * shrink;
                adam.step(p, g * scale, m, v);
            });
        }
        // `Method::start` made as many moments as the arms above name, and `restore` keeps their number.
        _ => {}
    }
}

/// Adam's step with everything that is the same for all values worked out.
#[derive(Clone, Copy)]
struct Adam<T> {
    keep: [T; 2],
    take: [T; 2],
    rate: T,
    /// Divides the root of the second moment.
    correction: T,
    epsilon: T,
}

impl<T: Real> Adam<T> {
    fn new(form: AdamForm, betas: [f64; 2], epsilon: f64, rate: f64, count: u64) -> Self {
        let [c1, c2] = betas.map(|beta| 1.0 - beta.powf(count as f64));
        let (rate, correction) = match form {
            AdamForm::Pytorch => (rate / c1, c2.sqrt()),
            AdamForm::Tensorflow | AdamForm::Keras => (rate * c2.sqrt() / c1, 1.0),
        };
        Self {
            keep: betas.map(T::of),
            take: betas.map(|beta| T::of(1.0 - beta)),
            rate: T::of(rate),
            correction: T::of(correction),
            epsilon: T::of(epsilon),
        }
    }

    fn step(&self, p: &mut T, g: T, m: &mut T, v: &mut T) {
        *m = self.keep[0] * *m + self.take[0] * g;
        *v = self.keep[1] * *v + self.take[1] * (g * g);
        *p = *p - self.rate * *m / (v.root() / self.correction + self.epsilon);
    }
}

fn each<T: Real>(p: &mut [T], g: &[T], a: &mut [T], f: impl Fn(&mut T, T, &mut T) + Sync) {
    let blocks = p.par_chunks_mut(BLOCK).zip(g.par_chunks(BLOCK)).zip(a.par_chunks_mut(BLOCK));
    blocks.for_each(|((p, g), a)| {
        for ((p, &g), a) in p.iter_mut().zip(g).zip(a) {
            f(p, g, a);
        }
    });
}

fn each_pair<T: Real>(p: &mut [T], g: &[T], a: &mut [T], b: &mut [T], f: impl Fn(&mut T, T, &mut T, &mut T) + Sync) {
    let blocks = p.par_chunks_mut(BLOCK).zip(g.par_chunks(BLOCK));
    blocks.zip(a.par_chunks_mut(BLOCK)).zip(b.par_chunks_mut(BLOCK)).for_each(|(((p, g), a), b)| {
        for (((p, &g), a), b) in p.iter_mut().zip(g).zip(a).zip(b) {
            f(p, g, a, b);
        }
    });
}

/// Sum of the squares, in f64, of a contiguous tensor on the CPU.
pub(super) fn sum_of_squares(tensor: &Tensor) -> Result<f64> {
    let (storage, layout) = tensor.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        return Err(candle_core::Error::RequiresContiguous { op: "sv-optimizer-norm" });
    };
    match &*storage {
        Storage::Cpu(CpuStorage::F32(values)) => Ok(squares(&values[start..end])),
        Storage::Cpu(CpuStorage::F64(values)) => Ok(squares(&values[start..end])),
        _ => bail!("the sum of squares takes f32 or f64 on the CPU"),
    }
}

fn squares<T: Real>(values: &[T]) -> f64 {
    let blocks: Vec<f64> = values
        .par_chunks(BLOCK)
        .map(|block| {
            // Eight running sums, which the compiler keeps in vectors.
            let mut sums = [0.0; 8];
            let (eights, rest) = block.as_chunks::<8>();
            for eight in eights {
                for (sum, value) in sums.iter_mut().zip(eight) {
                    *sum += value.wide() * value.wide();
                }
            }
            sums.iter().sum::<f64>() + rest.iter().map(|value| value.wide() * value.wide()).sum::<f64>()
        })
        .collect();
    blocks.iter().sum()
}

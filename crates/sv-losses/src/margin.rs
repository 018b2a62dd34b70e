//! Softmax over cosines to one basis a class, the own cosine made smaller by a margin.

use candle_core::{DType, Tensor, Var};
use serde::{Deserialize, Serialize};
use sv_kernels::ops;

use crate::classes::{accuracy, check, check_classes};
use crate::{Labels, LossError, Objective, Parameter, Reduction, Setting};

/// What the additive angular margin becomes where angle and margin together pass 180 degrees (`c` is the own cosine, `m` the
/// margin): past it cos(angle + m) would rise again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Beyond {
    /// `c - m sin(pi - m)`, as SpeechBrain and ArcFace's own code have it.
    #[default]
    Sine,
    /// `c - (1 + cos(pi - m))`, as WeSpeaker has it: the loss then has no step there.
    Cosine,
}

/// Options of the additive angular margin; the default is SpeechBrain's recipe for VoxCeleb.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AamSoftmaxOptions {
    /// Added to the own angle, in radians; in `[0, pi / 2]`.
    pub margin: f64,
    /// Factor of the cosines, above 0.
    pub scale: f64,
    /// Where the angle passes 180 degrees.
    pub beyond: Beyond,
}

impl Default for AamSoftmaxOptions {
    fn default() -> Self {
        Self { margin: 0.2, scale: 30.0, beyond: Beyond::default() }
    }
}

/// Options of the additive margin; the default is SpeechBrain's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AmSoftmaxOptions {
    /// Taken off the own cosine; in `[0, 2]`.
    pub margin: f64,
    /// Factor of the cosines, above 0.
    pub scale: f64,
    /// The mean over the rows, or their sum as Heo et al. 2019 print it (eqs. 4 and 5).
    pub reduction: Reduction,
}

impl Default for AmSoftmaxOptions {
    fn default() -> Self {
        Self { margin: 0.2, scale: 30.0, reduction: Reduction::Mean }
    }
}

/// What the margin is taken off.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    Angle(Beyond),
    Cosine,
}

/// Cross entropy over `s cos`, the own cosine lessened by a margin; the mean over the rows, or for
/// the additive margin their sum.
///
/// The logit of class j for embedding e is `s c_j` with `c_j = cos(e, W_j)`; that of the own class is `s cos(angle + m)`
/// ([`MarginSoftmax::additive_angular`]) or `s (c - m)` ([`MarginSoftmax::additive`]). The bases W (S, D) are trained with the
/// encoder, as `classes.weight`.
///
/// For the angular margin the cosines are kept within `1 - 1e-7` of 0, beyond which no gradient flows: at 1 the slope of the
/// angle is infinite. (WeSpeaker does not, and divides by zero there.) An embedding or basis of zeros has cosine 0 with all.
///
/// # Source
/// Deng et al. 2019, "ArcFace", eq. 3; Wang et al. 2018, "Additive margin softmax", eq. 5; SpeechBrain's `nnet/losses.py` and
/// WeSpeaker's `models/projections.py` for the branch beyond 180 degrees.
#[derive(Debug)]
pub struct MarginSoftmax {
    form: Form,
    margin: f64,
    scale: f64,
    reduction: Reduction,
    weight: Var,
}

/// Cosines no larger than this have an angle with a slope.
const LARGEST: f64 = 1.0 - 1e-7;

impl MarginSoftmax {
    /// The additive angular margin (AAM-softmax, ArcFace), the bases drawn uniformly within `sqrt(6 / (S + D))`.
    ///
    /// # Errors
    /// [`LossError::InvalidOption`] for a margin or scale out of range, [`LossError::DataType`], [`LossError::Sizes`].
    pub fn additive_angular(options: &AamSoftmaxOptions, setting: &mut Setting<'_>) -> Result<Self, LossError> {
        Self::new(Form::Angle(options.beyond), options.margin, options.scale, Reduction::Mean, setting)
    }

    /// The additive margin (AM-softmax, CosFace), the bases drawn so too.
    ///
    /// # Errors
    /// As [`Self::additive_angular`].
    pub fn additive(options: &AmSoftmaxOptions, setting: &mut Setting<'_>) -> Result<Self, LossError> {
        Self::new(Form::Cosine, options.margin, options.scale, options.reduction, setting)
    }

    fn new(
        form: Form,
        margin: f64,
        scale: f64,
        reduction: Reduction,
        setting: &mut Setting<'_>,
    ) -> Result<Self, LossError> {
        check_options(form, margin, scale)?;
        if setting.classes < 2 {
            return Err(LossError::Sizes { dimension: setting.dimension, classes: setting.classes });
        }
        let bound = (6.0 / (setting.classes as f64 + setting.dimension as f64)).sqrt();
        let weight = setting.uniform_within(bound, &[setting.classes, setting.dimension])?;
        Ok(Self { form, margin, scale, reduction, weight })
    }

    /// The margin as it stands.
    #[must_use]
    pub fn margin(&self) -> f64 {
        self.margin
    }

    /// Cosines of each embedding (B, D) with each class: (B, S), differentiable; what a classifier ranks classes by.
    ///
    /// # Errors
    /// [`LossError::Tensor`] if the shapes do not fit.
    pub fn cosines(&self, embeddings: &Tensor) -> Result<Tensor, LossError> {
        Ok(ops::linear(&ops::unit_rows(embeddings)?, &ops::unit_rows(&self.weight)?, None)?)
    }

    /// The logits of a batch, the margin taken off where `targets` is 1.
    fn logits(&self, embeddings: &Tensor, targets: &Tensor) -> Result<Tensor, LossError> {
        let cosines = self.cosines(embeddings)?;
        let cosines = match self.form {
            Form::Angle(_) => bounded(&cosines)?,
            Form::Cosine => cosines,
        };
        let target = own(&cosines, targets)?;
        let lessened = match self.form {
            Form::Cosine => target.affine(1.0, -self.margin)?,
            Form::Angle(beyond) => lessened(&target, self.margin, beyond)?,
        };
        let (rows, classes) = cosines.dims2()?;
        let lessened = lessened.reshape((rows, 1))?.broadcast_as((rows, classes))?.contiguous()?;
        Ok(targets.where_cond(&lessened, &cosines)?.affine(self.scale, 0.0)?)
    }

    fn checked(&self, embeddings: &Tensor, labels: &Labels) -> Result<Tensor, LossError> {
        let (classes, dimension) = self.weight.dims2()?;
        check(embeddings, labels, dimension, self.weight.dtype())?;
        targets(labels, classes, embeddings)
    }
}

/// (B, S), 1 in the column of each row's class.
///
/// # Errors
/// [`LossError::Class`] if a label is not one of the `classes`.
fn targets(labels: &Labels, classes: usize, like: &Tensor) -> Result<Tensor, LossError> {
    check_classes(labels, classes)?;
    let speakers = labels.speakers();
    let columns = Tensor::arange(0, classes as u32, like.device())?.reshape((1, classes))?;
    let own = Tensor::from_slice(speakers, (speakers.len(), 1), like.device())?;
    Ok(columns.broadcast_eq(&own)?)
}

/// The entry of each row where `targets` is 1, (B).
fn own(values: &Tensor, targets: &Tensor) -> candle_core::Result<Tensor> {
    targets.where_cond(values, &values.zeros_like()?)?.sum(1)
}

/// Checks what a recipe says.
fn check_options(form: Form, margin: f64, scale: f64) -> Result<(), LossError> {
    let (most, need) = match form {
        Form::Angle(_) => (std::f64::consts::FRAC_PI_2, "in [0, pi / 2]"),
        Form::Cosine => (2.0, "in [0, 2]"),
    };
    if !(0.0..=most).contains(&margin) {
        return Err(LossError::InvalidOption { option: "margin", got: margin, need });
    }
    if !(scale.is_finite() && scale > 0.0) {
        return Err(LossError::InvalidOption { option: "scale", got: scale, need: "finite and above 0" });
    }
    Ok(())
}

/// Values outside of `+-LARGEST` become that bound, without a gradient.
fn bounded(cosines: &Tensor) -> candle_core::Result<Tensor> {
    let bound = if cosines.dtype() == DType::F64 { LARGEST } else { f64::from(LARGEST as f32) };
    let kept = cosines.detach().clamp(-bound, bound)?;
    // Compared so that not-a-number stays, up to the loss.
    let outside = cosines.abs()?.gt(bound)?;
    outside.where_cond(&kept, cosines)
}

/// `cos(angle + m)` of the cosines (B), and what stands for it where the angle passes 180 degrees.
fn lessened(c: &Tensor, m: f64, beyond: Beyond) -> candle_core::Result<Tensor> {
    let sine = c.sqr()?.affine(-1.0, 1.0)?.sqrt()?;
    let inside = (c.affine(m.cos(), 0.0)? - sine.affine(m.sin(), 0.0)?)?;
    let turned = std::f64::consts::PI - m;
    let outside = match beyond {
        Beyond::Sine => c.affine(1.0, -m * turned.sin())?,
        Beyond::Cosine => c.affine(1.0, -(1.0 + turned.cos()))?,
    };
    c.le(turned.cos())?.where_cond(&outside, &inside)
}

impl Objective for MarginSoftmax {
    fn loss(&self, embeddings: &Tensor, labels: &Labels) -> Result<Tensor, LossError> {
        let targets = self.checked(embeddings, labels)?;
        let terms = ops::cross_entropy(&self.logits(embeddings, &targets)?, labels.speakers())?;
        Ok(match self.reduction {
            Reduction::Sum => terms.sum_all()?,
            Reduction::Mean => terms.mean_all()?,
        })
    }

    fn parameters(&self) -> Vec<Parameter> {
        vec![Parameter::new("classes.weight", self.weight.clone())]
    }

    fn set_margin(&mut self, margin: f64) -> Result<(), LossError> {
        check_options(self.form, margin, self.scale)?;
        self.margin = margin;
        Ok(())
    }

    /// By cosines, without the margin.
    fn accuracy(&self, embeddings: &Tensor, labels: &Labels) -> Result<Option<f64>, LossError> {
        self.checked(embeddings, labels)?;
        Ok(Some(accuracy(&self.cosines(&embeddings.detach())?.detach(), labels)?))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn sine_wave() -> impl FnMut() -> f64 {
        let mut step = 0.0_f64;
        move || {
            step += 1.0;
            (step * 1.7).sin()
        }
    }

    fn build(options: &AamSoftmaxOptions, dtype: DType) -> Result<MarginSoftmax, LossError> {
        let mut uniform = sine_wave();
        let device = Device::Cpu;
        MarginSoftmax::additive_angular(
            options,
            &mut Setting { dimension: 3, classes: 4, dtype, device: &device, uniform: &mut uniform },
        )
    }

    #[test]
    fn bases_are_within_the_bound_of_glorot() {
        let loss = build(&AamSoftmaxOptions::default(), DType::F64).unwrap();
        let values = loss.parameters()[0].var.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let bound = (6.0_f64 / 7.0).sqrt();
        assert!(
            values.iter().all(|value| value.abs() <= bound) && values.iter().any(|value| value.abs() > 0.9 * bound)
        );
    }

    #[test]
    fn an_embedding_along_its_basis_is_known_and_loses_by_the_margin_alone() {
        let mut loss = build(&AamSoftmaxOptions::default(), DType::F64).unwrap();
        let embeddings = loss.weight.as_tensor().affine(3.0, 0.0).unwrap();
        let labels = Labels::new(vec![0, 1, 2, 3]);
        assert_eq!(loss.accuracy(&embeddings, &labels).unwrap(), Some(1.0));
        let others = Labels::new(vec![0, 1, 3, 2]);
        assert_eq!(loss.accuracy(&embeddings, &others).unwrap(), Some(0.5));
        let value = |loss: &MarginSoftmax| loss.loss(&embeddings, &labels).unwrap().to_scalar::<f64>().unwrap();
        let with = value(&loss);
        loss.set_margin(0.0).unwrap();
        assert!(with > value(&loss) && loss.margin() == 0.0);
        assert!(matches!(loss.set_margin(2.0), Err(LossError::InvalidOption { option: "margin", .. })));
    }

    fn additive(options: &AmSoftmaxOptions, classes: usize) -> Result<MarginSoftmax, LossError> {
        let mut uniform = sine_wave();
        let (dtype, device) = (DType::F64, Device::Cpu);
        MarginSoftmax::additive(
            options,
            &mut Setting { dimension: 3, classes, dtype, device: &device, uniform: &mut uniform },
        )
    }

    #[test]
    fn gradients_are_finite_differences() {
        let labels = Labels::new(vec![2, 0, 2]);
        let values = vec![0.9, -0.4, 0.3, -1.1, 0.2, 0.8, 0.5, 0.6, -0.7];
        let heo = AmSoftmaxOptions { margin: 0.35, scale: 5.0, reduction: Reduction::Sum };
        for loss in [
            additive(&heo, 4).unwrap(),
            additive(&AmSoftmaxOptions::default(), 4).unwrap(),
            build(&AamSoftmaxOptions::default(), DType::F64).unwrap(),
        ] {
            let embeddings = Var::from_vec(values.clone(), (3, 3), &Device::Cpu).unwrap();
            let value = || loss.loss(&embeddings, &labels).unwrap().to_scalar::<f64>().unwrap();
            let gradients = loss.loss(&embeddings, &labels).unwrap().backward().unwrap();
            for var in [&embeddings, &loss.weight] {
                let exact: Vec<f64> = gradients.get(var).unwrap().flatten_all().unwrap().to_vec1().unwrap();
                let start: Vec<f64> = var.flatten_all().unwrap().to_vec1().unwrap();
                for place in 0..start.len() {
                    let at = |step: f64| {
                        let mut moved = start.clone();
                        moved[place] += step;
                        var.set(&Tensor::from_vec(moved, var.shape(), &Device::Cpu).unwrap()).unwrap();
                        value()
                    };
                    let quotient = (at(1e-5) - at(-1e-5)) / 2e-5;
                    at(0.0);
                    assert!((quotient - exact[place]).abs() <= 1e-6 * (1.0 + quotient.abs()), "{quotient} {exact:?}");
                }
            }
        }
    }

    #[test]
    fn an_embedding_of_zeros_has_cosine_0_with_all_and_gets_no_gradient() {
        let heo = AmSoftmaxOptions { margin: 0.35, scale: 5.0, reduction: Reduction::Sum };
        let loss = additive(&heo, 4).unwrap();
        let zeros = Var::zeros((1, 3), DType::F64, &Device::Cpu).unwrap();
        let value = loss.loss(&zeros, &Labels::new(vec![1])).unwrap();
        // Cosines of 0, the own one less the margin: ln(3 + e^-1.75) + 1.75.
        let expected = (3.0 + (-1.75_f64).exp()).ln() + 1.75;
        assert!((value.to_scalar::<f64>().unwrap() - expected).abs() < 1e-12);
        let gradients = value.backward().unwrap();
        for var in [&zeros, &loss.weight] {
            let gradient: Vec<f64> = gradients.get(var).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            assert!(gradient.iter().all(|&value| value == 0.0), "{gradient:?}");
        }
    }

    #[test]
    fn one_speaker_is_nobody_to_be_told_from() {
        for classes in [0, 1] {
            let refused = additive(&AmSoftmaxOptions::default(), classes).unwrap_err();
            assert!(matches!(refused, LossError::Sizes { classes: got, .. } if got == classes), "{refused}");
        }
    }

    #[test]
    fn options_classes_and_shapes_out_of_range_are_refused() {
        for options in [
            AamSoftmaxOptions { margin: -0.1, ..AamSoftmaxOptions::default() },
            AamSoftmaxOptions { margin: f64::NAN, ..AamSoftmaxOptions::default() },
            AamSoftmaxOptions { scale: 0.0, ..AamSoftmaxOptions::default() },
            AamSoftmaxOptions { scale: f64::INFINITY, ..AamSoftmaxOptions::default() },
        ] {
            assert!(matches!(build(&options, DType::F32), Err(LossError::InvalidOption { .. })), "{options:?}");
        }
        assert!(matches!(build(&AamSoftmaxOptions::default(), DType::U32), Err(LossError::DataType { .. })));
        let loss = build(&AamSoftmaxOptions::default(), DType::F32).unwrap();
        let ones = |dims: &[usize]| Tensor::ones(dims, DType::F32, &Device::Cpu).unwrap();
        let refused = |dims: &[usize], classes: &[u32]| {
            loss.loss(&ones(dims), &Labels::new(classes.to_vec())).expect_err("no loss")
        };
        assert!(matches!(refused(&[2, 3], &[0, 4]), LossError::Class { row: 1, class: 4, classes: 4 }));
        assert!(matches!(refused(&[2, 3], &[0]), LossError::Dimension { rows: 1, dimension: 3, .. }));
        assert!(matches!(refused(&[2, 4], &[0, 1]), LossError::Dimension { .. }));
        assert!(matches!(refused(&[0, 3], &[]), LossError::Dimension { .. }));
        let double = ones(&[1, 3]).to_dtype(DType::F64).unwrap();
        assert!(matches!(loss.loss(&double, &Labels::new(vec![0])), Err(LossError::DataType { .. })));
    }
}

//! Losses over speaker bases, alone or added up: softmax, center, between-class and hard negatives on one matrix of bases.

mod between;
mod center;
mod hard;
mod options;
#[cfg(test)]
mod tests;

use candle_core::{Tensor, Var};
use sv_kernels::ops;

use crate::classes::{accuracy, check, check_classes};
use crate::{Labels, LossError, Objective, Parameter, Reduction, Setting};
use center::Centres;

pub use between::between_class;
pub use options::{BasesOptions, BetweenPart, CenterPart, HardPart, SoftmaxPart};

/// A weighted sum of losses that share the speaker bases W (S, D), the columns of the output layer of Heo et al. 2019.
///
/// With M rows e_i of class y_i, S classes and `cos` between vectors, each part as printed (`reduction = "sum"`) and what
/// `reduction = "mean"` divides it by:
///
/// | part | value | mean: divided by |
/// |---|---|---|
/// | `softmax` (eq. 1) | `-sum_i ln softmax_{y_i}(W e_i + b)` | M |
/// | `center` (eq. 2) | `lambda / 2 sum_i abs(e_i - c_{y_i})^2` | M |
/// | `between` (eq. 9) | `sum_i sum_{j not i} cos(W_i, W_j)` | S (S - 1) |
/// | `hard` (eq. 10) | `sum_i sum_{h in H_i} ln(1 + exp(cos(W_h, e_i) - cos(W_{y_i}, e_i)))` | M H |
///
/// `H_i` are the H classes other than y_i whose bases have the largest cosines with e_i, of equal ones the lower class; the
/// gradient takes them as given. Where there are no H others, all others are taken.
///
/// The centres c are not trained by gradients: [`Objective::after_step`] moves each class of the batch by
/// `-alpha sum_{y_i = k} (c_k - e_i) / (1 + count_k)` (eq. 3), from zeros at the start. A centre that no row is of stays, and
/// no gradient flows through one.
///
/// Trained with the encoder: `classes.weight` (S, D), drawn uniformly within `sqrt(6 / (S + D))`, and with `softmax`
/// `classes.bias` (S), zeros (Keras's defaults for a dense layer). The centres are a buffer, `classes.centres` (S, D).
///
/// An embedding or basis of zeros has cosine 0 with all and gets no gradient through it: such a row adds `H ln 2` to `hard`,
/// such a basis nothing to `between`.
///
/// # Source
/// Heo et al. 2019, "End-to-end losses based on speaker basis vectors and all-speaker hard negative mining for speaker
/// verification", eqs. 1 to 3, 9 and 10; how they were read is in `docs/heo2019.md`.
#[derive(Debug)]
pub struct SpeakerBases {
    options: BasesOptions,
    weight: Var,
    bias: Option<Var>,
    centres: Option<Centres>,
}

impl SpeakerBases {
    /// The sum that `options` name, its bases drawn.
    ///
    /// # Errors
    /// [`LossError::InvalidOption`], [`LossError::NoPart`] if neither `softmax` nor `hard` ties embeddings to bases,
    /// [`LossError::DataType`], [`LossError::Sizes`] for fewer than two classes.
    pub fn new(options: &BasesOptions, setting: &mut Setting<'_>) -> Result<Self, LossError> {
        options.check()?;
        let (classes, dimension) = (setting.classes, setting.dimension);
        if classes < 2 {
            return Err(LossError::Sizes { dimension, classes });
        }
        let bound = (6.0 / (classes as f64 + dimension as f64)).sqrt();
        let weight = setting.uniform_within(bound, &[classes, dimension])?;
        let bias = options.softmax.as_ref().map(|_| setting.constant(0.0, &[classes])).transpose()?;
        let centres = options.center.as_ref().map(|part| {
            let start = setting.constant(0.0, &[classes, dimension])?;
            Ok::<_, LossError>(Centres::new(start, part.alpha))
        });
        Ok(Self { options: options.clone(), weight, bias, centres: centres.transpose()? })
    }

    /// What it was made of.
    #[must_use]
    pub fn options(&self) -> &BasesOptions {
        &self.options
    }

    /// What each class is ranked by for embeddings (B, D), (B, S): logits where `softmax` is a part, else cosines.
    ///
    /// # Errors
    /// [`LossError::Tensor`] if the shapes do not fit.
    pub fn scores(&self, embeddings: &Tensor) -> Result<Tensor, LossError> {
        Ok(match &self.bias {
            Some(bias) => ops::linear(embeddings, &self.weight, Some(bias))?,
            None => ops::linear(&ops::unit_rows(embeddings)?, &ops::unit_rows(&self.weight)?, None)?,
        })
    }

    /// Each part's value, weighted and reduced, by the name it has in a recipe; differentiable.
    ///
    /// `embeddings`: (B, D), `labels`: B classes.
    ///
    /// # Errors
    /// As [`Objective::loss`].
    pub fn parts(&self, embeddings: &Tensor, labels: &Labels) -> Result<Vec<(&'static str, Tensor)>, LossError> {
        self.check(embeddings, labels)?;
        let (classes, _) = self.weight.dims2()?;
        let options = &self.options;
        let rows = labels.rows() as f64;
        let mut parts = Vec::new();
        if let Some(part) = &options.softmax {
            let sum = ops::cross_entropy(&self.scores(embeddings)?, labels.speakers())?.sum_all()?;
            parts.push(("softmax", self.reduced(&sum, part.weight, rows)?));
        }
        if let (Some(part), Some(centres)) = (&options.center, &self.centres) {
            let squares = centres.squares(embeddings, labels)?;
            parts.push(("center", self.reduced(&squares, part.lambda / 2.0, rows)?));
        }
        if let Some(part) = &options.between {
            let pairs = classes as f64 * (classes as f64 - 1.0);
            parts.push(("between", self.reduced(&between_class(&self.weight)?, part.weight, pairs)?));
        }
        if let Some(part) = &options.hard {
            let negatives = part.negatives.min(classes - 1);
            let sum = hard::of_unit(&ops::unit_rows(embeddings)?, &ops::unit_rows(&self.weight)?, labels, negatives)?;
            parts.push(("hard", self.reduced(&sum, part.weight, rows * negatives as f64)?));
        }
        Ok(parts)
    }

    fn reduced(&self, sum: &Tensor, weight: f64, terms: f64) -> Result<Tensor, LossError> {
        Ok(match self.options.reduction {
            Reduction::Sum => sum.affine(weight, 0.0)?,
            Reduction::Mean => sum.affine(weight / terms, 0.0)?,
        })
    }

    fn check(&self, embeddings: &Tensor, labels: &Labels) -> Result<(), LossError> {
        let (classes, dimension) = self.weight.dims2()?;
        check(embeddings, labels, dimension, self.weight.dtype())?;
        check_classes(labels, classes)
    }
}

impl Objective for SpeakerBases {
    fn loss(&self, embeddings: &Tensor, labels: &Labels) -> Result<Tensor, LossError> {
        let parts = self.parts(embeddings, labels)?;
        let values: Vec<&Tensor> = parts.iter().map(|(_, value)| value).collect();
        Ok(Tensor::stack(&values, 0)?.sum_all()?)
    }

    fn parameters(&self) -> Vec<Parameter> {
        let bias = self.bias.iter().map(|bias| Parameter::new("classes.bias", bias.clone()));
        std::iter::once(Parameter::new("classes.weight", self.weight.clone())).chain(bias).collect()
    }

    fn buffers(&self) -> Vec<Parameter> {
        let of = |centres: &Centres| Parameter::new("classes.centres", centres.var().clone());
        self.centres.iter().map(of).collect()
    }

    fn accuracy(&self, embeddings: &Tensor, labels: &Labels) -> Result<Option<f64>, LossError> {
        self.check(embeddings, labels)?;
        Ok(Some(accuracy(&self.scores(&embeddings.detach())?.detach(), labels)?))
    }

    /// Moves the centres (eq. 3), by the embeddings that the step was made with.
    fn after_step(&mut self, embeddings: &Tensor, labels: &Labels) -> Result<(), LossError> {
        self.check(embeddings, labels)?;
        match &self.centres {
            Some(centres) => centres.follow(embeddings, labels),
            None => Ok(()),
        }
    }
}

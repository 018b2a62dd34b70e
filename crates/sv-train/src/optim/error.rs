//! What can be wrong with an optimizer's options, gradients or restored state.

use candle_core::DType;

/// Why an optimizer could not be built, make a step, or go on from a saved state. Nothing has been changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptimizerError {
    /// An option outside its range.
    #[error("option `{option}` is {got}, it has to be {need}")]
    Option {
        /// Its name in a recipe.
        option: &'static str,
        /// The value given.
        got: f64,
        /// The range.
        need: &'static str,
    },
    /// A rule that would silently do nothing.
    #[error("the rule for {pattern:?} matches none of the parameters {}; correct the pattern or remove the rule", list(.names))]
    Rule {
        /// Its pattern.
        pattern: String,
        /// All that it could have matched.
        names: Vec<String>,
    },
    /// There is nothing to train.
    #[error("none of the {parameters} parameters is trained; give some, or freeze fewer")]
    NothingToTrain {
        /// How many were given, all of them frozen.
        parameters: usize,
    },
    /// A parameter given twice would make two steps.
    #[error("parameters {first:?} and {second:?} have one name or one variable; give each once")]
    Twice {
        /// The one given first.
        first: String,
        /// The other.
        second: String,
    },
    /// A parameter of a type that is not trained.
    #[error("parameter {name:?} is of type {}; only f32 and f64 are trained", .dtype.as_str())]
    DataType {
        /// The parameter.
        name: String,
        /// Its type.
        dtype: DType,
    },
    /// Parameters that the loss does not depend on.
    #[error("step {step}: no gradient for {}; is the loss computed from them? If they shall stay, add a rule with `frozen`", list(.names))]
    NoGradient {
        /// The step, counted from 0.
        step: u64,
        /// The parameters.
        names: Vec<String>,
    },
    /// A gradient with infinite values or not-a-number, or so large that its length is infinite.
    #[error("step {step}: the gradient of {name:?} is not finite; lower the rate, or look at the batch of this step")]
    NotFinite {
        /// The step, counted from 0.
        step: u64,
        /// The parameter.
        name: String,
    },
    /// A gradient or a tensor of a state that does not fit its parameter.
    #[error("{name:?} is {} of shape {got:?}, needed is {} of shape {need:?}", .got_type.as_str(), .need_type.as_str())]
    Form {
        /// The gradient's parameter, or the tensor of the state.
        name: String,
        /// Its axes.
        got: Vec<usize>,
        /// Its type.
        got_type: DType,
        /// The axes that fit.
        need: Vec<usize>,
        /// The type that fits.
        need_type: DType,
    },
    /// A state that is not this optimizer's.
    #[error("the state lacks {} and has unknown {}; is it of another recipe?", list(.missing), list(.unknown))]
    State {
        /// Tensors that are needed and not there.
        missing: Vec<String>,
        /// Tensors that are there and not needed, or there twice.
        unknown: Vec<String>,
    },
    /// candle refused an operation.
    #[error("{name:?}: {source}")]
    Tensor {
        /// The parameter, or the tensor of a state.
        name: String,
        /// What candle said.
        source: Box<candle_core::Error>,
    },
}

/// Names for a message: all of a few, the first of many.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 12;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("{name:?}")).collect();
    match names.len() {
        0 => "nothing".into(),
        count if count > SHOWN => format!("{} and {} more", shown.join(", "), count - SHOWN),
        _ => shown.join(", "),
    }
}

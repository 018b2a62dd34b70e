//! The names of a classifier's classes, one a line.

/// What is wrong with a list of labels.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabelProblem {
    /// More or fewer labels than classes.
    #[error("{got} labels for {need} classes")]
    Count {
        /// How many there are.
        got: usize,
        /// How many classes the classifier has.
        need: usize,
    },
    /// A label that is empty or has a line break in it.
    #[error("label {index}, {label:?}, cannot stand on a line of its own")]
    Unwritable {
        /// Its position, from 0.
        index: usize,
        /// The label.
        label: String,
    },
    /// A line of SpeechBrain's list that is none.
    #[error("line {line} is no `'label' => index`: {text:?}")]
    Line {
        /// The line, from 1.
        line: usize,
        /// What stands there, its beginning.
        text: String,
    },
    /// Two labels of SpeechBrain's list claim one class, or one claims a class beyond the last.
    #[error("line {line}: class {index} is taken or beyond the last of {count}")]
    Index {
        /// The line, from 1.
        line: usize,
        /// The class that it claims.
        index: usize,
        /// How many labels there are.
        count: usize,
    },
}

/// Whether `labels` are as many as classes and each can be written on a line.
pub(crate) fn check(labels: &[String], classes: usize) -> Result<(), LabelProblem> {
    if labels.len() != classes {
        return Err(LabelProblem::Count { got: labels.len(), need: classes });
    }
    match labels.iter().position(|label| label.is_empty() || label.contains(['\n', '\r'])) {
        Some(index) => Err(LabelProblem::Unwritable { index, label: labels[index].clone() }),
        None => Ok(()),
    }
}

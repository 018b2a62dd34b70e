//! What a recipe says of losses over speaker bases: which parts, with which weights.

use serde::{Deserialize, Serialize};

use crate::{LossError, Reduction};

/// The parts of the sum; a part that is left out does not count. The default has none and is refused: name at least
/// `softmax` or `hard`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BasesOptions {
    /// Sums as printed, or means.
    pub reduction: Reduction,
    /// Cross entropy of `W e + b` (eq. 1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub softmax: Option<SoftmaxPart>,
    /// Distance to the speaker's moving centre (eqs. 2 and 3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub center: Option<CenterPart>,
    /// Cosines between bases (eq. 9).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub between: Option<BetweenPart>,
    /// Hardest negatives among all bases (eq. 10).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hard: Option<HardPart>,
}

/// Options of eq. 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SoftmaxPart {
    /// Factor in the sum, above 0.
    pub weight: f64,
}

/// Options of eqs. 2 and 3; the default is the paper's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CenterPart {
    /// Twice the factor of the squared distances, above 0.
    pub lambda: f64,
    /// Share of eq. 3's difference that a centre moves by after each step, in `[0, 1]`.
    pub alpha: f64,
}

/// Options of eq. 9.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BetweenPart {
    /// Factor in the sum, above 0.
    pub weight: f64,
}

/// Options of eq. 10; the default is the paper's for VoxCeleb1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HardPart {
    /// H, the negatives an utterance; 1 or more. Where there are fewer other speakers, all of them.
    pub negatives: usize,
    /// Factor in the sum, above 0.
    pub weight: f64,
}

impl Default for SoftmaxPart {
    fn default() -> Self {
        Self { weight: 1.0 }
    }
}

impl Default for CenterPart {
    fn default() -> Self {
        Self { lambda: 0.001, alpha: 0.5 }
    }
}

impl Default for BetweenPart {
    fn default() -> Self {
        Self { weight: 1.0 }
    }
}

impl Default for HardPart {
    fn default() -> Self {
        Self { negatives: 100, weight: 1.0 }
    }
}

impl BasesOptions {
    /// Checks every number, and that embeddings and bases are tied together.
    pub(super) fn check(&self) -> Result<(), LossError> {
        if self.softmax.is_none() && self.hard.is_none() {
            return Err(LossError::NoPart {});
        }
        let weights = [
            ("softmax.weight", self.softmax.as_ref().map(|part| part.weight)),
            ("center.lambda", self.center.as_ref().map(|part| part.lambda)),
            ("between.weight", self.between.as_ref().map(|part| part.weight)),
            ("hard.weight", self.hard.as_ref().map(|part| part.weight)),
        ];
        for (option, weight) in weights {
            if let Some(got) = weight.filter(|weight| !(weight.is_finite() && *weight > 0.0)) {
                return Err(LossError::InvalidOption {
                    option,
                    got,
                    need: "finite and above 0; or leave the part out",
                });
            }
        }
        if let Some(got) = self.center.as_ref().map(|part| part.alpha).filter(|alpha| !(0.0..=1.0).contains(alpha)) {
            return Err(LossError::InvalidOption { option: "center.alpha", got, need: "in [0, 1]" });
        }
        match &self.hard {
            Some(part) if part.negatives == 0 => {
                Err(LossError::InvalidOption { option: "hard.negatives", got: 0.0, need: "1 or more" })
            }
            _ => Ok(()),
        }
    }
}

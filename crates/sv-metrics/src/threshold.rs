//! The score from which on two recordings count as one speaker, where that number comes from, and what follows from it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::MetricsError;

/// A score to decide at, the side on which equal scores fall, and where the number comes from.
///
/// The value is finite: other values are refused by [`Threshold::new`] and when read by serde.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Threshold {
    value: f64,
    acceptance: Acceptance,
    origin: ThresholdOrigin,
}

/// What serde reads before the value is checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    value: f64,
    acceptance: Acceptance,
    origin: ThresholdOrigin,
}

impl TryFrom<Unchecked> for Threshold {
    type Error = MetricsError;

    fn try_from(read: Unchecked) -> Result<Self, MetricsError> {
        Self::new(read.value, read.acceptance, read.origin)
    }
}

/// On which side a score falls that equals the threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Acceptance {
    /// Accept when score >= threshold.
    #[default]
    AtLeast,
    /// Accept when score > threshold, as SpeechBrain and the TensorFlow GE2E code do.
    Above,
}

impl Acceptance {
    /// Whether `score` is accepted at `threshold`. NaN on either side never is.
    #[must_use]
    pub fn accepts(self, score: f64, threshold: f64) -> bool {
        match self {
            Self::AtLeast => score >= threshold,
            Self::Above => score > threshold,
        }
    }
}

/// Where a threshold comes from. It travels with every verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ThresholdOrigin {
    /// The authors of the model give it.
    Published {
        /// Where they do: an address, a file, a paper.
        source: String,
    },
    /// Chosen on a list of trials.
    Calibrated {
        /// The list's name.
        list: String,
    },
    /// Given with this call.
    Caller,
}

impl fmt::Display for ThresholdOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Published { .. } => f.write_str("the model's default"),
            Self::Calibrated { list } => write!(f, "calibrated on {list}"),
            Self::Caller => f.write_str("given by the caller"),
        }
    }
}

/// What follows from a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// One speaker.
    Accept,
    /// Two speakers.
    Reject,
    /// No threshold is known, so the score stands alone.
    Undecided,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Accept => "accept",
            Self::Reject => "reject",
            Self::Undecided => "undecided",
        })
    }
}

impl Threshold {
    /// A threshold of a finite value.
    ///
    /// # Errors
    /// [`MetricsError::Threshold`] if `value` is NaN or infinite.
    pub fn new(value: f64, acceptance: Acceptance, origin: ThresholdOrigin) -> Result<Self, MetricsError> {
        if !value.is_finite() {
            return Err(MetricsError::Threshold { value });
        }
        Ok(Self { value, acceptance, origin })
    }

    /// The score to decide at.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.value
    }

    /// On which side a score falls that equals the value.
    #[must_use]
    pub fn acceptance(&self) -> Acceptance {
        self.acceptance
    }

    /// Where the value comes from.
    #[must_use]
    pub fn origin(&self) -> &ThresholdOrigin {
        &self.origin
    }

    /// Accept or reject; never undecided. A NaN score is rejected.
    #[must_use]
    pub fn decide(&self, score: f64) -> Verdict {
        if self.acceptance.accepts(score, self.value) { Verdict::Accept } else { Verdict::Reject }
    }
}

impl Verdict {
    /// The threshold's decision, or [`Verdict::Undecided`] where none is known.
    #[must_use]
    pub fn of(score: f64, threshold: Option<&Threshold>) -> Self {
        threshold.map_or(Self::Undecided, |threshold| threshold.decide(score))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(value: f64, acceptance: Acceptance) -> Threshold {
        Threshold::new(value, acceptance, ThresholdOrigin::Caller).expect("finite")
    }

    #[test]
    fn the_side_of_an_equal_score_is_part_of_the_threshold() {
        for (score, at_least, above) in [
            (0.25, Verdict::Accept, Verdict::Reject),
            (0.26, Verdict::Accept, Verdict::Accept),
            (0.24, Verdict::Reject, Verdict::Reject),
        ] {
            assert_eq!(at(0.25, Acceptance::AtLeast).decide(score), at_least);
            assert_eq!(at(0.25, Acceptance::Above).decide(score), above);
        }
    }

    #[test]
    fn nan_is_never_accepted_and_infinities_fall_on_their_side() {
        for acceptance in [Acceptance::AtLeast, Acceptance::Above] {
            let threshold = at(-1.0, acceptance);
            assert_eq!(threshold.decide(f64::NAN), Verdict::Reject);
            assert_eq!(threshold.decide(f64::INFINITY), Verdict::Accept);
            assert_eq!(threshold.decide(f64::NEG_INFINITY), Verdict::Reject);
        }
    }

    #[test]
    fn without_a_threshold_a_score_is_undecided() {
        assert_eq!(Verdict::of(0.9, None), Verdict::Undecided);
        assert_eq!(Verdict::of(0.9, Some(&at(0.5, Acceptance::AtLeast))), Verdict::Accept);
    }

    #[test]
    fn a_threshold_that_is_not_finite_is_refused() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let error = Threshold::new(value, Acceptance::AtLeast, ThresholdOrigin::Caller).expect_err("not finite");
            assert!(matches!(error, MetricsError::Threshold { .. }), "{error}");
        }
    }

    #[test]
    fn a_threshold_survives_json_and_says_where_it_comes_from() {
        for (origin, json, words) in [
            (
                ThresholdOrigin::Published { source: "model card".to_string() },
                r#"{"published":{"source":"model card"}}"#,
                "the model's default",
            ),
            (
                ThresholdOrigin::Calibrated { list: "dev".to_string() },
                r#"{"calibrated":{"list":"dev"}}"#,
                "calibrated on dev",
            ),
            (ThresholdOrigin::Caller, r#""caller""#, "given by the caller"),
        ] {
            assert_eq!(origin.to_string(), words);
            let threshold = Threshold::new(0.25, Acceptance::Above, origin).expect("finite");
            let text = serde_json::to_string(&threshold).expect("json");
            assert_eq!(text, format!(r#"{{"value":0.25,"acceptance":"above","origin":{json}}}"#));
            assert_eq!(serde_json::from_str::<Threshold>(&text).expect("json"), threshold);
        }
        assert_eq!(serde_json::to_string(&Verdict::Undecided).expect("json"), r#""undecided""#);
        assert_eq!(format!("{:>10}", Verdict::Accept), "    accept");
    }

    #[test]
    fn unknown_keys_and_values_that_are_not_finite_are_not_read() {
        for (text, complaint) in [
            (r#"{"value":0.2,"acceptance":"above","origin":"caller","side":1}"#, "unknown field `side`"),
            (
                r#"{"value":0.2,"acceptance":"above","origin":{"published":{"source":"a","by":"b"}}}"#,
                "unknown field `by`",
            ),
            (r#"{"value":0.2,"acceptance":"at least","origin":"caller"}"#, "unknown variant `at least`"),
            (r#"{"value":0.2,"origin":"caller"}"#, "missing field `acceptance`"),
            (r#"{"value":null,"acceptance":"above","origin":"caller"}"#, "invalid type: null"),
        ] {
            let error = serde_json::from_str::<Threshold>(text).expect_err(text).to_string();
            assert!(error.contains(complaint), "{error}");
        }
        // JSON has no infinity, TOML does: the check is in `try_from`, whatever the format.
        let error = toml::from_str::<Threshold>("value = inf\nacceptance = \"above\"\norigin = \"caller\"\n");
        assert!(error.expect_err("infinite").to_string().contains("a threshold of inf decides nothing"));
    }
}

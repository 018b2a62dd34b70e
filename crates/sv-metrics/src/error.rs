//! What can go wrong between a trial list and an error rate.

use std::fmt;

use crate::TrialFormat;

/// Errors of this crate. Each says where, what was found and what was needed, and how to mend it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// A list without a single trial.
    #[error("the trial list holds no trial; a line of it reads `{}`", .format.example())]
    NoTrials {
        /// The format that was asked for.
        format: TrialFormat,
    },
    /// A line with too few or too many fields.
    #[error("line {line}: {got} fields, one of this format holds {need} and reads `{}` (names may not hold white space): {content}", .format.example())]
    Fields {
        /// Line number, from 1.
        line: usize,
        /// Fields found.
        got: usize,
        /// Fields needed.
        need: usize,
        /// The format that was asked for.
        format: TrialFormat,
        /// The line, control characters escaped, shortened if long.
        content: String,
    },
    /// A label that the format does not know.
    #[error("line {line}: label `{label}`, this format's are {}; choose the list's own format or mend the line: {content}", .format.labels())]
    Label {
        /// Line number, from 1.
        line: usize,
        /// What stands where the label is expected, escaped and shortened.
        label: String,
        /// The format that was asked for.
        format: TrialFormat,
        /// The line, control characters escaped, shortened if long.
        content: String,
    },
    /// A line that is not UTF-8 or holds control characters: not a line of text.
    #[error(
        "line {line}: byte {byte} of the line is no plain text in UTF-8; save the list as UTF-8 without control characters: {content}"
    )]
    NotText {
        /// Line number, from 1.
        line: usize,
        /// Position of the first such byte in the line, from 1.
        byte: usize,
        /// The line, undecodable bytes replaced, control characters escaped, shortened if long.
        content: String,
    },
    /// A file name that a trial list cannot hold.
    #[error(
        "trial {trial}: the name `{name}` is empty or holds white space or control characters, which a list cannot hold; rename the file"
    )]
    Name {
        /// Position of the trial, from 0.
        trial: usize,
        /// The name, escaped and shortened.
        name: String,
    },
    /// A trial without a label, where error rates or a format with labels were asked for.
    #[error(
        "trial {trial} has no label, so neither an error rate nor a line with a label can be made of it; use a list that says which trials are targets"
    )]
    Unlabelled {
        /// Position of the first such trial, from 0.
        trial: usize,
    },
    /// Two lists that belong together differ in length.
    #[error("{got} {what} for {need} trials; give one for each, in the order of the list")]
    Count {
        /// What there is one of for each trial.
        what: &'static str,
        /// How many were given.
        got: usize,
        /// How many trials there are.
        need: usize,
    },
    /// A score is NaN or infinite.
    #[error("score {index} is {value}, not a finite number; leave the trial out or find out why it has no score")]
    ScoreNotFinite {
        /// Position of the first such score, from 0.
        index: usize,
        /// Its value.
        value: f64,
    },
    /// Targets or non-targets are missing: one of the two rates has no meaning.
    #[error("{targets} targets and {non_targets} non-targets; error rates need at least one of each")]
    OneKind {
        /// Number of targets.
        targets: usize,
        /// Number of non-targets.
        non_targets: usize,
    },
    /// Two embeddings of different sizes.
    #[error("embeddings of {left} and {right} values cannot be compared; both must come from one model")]
    Dimensions {
        /// Values in the left one.
        left: usize,
        /// Values in the right one.
        right: usize,
    },
    /// A value of an embedding is NaN or infinite.
    #[error("value {index} of the {side} embedding is {value}, not a finite number; the model or its input is broken")]
    EmbeddingNotFinite {
        /// Which of the two.
        side: Side,
        /// Position of the first such value.
        index: usize,
        /// The value.
        value: f32,
    },
    /// An embedding without direction: all zeros, or empty.
    #[error("the {side} embedding ({dimension} values) is zero and has no direction; was the recording silent?")]
    ZeroEmbedding {
        /// Which of the two.
        side: Side,
        /// How many values it has.
        dimension: usize,
    },
    /// A threshold that is NaN or infinite.
    #[error("a threshold of {value} decides nothing; give a finite number")]
    Threshold {
        /// Its value.
        value: f64,
    },
    /// A cost model out of range.
    #[error(
        "target prior {target_prior}, cost of a miss {miss_cost}, of a false alarm {false_alarm_cost}; the prior must lie between 0 and 1, both excluded, and the costs must be positive and of a size that f64 can weigh"
    )]
    Costs {
        /// Share of targets that is expected in use.
        target_prior: f64,
        /// Cost of rejecting a target.
        miss_cost: f64,
        /// Cost of accepting a non-target.
        false_alarm_cost: f64,
    },
    /// Settings of the bootstrap out of range.
    #[error(
        "{resamples} resamples at level {level}; at least one is needed, and the level must lie between 0 and 1, both excluded"
    )]
    Bootstrap {
        /// Number of resamples.
        resamples: usize,
        /// Share of resamples that the interval is to hold.
        level: f64,
    },
    /// All trials are of one speaker: resampling speakers changes nothing.
    #[error("{speakers} speaker in all trials; an interval over speakers needs at least two")]
    Speakers {
        /// How many there are.
        speakers: usize,
    },
    /// No resample held both targets and non-targets.
    #[error(
        "none of {resamples} resamples of {speakers} speakers held both targets and non-targets; use a list with more speakers"
    )]
    NoResample {
        /// How many were drawn.
        resamples: usize,
        /// Number of speakers.
        speakers: usize,
    },
    /// A similarity array of another size than its three axes.
    #[error(
        "{got} similarities for {speakers} speakers of {utterances} utterances each, {speakers} x {utterances} x {speakers} are needed, of two speakers and one utterance at least"
    )]
    Similarity {
        /// Values given.
        got: usize,
        /// Speakers, N.
        speakers: usize,
        /// Utterances of each, M.
        utterances: usize,
    },
    /// A cohort, or a mean, of nobody.
    #[error("the cohort is empty; scores are normalised by at least two other recordings or speakers")]
    EmptyCohort,
    /// All scores against a cohort are the same: there is no unit to tell a score in.
    #[error(
        "the {scores} scores that count of the cohort's are all {value}, so they have no deviation; take more of them, or a cohort of different recordings"
    )]
    CohortDeviation {
        /// How many count.
        scores: usize,
        /// The value of each.
        value: f64,
    },
    /// Settings of a t-SNE out of range.
    #[error("t-SNE with a {setting} of {value}; it must be {need}")]
    TsneSetting {
        /// Which setting.
        setting: &'static str,
        /// Its value.
        value: f64,
        /// What is allowed.
        need: &'static str,
    },
    /// More or fewer points than a t-SNE can lay out.
    #[error(
        "t-SNE of {points} points with a perplexity of {perplexity}; it takes more than three times the perplexity and at most {most} points: lower the perplexity, or lay out more or fewer points"
    )]
    TsnePoints {
        /// How many were given.
        points: usize,
        /// The perplexity.
        perplexity: f64,
        /// The most.
        most: usize,
    },
    /// A point of another size than the first, or without values.
    #[error("point {point} has {got} values, {need} are needed; all points must come from one model")]
    PointSize {
        /// Position of the point, from 0.
        point: usize,
        /// How many values it has.
        got: usize,
        /// How many the first has; one at least.
        need: usize,
    },
    /// A value of a point is NaN or infinite.
    #[error("value {index} of point {point} is {value}, not a finite number; the model or its input is broken")]
    PointNotFinite {
        /// Position of the point, from 0.
        point: usize,
        /// Position of the value in it.
        index: usize,
        /// The value.
        value: f32,
    },
}

/// Which of the two embeddings of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The first argument.
    Left,
    /// The second argument.
    Right,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Left => "left",
            Self::Right => "right",
        })
    }
}

/// Longest piece of foreign text in a message, in characters before escaping.
const SHOWN: usize = 80;

/// `text` fit for a terminal and a log: control characters escaped, cut after 80 characters.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).flat_map(escaped).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push_str("...");
    }
    shown
}

/// Letters of every script stay as they are; what could steer a terminal or hide in a log does not.
fn escaped(character: char) -> impl Iterator<Item = char> {
    let keep = !character.is_control() && !is_format(character);
    let (plain, code) = if keep { (Some(character), None) } else { (None, Some(character.escape_default())) };
    plain.into_iter().chain(code.into_iter().flatten())
}

/// Invisible characters that reorder or hide what is beside them (bidirectional controls, zero-width, byte order mark).
fn is_format(character: char) -> bool {
    matches!(character, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

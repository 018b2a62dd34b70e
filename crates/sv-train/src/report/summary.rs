//! All that a report shows of one run, as plain data: gathered after training, kept as JSON, drawn and printed later or elsewhere.

use serde::{Deserialize, Serialize};

use super::number;

/// A training and how well its encoder tells speakers apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSummary {
    /// Heading of its section.
    pub title: String,
    /// Name of the recipe.
    pub recipe: String,
    /// Hash of the recipe, hexadecimal.
    pub recipe_hash: String,
    /// What it was trained on.
    pub corpus: Corpus,
    /// Seed of all its random streams.
    pub seed: u64,
    /// Steps done.
    pub steps: u64,
    /// Time it took, in minutes.
    pub minutes: f64,
    /// Number of trained parameters.
    pub parameters: u64,
    /// Name of the front end.
    pub front_end: String,
    /// The encoder and its sizes, in words.
    pub encoder: String,
    /// Loss by step; any length, plots thin it.
    pub loss: Vec<CurvePoint>,
    /// Evaluations on the way, step 0 first if the untrained network was rated.
    pub evaluations: Vec<ProgressPoint>,
    /// Rating on the full list of trials.
    pub trials: Option<TrialSummary>,
    /// Other systems on the same trials.
    pub baselines: Vec<Baseline>,
    /// The enrol and verify protocol of the TensorFlow GE2E code.
    pub protocol: Option<ProtocolSummary>,
    /// Figures from papers and other code, to stand beside ours.
    pub published: Vec<PublishedFigure>,
    /// What a reader must know to judge the figures.
    pub notes: Vec<String>,
}

/// The recordings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Corpus {
    /// Its name.
    pub name: String,
    /// Whether its voices were made by a program. Then every page and every plot says so.
    pub synthetic: bool,
}

/// A point of a curve over steps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CurvePoint {
    /// Steps done.
    pub step: u64,
    /// Value after them; what is not finite is counted, not drawn.
    #[serde(with = "number")]
    pub value: f64,
}

/// The equal error rate at some step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgressPoint {
    /// Steps done; 0 is the untrained network.
    pub step: u64,
    /// Equal error rate, as a fraction.
    #[serde(with = "number")]
    pub eer: f64,
    /// Its 95 % interval.
    pub interval: Option<[f64; 2]>,
}

/// Figures of a list of trials. [`TrialSummary::from_scores`] makes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialSummary {
    /// Equal error rate, as a fraction.
    pub eer: f64,
    /// Its 95 % interval by resampling the speakers.
    pub interval: Option<[f64; 2]>,
    /// Least normalised detection cost, both costs 1.
    pub min_dcf: f64,
    /// Prior of a target in that cost.
    pub target_prior: f64,
    /// Score at which the equal error rate is reached.
    #[serde(with = "number")]
    pub threshold: f64,
    /// Number of trials.
    pub trials: usize,
    /// Number of targets among them.
    pub targets: usize,
    /// Points of the DET curve, (FAR, FRR) as fractions, from accepting nothing to accepting everything.
    pub det: Vec<[f64; 2]>,
    /// How the scores spread.
    pub histogram: Histogram,
}

/// Counts of scores in bins of equal width over `[low, high]`; a score on an inner edge is in the upper bin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Histogram {
    /// Lower edge of the first bin.
    pub low: f64,
    /// Upper edge of the last bin.
    pub high: f64,
    /// Targets in each bin.
    pub targets: Vec<u64>,
    /// Non-targets in each bin.
    pub non_targets: Vec<u64>,
}

/// Another system on the same trials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// What it is, such as `LDA`.
    pub name: String,
    /// Equal error rate, as a fraction.
    #[serde(with = "number")]
    pub eer: f64,
    /// Its 95 % interval.
    pub interval: Option<[f64; 2]>,
}

/// The test of the TensorFlow GE2E code: N speakers enrolled with M utterances each, M other utterances of each against all of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProtocolSummary {
    /// Names of the N speakers.
    pub speakers: Vec<String>,
    /// M, the utterances that each speaker is verified with.
    pub utterances: usize,
    /// (N M, N): cosine of a verification utterance and an enrolled speaker, the first speaker's M utterances first.
    #[serde(with = "number::rows")]
    pub similarity: Vec<Vec<f64>>,
    /// Equal error rate on the grid of thresholds 0.50 to 0.99, as a fraction.
    pub eer: f64,
    /// The threshold of that grid.
    pub threshold: f64,
    /// Share of the others that is accepted there.
    pub far: f64,
    /// Share of a speaker's own utterances that is rejected there.
    pub frr: f64,
}

/// A figure that others printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedFigure {
    /// Whose.
    pub system: String,
    /// Of what: the quantity and the data.
    pub what: String,
    /// The figure as printed there, with its unit.
    pub value: String,
    /// Where it is printed.
    pub source: String,
}

impl RunSummary {
    /// What the data was, for captions: the name, and that the voices are synthetic where they are.
    #[must_use]
    pub fn data(&self) -> String {
        let Corpus { name, synthetic } = &self.corpus;
        if *synthetic { format!("{name}, synthetic voices") } else { name.clone() }
    }
}

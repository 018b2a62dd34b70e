//! `sv verify`: two recordings, or one and an enrolled speaker; one verdict.

use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;
use speaker_verification::metrics::{Acceptance, ThresholdOrigin};
use speaker_verification::{Embedding, Enrolment, Error, Threshold, Verdict};

use crate::{ModelArguments, log_warnings, output};

/// Exit status: 0 accept, 1 reject, 3 undecided (no threshold known), 2 error.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Two recordings; one with --enrolment
    #[arg(required = true, num_args = 1..=2, value_names = ["A", "B"])]
    recordings: Vec<PathBuf>,
    /// Compare with the speaker that `sv enrol` wrote to this file
    #[arg(long, value_name = "FILE")]
    enrolment: Option<PathBuf>,
    /// Accept at this score or above [default: the model's threshold, if it has one]
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    threshold: Option<f64>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer {
    score: f64,
    threshold: Option<f64>,
    threshold_origin: Option<String>,
    verdict: Verdict,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut model = arguments.model.load()?;
    if let Some(value) = arguments.threshold {
        let threshold = Threshold::new(value, Acceptance::AtLeast, ThresholdOrigin::Caller)?;
        model = model.with_threshold(Some(threshold));
    }
    let embed = |path: &PathBuf| -> Result<Embedding, Error> {
        let utterance = model.embed_file(path)?;
        log_warnings(path, &utterance);
        Ok(utterance.embedding)
    };
    let found = match (&arguments.enrolment, arguments.recordings.as_slice()) {
        (Some(enrolment), [recording]) => model.verify_enrolled(&Enrolment::load(enrolment)?, &embed(recording)?)?,
        (None, [a, b]) => {
            let (a, b) = rayon::join(|| embed(a), || embed(b));
            model.compare(&a?, &b?)?
        }
        (Some(_), _) => anyhow::bail!("with --enrolment, name one recording"),
        (None, _) => anyhow::bail!("name two recordings, or one and --enrolment FILE"),
    };
    let answer = Answer {
        score: found.score,
        threshold: found.threshold.as_ref().map(Threshold::value),
        threshold_origin: found.threshold.as_ref().map(|threshold| threshold.origin().to_string()),
        verdict: found.verdict,
    };
    if arguments.json {
        output::json(&answer)?;
    } else {
        output::line(&answer.to_string())?;
    }
    Ok(ExitCode::from(match answer.verdict {
        Verdict::Accept => 0,
        Verdict::Reject => 1,
        Verdict::Undecided => 3,
    }))
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}  score {:.4}", self.verdict, self.score)?;
        match (self.threshold, &self.threshold_origin) {
            (Some(threshold), Some(origin)) => write!(f, "  threshold {threshold:.4} ({origin})"),
            _ => write!(f, "  no threshold known; name one with --threshold"),
        }
    }
}

//! What a finished run has to tell, gathered for its report and kept beside it as `summary.json`.

use std::fs;
use std::path::Path;

use sv_metrics::dcf::CostModel;
use sv_models::EncoderConfig;
use sv_models::checkpoint::write_whole;
use sv_models::encoders::lstm::{Head, LstmConfig};

use crate::error::not_written;
use crate::evaluate::{ProtocolResult, TrialResult};
use crate::report::{
    Corpus, CurvePoint, ProgressPoint, ProtocolSummary, PublishedFigure, RunSummary, TrialSummary, read_metrics,
};
use crate::session::{Finished, Judgement};
use crate::{Recipe, TrainError};

const FILE: &str = "summary.json";

/// Gathers what a report shows of a run that is finished and judged.
///
/// # Errors
/// [`TrainError::Read`] if the run's metrics cannot be read back.
pub fn of_run(recipe: &Recipe, finished: &Finished, judgement: &Judgement) -> Result<RunSummary, TrainError> {
    let metrics = read_metrics(&finished.run.folder().join("metrics.jsonl"))?;
    let point = |(step, result): &(u64, TrialResult)| ProgressPoint {
        step: *step,
        eer: result.eer.rate,
        interval: result.interval.map(|interval| [interval.low, interval.high]),
    };
    Ok(RunSummary {
        title: recipe.name.clone(),
        recipe: recipe.name.clone(),
        recipe_hash: recipe.hash()?,
        corpus: Corpus { name: finished.corpus.clone(), synthetic: finished.synthetic },
        seed: recipe.seed,
        steps: finished.step,
        minutes: finished.seconds / 60.0,
        parameters: recipe.encoder.parameters() as u64,
        front_end: recipe.front_end.build()?.name,
        encoder: in_words(&recipe.encoder),
        loss: metrics.iter().map(|line| CurvePoint { step: line.step, value: line.loss }).collect(),
        evaluations: judgement.curve.iter().map(point).collect(),
        trials: match judgement.lists.first() {
            Some(result) => Some(trials(result)?),
            None => None,
        },
        baselines: Vec::new(),
        protocol: judgement.protocol.as_ref().map(protocol),
        published: published(),
        notes: Vec::new(),
    })
}

fn trials(result: &TrialResult) -> Result<TrialSummary, TrainError> {
    let interval = result.interval.map(|interval| [interval.low, interval.high]);
    Ok(TrialSummary::from_scores(&result.scored, interval, &CostModel::with_prior(0.01)?))
}

fn protocol(result: &ProtocolResult) -> ProtocolSummary {
    ProtocolSummary {
        speakers: result.speakers.clone(),
        utterances: result.utterances,
        similarity: result.similarity.chunks(result.speakers.len().max(1)).map(<[f64]>::to_vec).collect(),
        eer: result.test.eer,
        threshold: result.test.threshold,
        far: result.test.far,
        frr: result.test.frr,
    }
}

fn in_words(encoder: &EncoderConfig) -> String {
    let EncoderConfig::Lstm(LstmConfig { bins, layers, hidden, projection, head, .. }) = encoder else {
        return "another encoder".to_owned();
    };
    let projection = projection.map_or(String::new(), |size| format!(" projected to {size}"));
    let head = match head {
        Head::None => String::new(),
        Head::Linear { size } => format!(", linear {size}"),
        Head::LinearRelu { size } => format!(", linear {size}, ReLU"),
    };
    format!("LSTM, {bins} bands -> {layers} x {hidden}{projection}{head}")
}

/// What others print of this system. Recordings of people, other trials: beside ours for orientation, not to be compared.
fn published() -> Vec<PublishedFigure> {
    let figure = |system: &str, what: &str, value: &str, source: &str| PublishedFigure {
        system: system.to_owned(),
        what: what.to_owned(),
        value: value.to_owned(),
        source: source.to_owned(),
    };
    vec![
        figure(
            "TensorFlow code",
            "TD-SV, EER of one batch of 4 speakers x 5 utterances, VCTK, 60,000 iterations",
            "0",
            "README of Janghyun1230/Speaker_Verification",
        ),
        figure(
            "TensorFlow code",
            "TI-SV, EER of one batch of 4 speakers x 5 utterances, VCTK, 60,000 iterations",
            "0.09",
            "README of Janghyun1230/Speaker_Verification",
        ),
        figure("Wan et al. 2017", "TD-SV, average EER, GE2E with MultiReader", "2.38 %", "Table 2"),
        figure("Wan et al. 2017", "TI-SV, EER, GE2E", "3.55 %", "Table 3"),
    ]
}

/// Writes `summary.json` into the run's folder.
///
/// # Errors
/// [`TrainError::Write`] if it cannot be written.
pub fn save(run: &Path, summary: &RunSummary) -> Result<(), TrainError> {
    let path = run.join(FILE);
    let text =
        serde_json::to_vec_pretty(summary).map_err(|source| TrainError::Summary { path: path.clone(), source })?;
    write_whole(&path, |out| out.write_all(&text)).map_err(|error| not_written(&path, error))
}

/// Reads `summary.json` from the run's folder.
///
/// # Errors
/// [`TrainError::NoSummary`] if the run is not finished; [`TrainError::Summary`] if the file is damaged.
pub fn load(run: &Path) -> Result<RunSummary, TrainError> {
    let path = run.join(FILE);
    if !path.is_file() {
        return Err(TrainError::NoSummary { folder: run.to_owned() });
    }
    let text = fs::read(&path).map_err(|source| TrainError::Read { path: path.clone(), source })?;
    serde_json::from_slice(&text).map_err(|source| TrainError::Summary { path, source })
}

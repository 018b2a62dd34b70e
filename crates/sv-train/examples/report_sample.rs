//! Writes a report of two made-up runs, to look at: `cargo run -p sv-train --example report_sample -- FOLDER`.
//!
//! No figure in it was measured.

use std::error::Error;
use std::path::Path;

use sv_metrics::ScoredTrials;
use sv_metrics::dcf::CostModel;
use sv_metrics::rates::probit;
use sv_train::report::{
    Baseline, Corpus, CurvePoint, EventFile, ProgressPoint, ProtocolSummary, PublishedFigure, RunSummary, TrialSummary,
    write,
};

/// The fractional parts of multiples of the golden ratio: spread like random numbers, the same everywhere.
fn spread(index: usize) -> f64 {
    ((index as f64 + 0.5) * 0.618_033_988_749_895).fract()
}

fn normal(index: usize) -> f64 {
    probit(spread(index))
}

fn trials(distance: f64) -> Result<TrialSummary, Box<dyn Error>> {
    let targets: Vec<f64> = (0..600).map(|i| (0.35 + 0.12 * (distance + normal(i))).min(0.99)).collect();
    let non_targets: Vec<f64> = (0..5400).map(|i| 0.35 + 0.12 * normal(i + 600)).collect();
    let scored = ScoredTrials::from_kinds(&targets, &non_targets)?;
    let mut summary = TrialSummary::from_scores(&scored, None, &CostModel::with_prior(0.01)?);
    summary.interval = Some([summary.eer * 0.75, summary.eer * 1.35]);
    Ok(summary)
}

fn run(title: &str, recipe: &str, distance: f64, scale: f64) -> Result<RunSummary, Box<dyn Error>> {
    let trials = trials(distance)?;
    let steps = 4000;
    let loss = (1..=steps).map(|step| {
        let noise = (0.5 * normal(step as usize)).exp();
        CurvePoint { step, value: scale * (0.4 * noise + 24.0 * (-(step as f64) / 350.0).exp()) }
    });
    let progress = |share: f64| {
        let eer = trials.eer + (0.44 - trials.eer) * (-5.0 * share).exp();
        ProgressPoint { step: (share * steps as f64) as u64, eer, interval: Some([eer * 0.85, eer * 1.2]) }
    };
    let speakers = ["alder", "birch", "cedar", "dogwood"];
    let similarity = (0..20).map(|row| {
        let cosine = |column: usize| (if row / 5 == column { 0.82 } else { 0.38 }) + 0.08 * normal(row * 4 + column);
        (0..4).map(cosine).collect()
    });
    let protocol = ProtocolSummary {
        speakers: speakers.map(String::from).to_vec(),
        utterances: 5,
        similarity: similarity.collect(),
        eer: 0.025,
        threshold: 0.62,
        far: 0.0,
        frr: 0.05,
    };
    let published = PublishedFigure {
        system: "TensorFlow GE2E code".to_string(),
        what: "EER, 4 speakers with 5 utterances each".to_string(),
        value: "0.09 (a fraction)".to_string(),
        source: "its README".to_string(),
    };
    Ok(RunSummary {
        title: title.to_string(),
        recipe: recipe.to_string(),
        recipe_hash: "3f9a6c1d20b4".to_string(),
        corpus: Corpus { name: "made-up corpus".to_string(), synthetic: true },
        seed: 1,
        steps,
        minutes: 21.4,
        parameters: 210_434,
        front_end: "tf-ge2e (8 kHz, 40 mels)".to_string(),
        encoder: "LSTM with projection, 3 layers, 128 cells, 64 outputs".to_string(),
        loss: loss.collect(),
        evaluations: [0.0, 0.25, 0.5, 0.75, 1.0].map(progress).to_vec(),
        baselines: vec![Baseline { name: "LDA".to_string(), eer: 0.118, interval: Some([0.097, 0.141]) }],
        trials: Some(trials),
        protocol: Some(protocol),
        published: vec![published],
        notes: vec!["All figures of this page are made up, to look at the page.".to_string()],
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("name the folder to write to")?;
    let runs = [run("Text-independent", "ti-softmax", 2.9, 1.0)?, run("Text-dependent", "td-softmax", 3.9, 0.6)?];
    write(&runs, Path::new(&folder))?;
    // The loss for TensorBoard too, with a time that no clock gave.
    let mut events = EventFile::create(Path::new(&folder), 1.7e9)?;
    for point in &runs[0].loss {
        events.scalars(
            1.7e9 + point.step as f64 * 0.25,
            point.step,
            &[("loss", point.value as f32), ("ge2e.w", 10.0)],
        )?;
    }
    Ok(())
}

//! What a report says, apart from how it is marked up: headings, tables, figures and notes, the same for Markdown and HTML.

use std::collections::BTreeSet;

use super::plots::{self, DetSeries, grouped, percent};
use super::summary::{Baseline, ProtocolSummary, RunSummary, TrialSummary};
use crate::TrainError;

/// A report, block by block.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) title: String,
    pub(super) blocks: Vec<Block>,
}

#[derive(Debug)]
pub(super) enum Block {
    /// A heading; the page's title is level 1.
    Heading(u8, String),
    Paragraph(String),
    /// Set apart from the text: what must not be missed.
    Warning(String),
    Table {
        head: Vec<&'static str>,
        rows: Vec<Vec<String>>,
    },
    Figure(Figure),
    List(Vec<String>),
}

/// A plot.
#[derive(Debug)]
pub(super) struct Figure {
    /// Name of its file: letters, digits, hyphens, `.svg`.
    pub(super) file: String,
    pub(super) svg: String,
    pub(super) caption: String,
}

impl Content {
    pub(super) fn of(summaries: &[RunSummary]) -> Result<Self, TrainError> {
        let title = match summaries {
            [one] => one.title.clone(),
            _ => format!("Training report: {} runs", summaries.len()),
        };
        let mut blocks = Vec::new();
        let synthetic: BTreeSet<&str> =
            summaries.iter().filter(|run| run.corpus.synthetic).map(|run| run.corpus.name.as_str()).collect();
        if !synthetic.is_empty() {
            let names = synthetic.into_iter().collect::<Vec<_>>().join(", ");
            blocks.push(Block::Warning(format!(
                "Synthetic voices: {names} was made by a program. Its error rates say that training works, not how well people are told apart."
            )));
        }
        blocks.push(Block::Heading(2, "Figures".to_string()));
        if summaries.is_empty() {
            blocks.push(Block::Paragraph("No run is reported.".to_string()));
        } else {
            blocks.push(Block::Table {
                head: vec!["system", "what", "figure", "95 % interval", "data or source"],
                rows: figures(summaries),
            });
        }
        if summaries.len() > 1 {
            blocks.push(Block::Heading(2, "Side by side".to_string()));
            blocks.extend(side_by_side(summaries)?.into_iter().map(Block::Figure));
        }
        for (index, run) in summaries.iter().enumerate() {
            section(&mut blocks, index, run)?;
        }
        Ok(Self { title, blocks })
    }
}

/// Ours, those of others on our trials, and the published ones, each published one once.
fn figures(summaries: &[RunSummary]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for run in summaries {
        let ours = |what: String, figure: String, interval: String, data: String| {
            vec![format!("ours: {}", run.title), what, figure, interval, data]
        };
        if let Some(trials) = &run.trials {
            let list = format!("{}; {} trials", run.data(), grouped(&trials.trials.to_string()));
            rows.push(ours("EER".into(), with_percent(trials.eer), interval(trials.interval), list.clone()));
            let what = format!("minDCF at prior {}", trials.target_prior);
            rows.push(ours(what, format!("{:.4}", trials.min_dcf), String::new(), list.clone()));
            let theirs = if summaries.len() == 1 {
                "EER, the same trials".into()
            } else {
                format!("EER, trials of {}", run.title)
            };
            rows.extend(run.baselines.iter().map(|Baseline { name, eer, interval: ends }| {
                vec![name.clone(), theirs.clone(), with_percent(*eer), interval(*ends), list.clone()]
            }));
        }
        if let Some(protocol) = &run.protocol {
            let what = format!("EER, protocol of {}", protocol_size(protocol));
            rows.push(ours(what, with_percent(protocol.eer), String::new(), run.data()));
        }
    }
    let mut seen = BTreeSet::new();
    for figure in summaries.iter().flat_map(|run| &run.published) {
        let row = [&figure.system, &figure.what, &figure.value, &figure.source];
        if seen.insert(row) {
            let [system, what, value, source] = row.map(String::clone);
            rows.push(vec![format!("published: {system}"), what, value, String::new(), source]);
        }
    }
    rows
}

fn side_by_side(summaries: &[RunSummary]) -> Result<Vec<Figure>, TrainError> {
    let data: BTreeSet<String> = summaries.iter().map(RunSummary::data).collect();
    let caption = data.into_iter().collect::<Vec<_>>().join("; ");
    let mut figures = Vec::new();
    let mut add = |what: &str, name: &str, svg: String| {
        figures.push(Figure { file: format!("all-{name}.svg"), svg, caption: format!("{what} ({caption}).") });
    };
    let det: Vec<DetSeries<'_>> =
        summaries.iter().filter_map(|run| run.trials.as_ref().map(|trials| det_series(&run.title, trials))).collect();
    if det.len() > 1 {
        add("Detection error trade-off of all runs", "det", plots::det(&caption, &det)?);
    }
    let rated: Vec<_> = summaries
        .iter()
        .filter(|run| !run.evaluations.is_empty())
        .map(|run| (run.title.as_str(), run.evaluations.as_slice()))
        .collect();
    if rated.len() > 1 {
        add("Equal error rate of all runs while training", "eer", plots::eer_over_steps(&caption, &rated)?);
    }
    let losses: Vec<_> = summaries
        .iter()
        .filter(|run| !run.loss.is_empty())
        .map(|run| (run.title.as_str(), run.loss.as_slice()))
        .collect();
    if losses.len() > 1 {
        add("Loss of all runs, running medians over what was logged", "loss", plots::loss(&caption, &losses)?);
    }
    Ok(figures)
}

fn section(blocks: &mut Vec<Block>, index: usize, run: &RunSummary) -> Result<(), TrainError> {
    blocks.push(Block::Heading(2, run.title.clone()));
    blocks.push(Block::Table { head: vec!["of the run", ""], rows: facts(run) });
    let data = run.data();
    let name = slug(&run.recipe);
    let figure = |what: &str, text: &str, svg: String| {
        let file = format!("run{}-{name}-{what}.svg", index + 1);
        Block::Figure(Figure { file, svg, caption: format!("{text} ({data}).") })
    };
    let caption = format!("{}: {data}", run.title);
    if !run.loss.is_empty() {
        let svg = plots::loss(&caption, &[(&run.title, &run.loss)])?;
        blocks.push(figure("loss", "Loss over steps, as logged, and its running median", svg));
    }
    if !run.evaluations.is_empty() {
        let svg = plots::eer_over_steps(&caption, &[(&run.title, &run.evaluations)])?;
        blocks.push(figure(
            "eer",
            "Equal error rate at steps of the training; the dashed line is the untrained network",
            svg,
        ));
        let rows = run
            .evaluations
            .iter()
            .map(|point| vec![grouped(&point.step.to_string()), with_percent(point.eer), interval(point.interval)]);
        blocks.push(Block::Table { head: vec!["step", "EER", "95 % interval"], rows: rows.collect() });
    }
    if let Some(trials) = &run.trials {
        blocks.push(Block::Heading(3, "Trials".to_string()));
        blocks.push(Block::Paragraph(trial_words(trials)));
        let svg = plots::det(&caption, &[det_series(&run.title, trials)])?;
        blocks.push(figure("det", "Detection error trade-off on probit axes; the dot is the equal error rate", svg));
        let svg = plots::histogram(&caption, trials)?;
        blocks.push(figure("scores", "Scores of targets and non-targets, each as shares of its own number", svg));
    }
    if let Some(protocol) = &run.protocol {
        blocks.push(Block::Heading(3, "Enrol and verify".to_string()));
        blocks.push(Block::Paragraph(protocol_words(protocol)));
        let svg = plots::similarity(&caption, protocol)?;
        blocks.push(figure("similarity", "Cosine of each verification utterance and each enrolled speaker", svg));
    }
    if !run.notes.is_empty() {
        blocks.push(Block::Heading(3, "Notes".to_string()));
        blocks.push(Block::List(run.notes.clone()));
    }
    Ok(())
}

fn facts(run: &RunSummary) -> Vec<Vec<String>> {
    let row = |what: &str, value: String| vec![what.to_string(), value];
    vec![
        row("recipe", format!("{} ({})", run.recipe, run.recipe_hash)),
        row("corpus", run.data()),
        row("front end", run.front_end.clone()),
        row("encoder", run.encoder.clone()),
        row("trained parameters", grouped(&run.parameters.to_string())),
        row("steps", grouped(&run.steps.to_string())),
        row("time", format!("{} min", plots::number(run.minutes, 1))),
        row("seed", run.seed.to_string()),
    ]
}

fn trial_words(trials: &TrialSummary) -> String {
    let ends = interval(trials.interval);
    let ends = if ends.is_empty() { String::new() } else { format!(" (95 % interval {ends})") };
    format!(
        "EER {}{ends} at threshold {:.4}, minDCF {:.4} at prior {}, over {} trials, {} of them targets.",
        with_percent(trials.eer),
        trials.threshold,
        trials.min_dcf,
        trials.target_prior,
        grouped(&trials.trials.to_string()),
        grouped(&trials.targets.to_string()),
    )
}

fn protocol_words(protocol: &ProtocolSummary) -> String {
    format!(
        "The test of the TensorFlow GE2E code, {}: EER {} at threshold {:.2}, where FAR is {} and FRR {}. One utterance moves FRR by {}.",
        protocol_size(protocol),
        with_percent(protocol.eer),
        protocol.threshold,
        with_percent(protocol.far),
        with_percent(protocol.frr),
        with_percent(1.0 / protocol.similarity.len().max(1) as f64),
    )
}

fn protocol_size(protocol: &ProtocolSummary) -> String {
    let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    format!("{} with {} each", count(protocol.speakers.len(), "speaker"), count(protocol.utterances, "utterance"))
}

fn det_series<'a>(name: &'a str, trials: &'a TrialSummary) -> DetSeries<'a> {
    DetSeries { name, points: &trials.det, eer: trials.eer }
}

fn with_percent(fraction: f64) -> String {
    format!("{} %", percent(fraction))
}

fn interval(ends: Option<[f64; 2]>) -> String {
    ends.map_or(String::new(), |[low, high]| format!("{} to {} %", percent(low), percent(high)))
}

/// A name as part of a file's: at most 40 letters, digits and single hyphens, `run` if nothing is left.
fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.chars().take(200) {
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.truncate(40);
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "run".to_string() } else { slug.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_holds_nothing_but_letters_digits_and_hyphens() {
        for (name, want) in
            [("TD-SV, 8 kHz", "td-sv-8-khz"), ("../../etc/passwd", "etc-passwd"), ("", "run"), ("\u{0}é", "run")]
        {
            assert_eq!(slug(name), want);
        }
        assert_eq!(slug(&"a".repeat(1000)).len(), 40);
    }
}

//! What trainings found, as tables: on the terminal after a demonstration, and in `docs/results.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde::Deserialize;
use speaker_verification::train::report::RunSummary;

use super::{ListResult, RunResult};
use crate::results::row;

/// Prints the figures of a demonstration beside the published ones.
pub(crate) fn print(told: &[RunSummary]) {
    println!("\nSYNTHETIC voices, not people: figures of people beside them are for orientation only.\n");
    for run in told {
        let Some(trials) = &run.trials else { continue };
        println!("{} ({} steps, {:.1} minutes, seed {})", run.recipe, run.steps, run.minutes, run.seed);
        print!("  EER {:.2} %", 100.0 * trials.eer);
        if let Some([low, high]) = trials.interval {
            print!(" ({:.2} to {:.2})", 100.0 * low, 100.0 * high);
        }
        println!(" over {} trials, {} of them targets; minDCF {:.3}", trials.trials, trials.targets, trials.min_dcf);
        for point in &run.evaluations {
            println!("    step {:>6}  EER {:5.2} %", point.step, 100.0 * point.eer);
        }
        for baseline in &run.baselines {
            println!("  {} on the same trials: EER {:.2} %", baseline.name, 100.0 * baseline.eer);
        }
        if let Some(protocol) = &run.protocol {
            println!(
                "  the TensorFlow code's test, {} x {}: EER {:.2} at threshold {:.2}, FAR {:.2}, FRR {:.2} (counts for nothing)",
                protocol.speakers.len(),
                protocol.utterances,
                protocol.eer,
                protocol.threshold,
                protocol.far,
                protocol.frr
            );
            for row in &protocol.similarity {
                println!("    {}", row.iter().map(|value| format!("{value:6.2}")).collect::<Vec<_>>().join(" "));
            }
        }
    }
    if let Some(run) = told.first() {
        println!("\npublished, on people:");
        for figure in &run.published {
            println!("  {:<18} {:<78} {:>7}  {}", figure.system, figure.what, figure.value, figure.source);
        }
    }
}

/// Figures of systems that were not trained here, on the same lists: `docs/baselines.json`.
#[derive(Deserialize)]
pub(crate) struct Baselines {
    /// Who measured them, and how.
    source: String,
    /// By list, then by system.
    lists: BTreeMap<String, BTreeMap<String, BaselineFigure>>,
}

/// In per cent.
#[derive(Deserialize)]
struct BaselineFigure {
    eer: f64,
    interval: [f64; 2],
}

impl Baselines {
    /// Names of the systems, sorted.
    fn systems(&self) -> BTreeSet<&str> {
        self.lists.values().flat_map(|systems| systems.keys().map(String::as_str)).collect()
    }

    fn cell(&self, list: &str, system: &str) -> String {
        self.lists.get(list).and_then(|systems| systems.get(system)).map_or_else(
            || "-".to_owned(),
            |figure| format!("{:.1} ({:.1}-{:.1})", figure.eer, figure.interval[0], figure.interval[1]),
        )
    }
}

/// How many threads the runs had, said once if all had as many.
fn threads(runs: &[&RunResult]) -> String {
    let mut counts: Vec<String> = runs.iter().map(|run| run.threads.to_string()).collect();
    if runs.iter().all(|run| run.threads == runs[0].threads) {
        counts.truncate(1);
    }
    let counts = counts.join(", ");
    if counts == "1" { "1 thread".to_owned() } else { format!("{counts} threads") }
}

/// A row a list of those that `of` has of a run; `what` stands behind the list's name.
fn rows(
    page: &mut String,
    runs: &[&RunResult],
    baselines: &Baselines,
    (what, of): (&str, fn(&RunResult) -> &[ListResult]),
) -> anyhow::Result<()> {
    let mut lists: Vec<&str> = Vec::new();
    for list in runs.iter().flat_map(|run| of(run)) {
        if !lists.contains(&list.list.as_str()) {
            lists.push(&list.list);
        }
    }
    for list in lists {
        let cell = |run: &&RunResult| match of(run).iter().find(|found| found.list == list) {
            None => "-".to_owned(),
            Some(found) => match found.interval {
                None => format!("{:.1}", 100.0 * found.eer),
                Some([low, high]) => format!("{:.1} ({:.1}-{:.1})", 100.0 * found.eer, 100.0 * low, 100.0 * high),
            },
        };
        let mut cells = vec![format!("{list}{what}")];
        cells.extend(runs.iter().map(cell));
        cells.extend(baselines.systems().into_iter().map(|system| baselines.cell(list, system)));
        row(page, &cells)?;
    }
    Ok(())
}

/// The section of `docs/results.md` about trainings: a table a recipe, a row a list, seeds and baselines side by side.
pub(crate) fn section(page: &mut String, runs: &[RunResult], baselines: &Baselines) -> anyhow::Result<()> {
    if runs.is_empty() {
        return Ok(());
    }
    page.push_str("\n## Trained here\n\n");
    page.push_str("EER in per cent at the last step, 95 % interval over speakers in brackets; one column a seed. Test lists are scored once a finished run; all choices were made on the dev lists. Made by `cargo xtask reproduce RECIPE --corpus MANIFEST --root DATA --seeds 1,2,3`.\n");
    writeln!(page, "\nThe last columns were not trained here: {}.", baselines.source)?;
    let mut by_name: BTreeMap<&str, Vec<&RunResult>> = BTreeMap::new();
    for run in runs {
        by_name.entry(&run.name).or_default().push(run);
    }
    for (name, mut runs) in by_name {
        runs.sort_by_key(|run| run.seed);
        let first = runs[0];
        writeln!(page, "\n### {name}\n\n{}", first.about)?;
        writeln!(
            page,
            "\nCorpus: {}{}. {} steps; {} minutes with {} ({}). Recipe hash {} (seed 1 where there is one){}.\n",
            first.corpus,
            if first.synthetic { " (synthetic voices)" } else { "" },
            first.steps,
            runs.iter().map(|run| format!("{:.1}", run.minutes)).collect::<Vec<_>>().join(", "),
            threads(&runs),
            first.machine,
            first.recipe_hash.get(..12).unwrap_or(&first.recipe_hash),
            if first.changes.is_empty() { String::new() } else { format!("; changed: {}", first.changes.join(", ")) },
        )?;
        let tested = runs.iter().any(|run| !run.lists.is_empty());
        let mut head = vec!["test list".to_owned()];
        head.extend(runs.iter().map(|run| format!("seed {}", run.seed)));
        head.extend(baselines.systems().into_iter().map(str::to_owned));
        if tested {
            row(page, &head)?;
            row(page, &vec!["---".to_owned(); head.len()])?;
        } else {
            page.push_str("No test list: a run for choosing.\n");
        }
        rows(page, &runs, baselines, ("", |run| &run.lists))?;
        rows(page, &runs, baselines, (", by the cosine of the encoder's own embeddings", |run| &run.without_back_end))?;
        page.push_str("\nOn the way, dev lists (EER in per cent by step):\n\n");
        let dev: BTreeSet<&str> = runs.iter().flat_map(|run| run.curve.iter().map(|line| &*line.list)).collect();
        for run in runs {
            let mut by_list: BTreeMap<&str, Vec<String>> = BTreeMap::new();
            for line in &run.curve {
                by_list.entry(&line.list).or_default().push(format!("{} {:.1}", line.step, 100.0 * line.eer));
            }
            for (list, points) in by_list {
                writeln!(page, "- seed {}, {list}: {}", run.seed, points.join(", "))?;
            }
        }
        for (list, system) in
            dev.iter().flat_map(|list| baselines.systems().into_iter().map(move |system| (list, system)))
        {
            writeln!(page, "- {system}, {list}: {}", baselines.cell(list, system))?;
        }
    }
    Ok(())
}

//! The tables of Heo et al. 2019 in `docs/results.md`: the paper's column beside what was found on the speech at hand.

use std::fmt::Write;

use speaker_verification::train::heo2019::{Row, Table};

use super::RunResult;
use crate::results::row;

/// The list that models are chosen on.
const DEV: &str = "speechocean762-dev-rechannelled";
/// What a list of recordings through other channels is called behind the list's name.
const RECHANNELLED: &str = "-rechannelled";
/// What names of runs at the small scale end with.
const SMALL: &str = "-mini";

/// A line of a table: what was trained, what the paper found or what it is to be compared with, and our runs, one a seed.
struct Line<'a> {
    cells: [String; 2],
    runs: Vec<&'a RunResult>,
}

/// The section about the tables at the small scale; nothing if no row of them was trained.
pub(crate) fn section(page: &mut String, runs: &[RunResult]) -> anyhow::Result<()> {
    let ours: Vec<&RunResult> = runs.iter().filter(|run| run.recipe.starts_with("heo2019/")).collect();
    if ours.is_empty() {
        return Ok(());
    }
    page.push_str("\n## Tables of Heo et al. 2019 at the small scale\n\nEER in per cent on real speech, not the paper's: its column is of 1,211 speakers of VoxCeleb1 (Table 4: of VoxCeleb2) and 148,600 steps of 100 utterances, ours of a few hundred speakers and some minutes. The columns cannot be compared, only what stands below each other in ours. One seed: the 95 % interval over speakers in brackets; several: their mean, the least and the greatest. Orderings hold only among rows of three seeds. How the losses were read: [heo2019.md](heo2019.md). Made by `cargo xtask reproduce heo2019 --scale mini --root DATA`.\n");
    let mut told: Vec<String> = Vec::new();
    for (table, title) in [(Table::Two, "Table 2"), (Table::Four, "Table 4")] {
        let names = table.rows().iter().filter_map(|row| row.recipe).map(|recipe| format!("{recipe}{SMALL}"));
        told.extend(names);
        let lines: Vec<Line<'_>> = table.rows().iter().map(|row| line(row, &ours)).collect();
        if lines.iter().any(|line| !line.runs.is_empty()) {
            let lists: Vec<&str> = table.lists().iter().map(|names| names[0]).collect();
            writeln!(page, "\n### {title}")?;
            tables(page, ["system", &format!("paper, {}", lists.join(" / "))], &lines)?;
            for row in table.rows().iter().filter(|row| !row.note.is_empty()) {
                writeln!(page, "\n{}: {}.", row.system, row.note)?;
            }
        }
    }
    let mut names: Vec<&str> =
        ours.iter().map(|run| &*run.name).filter(|name| !told.iter().any(|told| told == name)).collect();
    names.dedup();
    if !names.is_empty() {
        page.push_str("\n### Further rows\n\nWhat was changed of the recipe stands with each run above.\n");
        let lines: Vec<Line<'_>> = names.into_iter().map(|name| further(name, &ours)).collect();
        tables(page, ["run", "recipe, steps"], &lines)?;
    }
    Ok(())
}

fn line<'a>(row: &Row, ours: &[&'a RunResult]) -> Line<'a> {
    let published: Vec<String> = row.published.iter().map(|eer| format!("{eer:.2}")).collect();
    let name = row.recipe.map(|recipe| format!("{recipe}{SMALL}"));
    let runs = ours.iter().copied().filter(|run| Some(&run.name) == name.as_ref()).collect();
    Line { cells: [format!("{}: {}", row.system, row.loss), published.join(" / ")], runs }
}

fn further<'a>(name: &str, ours: &[&'a RunResult]) -> Line<'a> {
    let runs: Vec<&RunResult> = ours.iter().copied().filter(|run| run.name == name).collect();
    let told = runs.first().map_or_else(String::new, |run| format!("{}, {}", run.recipe, run.steps));
    Line { cells: [name.to_owned(), told], runs }
}

/// The lists as they are, then those through other channels, where the dev list stands first.
fn tables(page: &mut String, head: [&str; 2], lines: &[Line<'_>]) -> anyhow::Result<()> {
    let mut lists: Vec<&str> = Vec::new();
    for list in lines.iter().flat_map(|line| &line.runs).flat_map(|run| &run.lists) {
        if !lists.contains(&&*list.list) {
            lists.push(&list.list);
        }
    }
    let (other, plain): (Vec<&str>, Vec<&str>) = lists.into_iter().partition(|list| list.ends_with(RECHANNELLED));
    let other = [vec![DEV], other].concat();
    for lists in [other, plain] {
        if lists.is_empty() {
            continue;
        }
        page.push('\n');
        let heads: Vec<String> = head.iter().chain(&lists).map(|&text| text.to_owned()).collect();
        row(page, &heads)?;
        row(page, &vec!["---".to_owned(); heads.len()])?;
        for line in lines {
            let mut cells = line.cells.to_vec();
            cells.extend(lists.iter().map(|list| cell(&line.runs, list)));
            row(page, &cells)?;
        }
    }
    Ok(())
}

/// The error rates of all seeds on a list.
fn cell(runs: &[&RunResult], list: &str) -> String {
    let found: Vec<(f64, Option<[f64; 2]>)> = runs.iter().filter_map(|run| rate(run, list)).collect();
    let rates = || found.iter().map(|(rate, _)| 100.0 * rate);
    match &found[..] {
        [] => "-".to_owned(),
        [(rate, None)] => format!("{:.1}", 100.0 * rate),
        [(rate, Some([low, high]))] => format!("{:.1} ({:.1}-{:.1})", 100.0 * rate, 100.0 * low, 100.0 * high),
        _ => {
            let (least, most) = (rates().fold(f64::INFINITY, f64::min), rates().fold(0.0, f64::max));
            let seeds = found.len();
            format!("{:.1}, {least:.1} to {most:.1} ({seeds} seeds)", rates().sum::<f64>() / seeds as f64)
        }
    }
}

/// The rate at the last step, a fraction, with its interval: of a test list, or of a dev list.
fn rate(run: &RunResult, list: &str) -> Option<(f64, Option<[f64; 2]>)> {
    let tested = run.lists.iter().find(|found| found.list == list).map(|found| (found.eer, found.interval));
    let on_the_way = || run.curve.iter().filter(|line| line.list == list).max_by_key(|line| line.step);
    tested.or_else(|| on_the_way().map(|line| (line.eer, line.eer_interval)))
}

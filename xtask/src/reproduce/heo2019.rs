//! The tables of Heo et al. 2019 from one command: each row's recipe trained, then the paper's table with our column. Its figures are
//! drawn beside.

use std::path::Path;

use anyhow::bail;
use speaker_verification::train::data::Manifest;
use speaker_verification::train::heo2019::{Row, Table};

use super::{Arguments, Run, RunResult, figures, one};
use crate::results::{self, Results};

/// What the whole of a table is asked for by.
pub(super) const GROUP: &str = "heo2019";

pub(super) fn run(root: &Path, arguments: &Arguments, manifest: Option<&Manifest>) -> anyhow::Result<()> {
    if arguments.name.is_some() {
        bail!("--name names the runs of one recipe; a table's are named by their recipes");
    }
    if let Some(figure) = arguments.figure {
        return figures::run(root, arguments, figure, manifest);
    }
    let table = match (arguments.table, arguments.corpus.as_deref()) {
        (Some(2), _) => Table::Two,
        (Some(4), _) | (None, Some("voxceleb2")) => Table::Four,
        (None, _) => Table::Two,
        (Some(other), _) => bail!("--table {other}: 2 and 4 are tables of error rates"),
    };
    for row in table.rows() {
        let Some(recipe) = row.recipe else {
            println!("{}: {}", row.system, row.note);
            continue;
        };
        let run = run_of(arguments, recipe, table)?;
        for &seed in &arguments.seeds {
            one(root, arguments, &run, seed, manifest)?;
        }
    }
    if arguments.dev_only { Ok(()) } else { print(root, arguments, table) }
}

/// A row's recipe; on VoxCeleb it is tried on the cleaned lists too, where they are beside the original ones.
pub(super) fn run_of(arguments: &Arguments, recipe: &str, table: Table) -> anyhow::Result<Run> {
    let mut run = Run::of(arguments, recipe)?;
    if let (None, Some(root)) = (arguments.scale, &arguments.root) {
        let there = |list: &&str| root.join("trials").join(format!("{list}.txt")).is_file();
        let cleaned = table.lists().iter().map(|[_, cleaned]| *cleaned).filter(there);
        let lists: Vec<&str> = table.lists().iter().map(|[original, _]| *original).chain(cleaned).collect();
        run.changes.push(format!("evaluation.test={lists:?}"));
    }
    Ok(run)
}

/// The table, our column (or columns, one a list) beside the paper's.
fn print(root: &Path, arguments: &Arguments, table: Table) -> anyhow::Result<()> {
    let lists: Vec<&str> = table.lists().iter().map(|list| list[0]).collect();
    println!(
        "\nEER in %, the paper's on {}; ours: mean over seeds {:?}, with the least and the greatest",
        lists.join(", "),
        arguments.seeds
    );
    for row in table.rows() {
        let published: Vec<String> = row.published.iter().map(|eer| format!("{eer:.2}")).collect();
        println!("\n{:<34} {:<52} paper {}", row.system, row.loss, published.join(" / "));
        if !row.note.is_empty() {
            println!("    {}", row.note);
        }
        for (list, rates) in ours(root, arguments, row, table)? {
            let mean = rates.iter().sum::<f64>() / rates.len() as f64;
            let least = rates.iter().copied().fold(f64::INFINITY, f64::min);
            let most = rates.iter().copied().fold(0.0, f64::max);
            println!("    {list:<48} {mean:6.2}  ({least:.2} to {most:.2})");
        }
    }
    Ok(())
}

/// Of each list the rates of all seeds, in per cent.
fn ours(root: &Path, arguments: &Arguments, row: &Row, table: Table) -> anyhow::Result<Vec<(String, Vec<f64>)>> {
    let mut found: Vec<(String, Vec<f64>)> = Vec::new();
    let Some(recipe) = row.recipe else { return Ok(found) };
    let run = run_of(arguments, recipe, table)?;
    for &seed in &arguments.seeds {
        let Results::Training(RunResult { lists, .. }) = results::read_one(root, &run.of_seed(seed))? else { continue };
        for list in lists {
            let rate = 100.0 * list.eer;
            match found.iter_mut().find(|(name, _)| *name == list.list) {
                Some((_, rates)) => rates.push(rate),
                None => found.push((list.list, vec![rate])),
            }
        }
    }
    Ok(found)
}

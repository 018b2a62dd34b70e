//! The tables of Heo et al. 2019 from one command: each row's recipe trained, then the paper's table with our column. Its figures are
//! drawn beside.

use std::path::Path;

use anyhow::bail;
use speaker_verification::train::data::{Manifest, trial_list};
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
        let there = |list: &&str| trial_list(root, list).is_some();
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

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use super::super::ListResult;
    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn asked(line: &[&str]) -> Arguments {
        Line::parse_from(["reproduce", "heo2019"].iter().chain(line)).arguments
    }

    #[test]
    fn cleaned_lists_are_scored_too_wherever_they_stand() {
        let root = tempfile::tempdir().unwrap();
        for list in ["trials/veri_test", "trials/list_test_all", "meta/list_test_all2", "veri_test2"] {
            let path = root.path().join(format!("{list}.txt"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let arguments = asked(&["--corpus", "voxceleb2", "--root", root.path().to_str().unwrap()]);
        let changes = |table, recipe| run_of(&arguments, recipe, table).unwrap().changes;
        assert_eq!(changes(Table::Two, "heo2019/softmax"), [r#"evaluation.test=["veri_test", "veri_test2"]"#]);
        assert_eq!(
            changes(Table::Four, "heo2019/voxceleb2-center"),
            [r#"evaluation.test=["veri_test", "list_test_all", "list_test_hard", "veri_test2", "list_test_all2"]"#]
        );
        // At the small scale the lists are those of the speech at hand.
        let small = asked(&["--scale", "mini", "--root", root.path().to_str().unwrap()]);
        let changes = run_of(&small, "heo2019/softmax", Table::Two).unwrap().changes;
        assert!(changes.iter().any(|change| change.contains("speechocean762-test")), "{changes:?}");
        assert!(!changes.iter().any(|change| change.contains("veri_test")), "{changes:?}");
    }

    #[test]
    fn our_column_has_each_list_with_the_rates_of_all_seeds() {
        let root = tempfile::tempdir().unwrap();
        let arguments = asked(&["--scale", "mini", "--root", "nowhere", "--seeds", "1,2"]);
        fs::create_dir_all(root.path().join("docs/results")).unwrap();
        for (seed, rates) in [(1, [0.25, 0.5]), (2, [0.125, 0.375])] {
            let list = |(name, eer): (&str, f64)| ListResult {
                list: name.to_owned(),
                eer,
                interval: None,
                min_dcf: 1.0,
                trials: 8,
            };
            let made = Results::Training(RunResult {
                name: "heo2019/softmax-mini".to_owned(),
                about: String::new(),
                recipe: "heo2019/softmax".to_owned(),
                recipe_hash: String::new(),
                changes: Vec::new(),
                corpus: String::new(),
                synthetic: false,
                seed,
                steps: 600,
                minutes: 1.0,
                threads: 1,
                machine: String::new(),
                lists: ["a", "b"].into_iter().zip(rates).map(list).collect(),
                without_back_end: Vec::new(),
                curve: Vec::new(),
            });
            let path = results::path_of(root.path(), &format!("heo2019-softmax-mini-seed{seed}"));
            fs::write(path, serde_json::to_string(&made).unwrap()).unwrap();
        }
        let row = |recipe: &str| Table::Two.rows().iter().find(|row| row.recipe == Some(recipe)).unwrap();
        let found = ours(root.path(), &arguments, row("heo2019/softmax"), Table::Two).unwrap();
        assert_eq!(found, [("a".to_owned(), vec![25.0, 12.5]), ("b".to_owned(), vec![50.0, 37.5])]);
        // The i-vector has no run; a run that is not there is an error that names its file.
        assert!(ours(root.path(), &arguments, &Table::Two.rows()[0], Table::Two).unwrap().is_empty());
        let error = ours(root.path(), &arguments, row("heo2019/center"), Table::Two).unwrap_err();
        assert!(format!("{error:#}").contains("heo2019-center-mini-seed1.json"), "{error:#}");
    }

    #[test]
    fn a_table_that_is_none_and_a_name_for_many_runs_are_refused() {
        let root = tempfile::tempdir().unwrap();
        for (line, what) in [(&["--table", "3"][..], "--table 3"), (&["--name", "mine"], "--name")] {
            let error = run(root.path(), &asked(line), None).unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
        }
    }
}

//! `sv embed`: recordings into embeddings.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use serde::Serialize;
use speaker_verification::{EmbeddingTable, read_list, recordings_in};

use crate::{ModelArguments, log_warnings, output};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Recordings, and folders to be searched for them
    #[arg(value_name = "FILE|DIR", required_unless_present = "list")]
    inputs: Vec<PathBuf>,
    /// A file that names one recording a line
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,
    /// The folder that the list's paths are relative to
    #[arg(long, value_name = "DIR", default_value = ".", requires = "list")]
    root: PathBuf,
    /// Write a table of embeddings; an interrupted run of the same call continues where it was
    #[arg(long, value_name = "FILE.safetensors", conflicts_with = "json")]
    out: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Do only the I-th of N equal shares of the files, from 1
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
}

/// The I-th of N equal, contiguous shares.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Shard {
    index: usize,
    count: usize,
}

impl std::str::FromStr for Shard {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (index, count) = text.split_once('/').context("a shard is written I/N, such as 1/4")?;
        let (index, count) = (index.parse()?, count.parse()?);
        ensure!((1..=count).contains(&index), "shard {index} of {count}: the first is 1, the last {count}");
        Ok(Self { index, count })
    }
}

impl Shard {
    fn of<T>(self, mut all: Vec<T>) -> Vec<T> {
        // In u128: the product of two lengths.
        let bound = |share: usize| (all.len() as u128 * share as u128 / self.count as u128) as usize;
        let (first, end) = (bound(self.index - 1), bound(self.index));
        all.truncate(end);
        all.split_off(first)
    }
}

#[derive(Serialize)]
struct Answer {
    files: Vec<File>,
    errors: Vec<Failure>,
}

#[derive(Serialize)]
struct File {
    path: String,
    embedding: Vec<f32>,
    seconds_of_speech: f64,
}

#[derive(Serialize)]
struct Failure {
    path: String,
    error: String,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let files = arguments.files()?;
    let model = arguments.model.load()?;
    let bar = output::progress(files.len());
    let finished = |files: usize| bar.inc(files as u64);
    let failed = if let Some(out) = &arguments.out {
        let table = model.embed_to_table(&files, out, finished)?;
        bar.finish_and_clear();
        table.errors.values().for_each(|error| output::complain(error));
        !table.errors.is_empty()
    } else {
        let results = model.embed_files(&files, finished);
        bar.finish_and_clear();
        let mut table = EmbeddingTable::new(model.description().embedding_size, model.fingerprint().to_string());
        for (path, result) in files.iter().zip(&results) {
            match result {
                Ok(utterance) => log_warnings(path, utterance),
                Err(error) => output::complain(&error.to_string()),
            }
            table.push(path.display().to_string(), result);
        }
        let answer = Answer::of(&table);
        if arguments.json {
            output::json(&answer)?
        } else {
            answer.print()?
        }
        !answer.errors.is_empty()
    };
    Ok(ExitCode::from(if failed { 2 } else { 0 }))
}

impl Arguments {
    fn files(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut files = match &self.list {
            Some(list) => read_list(list, &self.root)?,
            None => Vec::new(),
        };
        for input in &self.inputs {
            if input.is_dir() { files.extend(recordings_in(input)?) } else { files.push(input.clone()) }
        }
        Ok(match self.shard {
            Some(shard) => shard.of(files),
            None => files,
        })
    }
}

impl Answer {
    fn of(table: &EmbeddingTable) -> Self {
        let path = |row: usize| table.paths[row].clone();
        let files = (0..table.paths.len()).filter_map(|row| {
            let embedding = table.row(row)?.to_vec();
            Some(File { path: path(row), embedding, seconds_of_speech: table.seconds_of_speech[row] })
        });
        let errors = table.errors.iter().map(|(&row, error)| Failure { path: path(row), error: error.clone() });
        Self { files: files.collect(), errors: errors.collect() }
    }

    /// One line a file: its path, a tab, its values with a space between.
    fn print(&self) -> anyhow::Result<()> {
        for file in &self.files {
            let values: Vec<String> = file.embedding.iter().map(ToString::to_string).collect();
            output::line(&format!("{}\t{}", file.path, values.join(" ")))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_disjoint_in_order_and_hold_everything() {
        for count in 1..8 {
            let shards = (1..=count).map(|index| Shard { index, count }.of((0..13).collect::<Vec<_>>()));
            assert_eq!(shards.flatten().collect::<Vec<_>>(), (0..13).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_shard_that_cannot_be_is_refused() {
        for text in ["0/4", "5/4", "1/0", "1", "a/b", "-1/2", ""] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
        assert_eq!("2/4".parse::<Shard>().unwrap(), Shard { index: 2, count: 4 });
    }
}

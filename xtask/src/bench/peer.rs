//! A Python process that holds Resemblyzer and answers lists of files with embeddings and a time.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};
use serde::Deserialize;

pub(super) struct Peer {
    script: PathBuf,
    process: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

#[derive(Deserialize)]
pub(super) struct Answer {
    pub(super) seconds: f64,
    pub(super) embeddings: Vec<Vec<f64>>,
}

impl Peer {
    pub(super) fn start(root: &Path, python: &Path, threads: usize) -> anyhow::Result<Self> {
        let script = root.join("benches/peers/resemblyzer_lists.py");
        let mut process = spawn(python, &script, threads)?;
        let questions = process.stdin.take();
        let mut answers = BufReader::new(process.stdout.take().context("the peer has no output")?);
        let mut line = String::new();
        answers.read_line(&mut line)?;
        ensure!(line.trim() == "ready", "{}: said {line:?} instead of ready", script.display());
        Ok(Self { script, process, questions, answers })
    }

    pub(super) fn embed(&mut self, listing: &Path) -> anyhow::Result<Answer> {
        let questions = self.questions.as_mut().context("the peer has stopped")?;
        writeln!(questions, "{}", listing.display())?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("the peer said {} bytes that are no answer", line.len()))
    }

    /// Seconds of a process of its own: start, import, model load, one list.
    pub(super) fn whole_process(&self, python: &Path, listing: &Path, threads: usize) -> anyhow::Result<f64> {
        let start = Instant::now();
        let mut process = spawn(python, &self.script, threads)?;
        writeln!(process.stdin.take().context("the peer has no input")?, "{}", listing.display())?;
        let output = process.wait_with_output()?;
        ensure!(output.status.success(), "the peer failed");
        Ok(start.elapsed().as_secs_f64())
    }
}

fn spawn(python: &Path, script: &Path, threads: usize) -> anyhow::Result<Child> {
    let mut command = Command::new(python);
    command.arg(script).arg(threads.to_string()).env("OMP_NUM_THREADS", threads.to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().with_context(|| python.display().to_string())
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Without questions it ends by itself; nothing is owed if it has already gone.
        self.questions = None;
        let _ = self.process.wait();
    }
}

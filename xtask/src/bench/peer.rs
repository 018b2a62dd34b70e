//! A process that says `ready`, then answers each line of questions with a line of JSON: what ours is measured against.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};
use serde::de::DeserializeOwned;

pub(super) struct Peer {
    program: PathBuf,
    process: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    /// A script of `benches/peers`, which takes the number of threads.
    pub(super) fn script(root: &Path, name: &str, python: &Path, threads: usize) -> anyhow::Result<Self> {
        Self::script_with(root, name, python, threads, &[])
    }

    /// The same with further arguments.
    pub(super) fn script_with(
        root: &Path,
        name: &str,
        python: &Path,
        threads: usize,
        rest: &[&OsStr],
    ) -> anyhow::Result<Self> {
        let script = root.join("benches/peers").join(name);
        let mut command = command_of(python, &script, threads);
        command.args(rest);
        Self::start(script, command)
    }

    /// `command`, which is called `program` where something goes wrong.
    pub(super) fn start(program: PathBuf, command: Command) -> anyhow::Result<Self> {
        let mut process = spawn(command)?;
        let questions = process.stdin.take();
        let mut answers = BufReader::new(process.stdout.take().context("the peer has no output")?);
        let mut line = String::new();
        answers.read_line(&mut line)?;
        ensure!(line.trim() == "ready", "{}: said {line:?} instead of ready", program.display());
        Ok(Self { program, process, questions, answers })
    }

    pub(super) fn ask<A: DeserializeOwned>(&mut self, question: &str) -> anyhow::Result<A> {
        let questions = self.questions.as_mut().context("the peer has stopped")?;
        writeln!(questions, "{question}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        serde_json::from_str(&line)
            .with_context(|| format!("{}: {} bytes that are no answer", self.program.display(), line.len()))
    }

    /// Seconds of a process of its own, of a script: start, import, one question.
    pub(super) fn whole_process(&self, python: &Path, question: &str, threads: usize) -> anyhow::Result<f64> {
        let start = Instant::now();
        let mut process = spawn(command_of(python, &self.program, threads))?;
        writeln!(process.stdin.take().context("the peer has no input")?, "{question}")?;
        let output = process.wait_with_output()?;
        ensure!(output.status.success(), "the peer failed");
        Ok(start.elapsed().as_secs_f64())
    }
}

fn command_of(python: &Path, script: &Path, threads: usize) -> Command {
    let mut command = Command::new(python);
    command.arg(script).arg(threads.to_string()).env("OMP_NUM_THREADS", threads.to_string());
    command
}

fn spawn(mut command: Command) -> anyhow::Result<Child> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().with_context(|| format!("{command:?}"))
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Without questions it ends by itself; nothing is owed if it has already gone.
        self.questions = None;
        let _ = self.process.wait();
    }
}

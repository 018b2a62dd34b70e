//! One ECAPA-TDNN against onnxruntime's run of the same network: one window, one thread and several; one run, interleaved, medians.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use sv_benches::workload::ECAPA_FRAMES;

use super::peer::Peer;
use super::{Arguments, built, machine, median};

/// The most of onnxruntime's time that is allowed.
const BOUND: f64 = 1.0;
/// Cosine between the two embeddings below which they are not of the same network.
const SAME: f64 = 0.99999;
/// Between two calls, so that the threads of one side have gone to sleep when the other's turn comes.
const PAUSE: Duration = Duration::from_millis(200);

/// What one `cargo xtask bench --ecapa` found: `docs/results/NAME.json`.
#[derive(Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: String,
    /// What else the machine did meanwhile.
    pub(crate) beside: Option<String>,
    pub(crate) frames: usize,
    pub(crate) runs: usize,
    pub(crate) onnxruntime: Option<String>,
    pub(crate) cases: Vec<CaseResult>,
}

/// One number of threads: seconds of a call, and most resident memory of the process.
#[derive(Serialize, Deserialize)]
pub(crate) struct CaseResult {
    pub(crate) threads: usize,
    pub(crate) ours: f64,
    pub(crate) onnxruntime: Option<f64>,
    /// The fastest of each, which other work has disturbed the least.
    pub(crate) ours_fastest: f64,
    pub(crate) onnxruntime_fastest: Option<f64>,
    pub(crate) ours_peak_kib: Option<u64>,
    pub(crate) onnxruntime_peak_kib: Option<u64>,
    /// Between the two embeddings: both computed the same thing.
    pub(crate) cosine: Option<f64>,
    pub(crate) most_of_onnxruntime: f64,
}

/// What `benches/ecapa.rs` answers.
#[derive(Deserialize)]
struct Ours {
    seconds: f64,
    embedding: Vec<f32>,
    peak_kib: Option<u64>,
}

/// What `benches/peers/ecapa_onnx.py` answers.
#[derive(Deserialize)]
struct Theirs {
    onnxruntime: String,
    seconds: Vec<f64>,
    embedding: Vec<f32>,
    peak_kib: Option<u64>,
}

pub(super) fn run(root: &Path, arguments: &Arguments, model: &Path) -> anyhow::Result<Results> {
    let program = built(root, &["--package", "sv-benches", "--example", "ecapa"], "examples/ecapa")?;
    let mut counts = vec![1, arguments.threads];
    counts.dedup();
    let mut onnxruntime = None;
    let cases = counts.into_iter().map(|threads| case(root, arguments, (&program, model), threads, &mut onnxruntime));
    let cases = cases.collect::<anyhow::Result<_>>()?;
    Ok(Results {
        machine: machine(),
        beside: arguments.beside.clone(),
        frames: ECAPA_FRAMES,
        runs: arguments.runs,
        onnxruntime,
        cases,
    })
}

fn case(
    root: &Path,
    arguments: &Arguments,
    (program, model): (&PathBuf, &Path),
    threads: usize,
    version: &mut Option<String>,
) -> anyhow::Result<CaseResult> {
    let mut command = Command::new(program);
    command.arg(model).env("RAYON_NUM_THREADS", threads.to_string());
    let mut ours = Peer::start(program.clone(), command)?;
    let rest: [&OsStr; 1] = [model.as_ref()];
    let peer = |python: &PathBuf| Peer::script_with(root, "ecapa_onnx.py", python, threads, &rest);
    let mut peer = arguments.peers.as_ref().map(peer).transpose()?;

    let (mut seconds, mut peer_seconds) = (Vec::new(), Vec::new());
    let mut last = None;
    for run in 1..=arguments.runs {
        std::thread::sleep(PAUSE);
        let answer: Ours = ours.ask("")?;
        seconds.push(answer.seconds);
        let mut theirs = None;
        if let Some(peer) = peer.as_mut() {
            std::thread::sleep(PAUSE);
            let answer: Theirs = peer.ask(r#"{"runs": 1}"#)?;
            peer_seconds.extend_from_slice(&answer.seconds);
            theirs = Some(answer);
        }
        let milliseconds = |values: &[f64]| values.last().map_or("-".into(), |value| format!("{:.1}", 1e3 * value));
        let (ours, onnxruntime) = (milliseconds(&seconds), milliseconds(&peer_seconds));
        println!("run {run}, {threads} threads: ours {ours} ms, onnxruntime {onnxruntime} ms");
        last = Some((answer, theirs));
    }
    let (answer, theirs) = last.context("no run")?;
    let cosine = theirs
        .as_ref()
        .map(|theirs| speaker_verification::metrics::score::cosine(&answer.embedding, &theirs.embedding))
        .transpose()?;
    ensure!(
        cosine.is_none_or(|cosine| cosine >= SAME),
        "cosine {cosine:?} of the two embeddings: not the same network"
    );
    *version = theirs.as_ref().map(|theirs| theirs.onnxruntime.clone()).or(version.take());
    let fastest = |seconds: &[f64]| seconds.iter().copied().reduce(f64::min);
    Ok(CaseResult {
        threads,
        ours_fastest: fastest(&seconds).context("no run")?,
        onnxruntime_fastest: fastest(&peer_seconds),
        ours: median(seconds).context("no run")?,
        onnxruntime: median(peer_seconds),
        ours_peak_kib: answer.peak_kib,
        onnxruntime_peak_kib: theirs.and_then(|theirs| theirs.peak_kib),
        cosine,
        most_of_onnxruntime: BOUND,
    })
}

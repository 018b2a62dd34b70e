//! A training step of the LSTM against PyTorch's, and both beside the rate of a large product: one run, interleaved, medians.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, ensure};
use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};
use speaker_verification::models::encoders::lstm::LstmConfig;
use speaker_verification::models::weights::{Weight, Weights};
use speaker_verification::models::{EncoderConfig, Plan};
use sv_benches::workload::{self, CASES, Case, FRAMES, INPUT, SIDE, Step};

use super::peer::Peer;
use super::{Arguments, built, machine, median};

/// The most of PyTorch's time that each of [`CASES`] may take, and the least share of the product's rate it must reach.
const BOUNDS: [(f64, f64); 3] = [(0.9, 0.40), (0.5, 0.25), (0.5, 0.40)];
/// Relative difference of losses, and of the norms of gradients, above which the two sides did not compute the same.
const SAME: f64 = 1e-4;
/// Utterances embedded at once, each a window of [`FRAMES`]: the batch of the TensorFlow code's test, 4 speakers with 10.
const UTTERANCES: usize = 40;

/// What one `cargo xtask bench --training` found: `docs/results/NAME.json`.
#[derive(Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: String,
    /// What else the machine did meanwhile.
    pub(crate) beside: Option<String>,
    pub(crate) threads: usize,
    pub(crate) runs: usize,
    pub(crate) torch: Option<String>,
    pub(crate) cases: Vec<CaseResult>,
    pub(crate) embedding: EmbeddingTime,
}

/// Medians of one case.
#[derive(Serialize, Deserialize)]
pub(crate) struct CaseResult {
    pub(crate) case: String,
    /// Floating-point operations of a step's products.
    pub(crate) operations: usize,
    /// Seconds a step.
    pub(crate) ours: f64,
    pub(crate) pytorch: Option<f64>,
    /// The fastest of each, which other work has disturbed the least.
    pub(crate) ours_fastest: Option<f64>,
    pub(crate) pytorch_fastest: Option<f64>,
    /// Floating-point operations a second of the product, sampled beside each step.
    pub(crate) gemm: f64,
    /// Between ours and PyTorch's loss, and norm of the gradients: both computed the same thing.
    pub(crate) loss_difference: Option<f64>,
    pub(crate) norm_difference: Option<f64>,
    pub(crate) most_of_pytorch: f64,
    pub(crate) least_of_gemm: f64,
}

/// `Plan::embed` of as many windows with the TensorFlow code's network.
#[derive(Serialize, Deserialize)]
pub(crate) struct EmbeddingTime {
    pub(crate) utterances: usize,
    pub(crate) frames: usize,
    pub(crate) seconds: f64,
}

/// What `benches/peers/lstm_training.py` answers.
#[derive(Deserialize)]
struct PeerStep {
    torch: String,
    seconds: f64,
    loss: f64,
    norm: f64,
}

/// What `benches/gemm.rs` answers.
#[derive(Deserialize)]
struct Product {
    seconds: f64,
}

/// One case's step of ours, warm, and what was timed of it.
struct Timed<'a> {
    case: &'a Case,
    step: Step,
    loss: f64,
    norm: f64,
    ours: Vec<f64>,
    pytorch: Vec<f64>,
    gemm: Vec<f64>,
    differences: Option<[f64; 2]>,
}

pub(super) fn run(root: &Path, arguments: &Arguments) -> anyhow::Result<Results> {
    let threads = arguments.threads;
    let mut gemm = gemm(root, threads)?;
    let peer = |python: &PathBuf| Peer::script(root, "lstm_training.py", python, threads);
    let mut peer = arguments.peers.as_ref().map(peer).transpose()?;
    let mut torch = None;
    let mut cases = CASES.iter().map(warm).collect::<anyhow::Result<Vec<_>>>()?;
    let (plan, windows) = embedding()?;
    let mut embedded = Vec::new();
    for run in 1..=arguments.runs {
        for timed in &mut cases {
            torch = timed.round(&mut gemm, peer.as_mut())?.or(torch);
            let seconds = |values: &[f64]| values.last().map_or("-".into(), |value| format!("{value:.3}"));
            println!(
                "run {run}, {}: ours {} s, PyTorch {} s",
                timed.case,
                seconds(&timed.ours),
                seconds(&timed.pytorch)
            );
        }
        embedded.push(embed(&plan, &windows)?);
    }
    Ok(Results {
        machine: machine(),
        beside: arguments.beside.clone(),
        threads,
        runs: arguments.runs,
        torch,
        cases: cases.into_iter().zip(BOUNDS).map(|(timed, bounds)| timed.result(bounds)).collect::<Result<_, _>>()?,
        embedding: EmbeddingTime {
            utterances: UTTERANCES,
            frames: FRAMES,
            seconds: median(embedded).context("no run")?,
        },
    })
}

/// The product's process, built and started.
fn gemm(root: &Path, threads: usize) -> anyhow::Result<Peer> {
    let program = built(root, &["--package", "sv-benches", "--example", "gemm"], "examples/gemm")?;
    let mut command = Command::new(&program);
    command.env("RAYON_NUM_THREADS", threads.to_string());
    Peer::start(program, command)
}

fn warm(case: &Case) -> anyhow::Result<Timed<'_>> {
    let mut step = Step::new(case)?;
    let (loss, gradients) = step.run()?;
    let (loss, norm) = (f64::from(loss), workload::norm(gradients));
    Ok(Timed { case, step, loss, norm, ours: vec![], pytorch: vec![], gemm: vec![], differences: None })
}

impl Timed<'_> {
    /// Ours, the peer's, the product; gives the peer's version.
    fn round(&mut self, gemm: &mut Peer, peer: Option<&mut Peer>) -> anyhow::Result<Option<String>> {
        let start = Instant::now();
        self.step.run()?;
        self.ours.push(start.elapsed().as_secs_f64());
        let torch = peer.map(|peer| self.peer_step(peer)).transpose()?;
        self.gemm.push(2.0 * (SIDE as f64).powi(3) / gemm.ask::<Product>("")?.seconds);
        Ok(torch)
    }

    fn peer_step(&mut self, peer: &mut Peer) -> anyhow::Result<String> {
        let &Case { hidden, projection, sequences } = self.case;
        let projection = projection.unwrap_or(0);
        let question = serde_json::json!({ "hidden": hidden, "projection": projection, "sequences": sequences });
        let answer: PeerStep = peer.ask(&question.to_string())?;
        let differences =
            [(self.loss, answer.loss), (self.norm, answer.norm)].map(|(ours, theirs)| (ours / theirs - 1.0).abs());
        ensure!(
            differences.iter().all(|&difference| difference <= SAME),
            "{}: loss {} and norm of gradients {}, PyTorch's {} and {}: not the same step",
            self.case,
            self.loss,
            self.norm,
            answer.loss,
            answer.norm
        );
        self.differences = Some(differences);
        self.pytorch.push(answer.seconds);
        Ok(answer.torch)
    }

    fn result(self, (most_of_pytorch, least_of_gemm): (f64, f64)) -> anyhow::Result<CaseResult> {
        Ok(CaseResult {
            case: self.case.to_string(),
            operations: self.step.operations(),
            ours_fastest: fastest(&self.ours),
            pytorch_fastest: fastest(&self.pytorch),
            ours: median(self.ours).context("no run")?,
            pytorch: median(self.pytorch),
            gemm: median(self.gemm).context("no run")?,
            loss_difference: self.differences.map(|[loss, _]| loss),
            norm_difference: self.differences.map(|[_, norm]| norm),
            most_of_pytorch,
            least_of_gemm,
        })
    }
}

fn fastest(seconds: &[f64]) -> Option<f64> {
    seconds.iter().copied().reduce(f64::min)
}

/// The TensorFlow code's network, and the values of its windows.
fn embedding() -> anyhow::Result<(Plan, Vec<f32>)> {
    let network = LstmConfig::ge2e_tf();
    ensure!(network.bins == INPUT, "{} bins, the frames here have {INPUT}", network.bins);
    let scale = 1.0 / (network.hidden as f32).sqrt();
    let tensors: BTreeMap<_, _> = network
        .tensors()
        .into_iter()
        .zip(1..)
        .map(|((name, shape), seed)| {
            let values = workload::noise(seed, shape.iter().product(), scale);
            (name, Weight { shape, values })
        })
        .collect();
    let config = EncoderConfig::Lstm(network);
    let plan = Plan::new(&config, &Weights::new("the bench", &config, tensors)?)?;
    Ok((plan, workload::noise(98, UTTERANCES * FRAMES * INPUT, 1.0)))
}

/// Seconds to embed all windows, the median of seven: one takes milliseconds.
fn embed(plan: &Plan, values: &[f32]) -> anyhow::Result<f64> {
    let windows = values
        .chunks_exact(FRAMES * INPUT)
        .map(|window| ArrayView2::from_shape((FRAMES, INPUT), window))
        .collect::<Result<Vec<_>, _>>()?;
    let once = |_| {
        let start = Instant::now();
        plan.embed(&windows)?;
        Ok(start.elapsed().as_secs_f64())
    };
    median((0..7).map(once).collect::<anyhow::Result<_>>()?).context("no call")
}

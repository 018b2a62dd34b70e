//! Cases that two processes work on in turn, ours and a peer's: `cargo xtask bench --suite NAME`.
//!
//! Both say `ready`, then answer each line of questions with a line of JSON: `seconds`, and where they tell it a `check` by which the
//! two are held to have computed the same, the `peak` of memory in bytes above what stood before the first case, and the `peer`'s
//! version.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use speaker_verification::metrics::score::cosine;
use speaker_verification::metrics::{TrialFormat, Trials};

use super::peer::Peer;
use super::{Arguments, built, machine, median};

/// What can be measured so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Suite {
    /// Front ends against torchaudio's Kaldi fbank and SpeechBrain's Fbank
    Features,
    /// Training steps of ECAPA-TDNN against PyTorch
    EcapaTraining,
    /// Files to embeddings by SpeechBrain's ECAPA-TDNN (--model) against SpeechBrain
    EcapaFiles,
    /// One window through the residual network of Heo et al. 2019, Table 1, against onnxruntime
    Resnet,
    /// Training steps of it against PyTorch
    ResnetTraining,
    /// Losses over all speaker bases of Heo et al. 2019 against PyTorch
    Bases,
}

/// One thing that is measured.
struct Case {
    name: &'static str,
    threads: usize,
    ours: String,
    theirs: String,
    /// The most of the peer's time that is allowed.
    most: f64,
    /// Whether the two compute the same, so that their checks are compared.
    same: bool,
}

/// Both programs of a suite and its cases.
struct Plan {
    title: &'static str,
    about: &'static str,
    program: &'static str,
    script: &'static str,
    cases: Vec<Case>,
}

/// Losses over bases, and what is asked for of them.
const BASES: [(&str, &str); 12] = [
    ("L_BC, 1,251 speakers", "between 1251"),
    ("L_BC, 6,112 speakers", "between 6112"),
    ("L_BC, 100,000 speakers", "between 100000"),
    ("L_H, 1,251 speakers", "hard 1251"),
    ("L_H, 6,112 speakers", "hard 6112"),
    ("L_H, 100,000 speakers", "hard 100000"),
    ("L_H + L_BC, 1,251 speakers", "hard+between 1251"),
    ("L_H + L_BC, 6,112 speakers", "hard+between 6112"),
    ("L_H + L_BC, 100,000 speakers", "hard+between 100000"),
    ("L_S, 1,251 speakers", "softmax 1251"),
    ("L_S, 6,112 speakers", "softmax 6112"),
    ("L_S, 100,000 speakers", "softmax 100000"),
];

/// The same question to both, which compute the same.
fn alike(name: &'static str, threads: usize, question: &str, most: f64) -> Case {
    Case { name, threads, ours: question.to_owned(), theirs: question.to_owned(), most, same: true }
}

/// What one suite gave: `docs/results/NAME.json`.
#[derive(Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) title: String,
    pub(crate) about: String,
    pub(crate) machine: String,
    /// What else the machine did meanwhile.
    pub(crate) beside: Option<String>,
    pub(crate) runs: usize,
    pub(crate) peer: Option<String>,
    pub(crate) cases: Vec<CaseResult>,
}

/// One case: medians, and the fastest of each, which other work has disturbed the least, in seconds; memory in bytes.
#[derive(Serialize, Deserialize)]
pub(crate) struct CaseResult {
    pub(crate) name: String,
    pub(crate) threads: usize,
    pub(crate) ours: f64,
    pub(crate) theirs: Option<f64>,
    pub(crate) ours_fastest: f64,
    pub(crate) theirs_fastest: Option<f64>,
    pub(crate) ours_peak: Option<f64>,
    pub(crate) theirs_peak: Option<f64>,
    /// Between what the two computed.
    pub(crate) cosine: Option<f64>,
    pub(crate) most: f64,
}

#[derive(Deserialize)]
struct Answer {
    seconds: f64,
    #[serde(default)]
    check: Vec<f32>,
    peak: Option<f64>,
    peer: Option<String>,
}

/// Cosine of two checks below which they are not of the same computation.
const SAME: f64 = 0.99999;
/// Between two calls, so that the threads of one side have gone to sleep when the other's turn comes.
const PAUSE: Duration = Duration::from_millis(200);

impl Suite {
    /// Name of its results where none is given.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Features => "features",
            Self::EcapaTraining => "ecapa-training",
            Self::EcapaFiles => "ecapa-files",
            Self::Resnet => "resnet",
            Self::ResnetTraining => "resnet-training",
            Self::Bases => "bases",
        }
    }

    fn plan(self, listing: &Path, threads: usize) -> Plan {
        match self {
            Self::Features => {
                let case = |name, ours: &str, theirs: &str, most, same| {
                    [3, 60].map(|seconds| Case {
                        name,
                        threads: 1,
                        ours: format!("{ours} {seconds}"),
                        theirs: format!("{theirs} {seconds}"),
                        most,
                        same,
                    })
                };
                let cases = [
                    case("kaldi, 80 bands, against torchaudio's Kaldi fbank", "kaldi", "kaldi-povey", 0.5, false),
                    case("wespeaker against torchaudio's Kaldi fbank", "wespeaker", "kaldi-hamming", 0.5, true),
                    case("speechbrain against torchaudio's Kaldi fbank", "speechbrain", "kaldi-povey", 0.5, false),
                    case("kaldi against SpeechBrain's Fbank", "kaldi", "speechbrain", 1.0, false),
                    case("speechbrain against SpeechBrain's Fbank", "speechbrain", "speechbrain", 1.0, true),
                ];
                Plan {
                    title: "Speed of front ends",
                    about: "Log-mel energies of a chirp at 16 kHz, 3 s and 60 s, without subtraction of a mean",
                    program: "features",
                    script: "features.py",
                    cases: cases.into_iter().flatten().collect(),
                }
            }
            Self::EcapaTraining => {
                let case = |threads| alike("512 channels, 16 x 200 frames", threads, "512 1536 16 200 1000", 1.2);
                Plan {
                    title: "Training steps of ECAPA-TDNN",
                    about: "Forward and backward of the additive angular margin loss over 1,000 classes, the same weights and \
                            frames on both sides; memory is the most above what stood before the first step",
                    program: "ecapa_training",
                    script: "ecapa_training.py",
                    cases: vec![case(1), case(2)],
                }
            }
            Self::EcapaFiles => {
                let case = alike("LibriSpeech's list, FLAC", threads, &listing.display().to_string(), 0.7);
                Plan {
                    title: "From file to embedding, ECAPA-TDNN of 1,024 channels",
                    about: "Every file of the list `librispeech-mini-test` decoded and embedded by SpeechBrain's network at full size \
                            (random weights), loading of the model apart",
                    program: "files",
                    script: "ecapa_files.py",
                    cases: vec![case],
                }
            }
            Self::Resnet => Plan {
                title: "Speed of ResNet-34, 16 to 128 channels, 300 frames",
                about: "The network of Heo et al. 2019, Table 1, one window at a time, the same weights on both sides; memory is the \
                        most that the process had resident",
                program: "resnet",
                script: "resnet_onnx.py",
                cases: [1, 2].map(|threads| alike("300 frames", threads, "", 1.0)).into(),
            },
            Self::ResnetTraining => Plan {
                title: "Training steps of ResNet-34, 16 to 128 channels",
                about: "The network of Heo et al. 2019, Table 1: forward and backward of the sum of squares of the embeddings, the same \
                        weights and frames on both sides; memory is the most above what stood before the first step",
                program: "resnet_training",
                script: "resnet_training.py",
                cases: [1, 2].map(|threads| alike("16 x 200 frames", threads, "table1 16 200", 1.0)).into(),
            },
            Self::Bases => Plan {
                title: "Losses over all speaker bases",
                about: "Value and gradients of losses of Heo et al. 2019 for 100 utterances of 128 dimensions, 100 hard negatives, the \
                        same numbers on both sides; PyTorch has L_BC of the sum of the unit bases too, not of all pairs, and finds \
                        hard negatives by `topk`",
                program: "bases",
                script: "bases.py",
                cases: BASES.map(|(name, question)| alike(name, 1, question, 1.0)).into(),
            },
        }
    }
}

pub(super) fn run(root: &Path, arguments: &Arguments, suite: Suite) -> anyhow::Result<Results> {
    let listing = tempfile::NamedTempFile::new()?;
    if suite == Suite::EcapaFiles {
        let data = arguments.data.as_ref().context("--suite ecapa-files: name the recordings' folder (--data)")?;
        std::fs::write(listing.path(), files(data)?)?;
    }
    let plan = suite.plan(listing.path(), arguments.threads);
    let program =
        built(root, &["--package", "sv-benches", "--example", plan.program], &format!("examples/{}", plan.program))?;
    let rest: Vec<&OsStr> = match (suite, &arguments.model) {
        (Suite::EcapaFiles, None) => anyhow::bail!("--suite ecapa-files: name a SpeechBrain directory (--model)"),
        (Suite::EcapaFiles, Some(model)) => vec![model.as_ref()],
        (Suite::Resnet, _) => vec!["table1".as_ref()],
        _ => Vec::new(),
    };
    let mut peer = None;
    let mut cases = Vec::new();
    for case in &plan.cases {
        cases.push(measure(root, arguments, (&program, plan.script, &rest), case, &mut peer)?);
    }
    Ok(Results {
        title: plan.title.to_owned(),
        about: plan.about.to_owned(),
        machine: machine(),
        beside: arguments.beside.clone(),
        runs: arguments.runs,
        peer,
        cases,
    })
}

/// The files of LibriSpeech's list, one a line.
fn files(data: &Path) -> anyhow::Result<String> {
    let path = data.join("trials/librispeech-mini-test.txt");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let trials = Trials::parse(&text, TrialFormat::VoxCeleb)?;
    let lines: Vec<String> = trials.files().iter().map(|file| data.join(file).display().to_string()).collect();
    Ok(lines.join("\n") + "\n")
}

fn measure(
    root: &Path,
    arguments: &Arguments,
    (program, script, rest): (&PathBuf, &str, &[&OsStr]),
    case: &Case,
    version: &mut Option<String>,
) -> anyhow::Result<CaseResult> {
    let mut command = Command::new(program);
    command.args(rest).env("RAYON_NUM_THREADS", case.threads.to_string());
    let mut ours = Peer::start(program.clone(), command)?;
    let peer = |python: &PathBuf| Peer::script_with(root, script, python, case.threads, rest);
    let mut peer = arguments.peers.as_ref().map(peer).transpose()?;
    let (mut seconds, mut peer_seconds) = (Vec::new(), Vec::new());
    let mut last: Option<(Answer, Option<Answer>)> = None;
    for run in 1..=arguments.runs {
        std::thread::sleep(PAUSE);
        let answer: Answer = ours.ask(&case.ours)?;
        seconds.push(answer.seconds);
        let mut theirs = None;
        if let Some(peer) = peer.as_mut() {
            std::thread::sleep(PAUSE);
            let answer: Answer = peer.ask(&case.theirs)?;
            peer_seconds.push(answer.seconds);
            theirs = Some(answer);
        }
        let of = |values: &[f64]| values.last().map_or("-".into(), |value| format!("{:.2}", 1e3 * value));
        let (ours, theirs_ms) = (of(&seconds), of(&peer_seconds));
        println!("{}, run {run}, {} threads: ours {ours} ms, peer {theirs_ms} ms", case.name, case.threads);
        last = Some((answer, theirs));
    }
    let (answer, theirs) = last.context("no run")?;
    let cosine = match &theirs {
        Some(theirs) if case.same => Some(cosine(&answer.check, &theirs.check)?),
        _ => None,
    };
    ensure!(cosine.is_none_or(|cosine| cosine >= SAME), "{}: cosine {cosine:?}: not the same was computed", case.name);
    if let Some(theirs) = &theirs {
        version.clone_from(&theirs.peer);
    }
    let fastest = |seconds: &[f64]| seconds.iter().copied().reduce(f64::min);
    let name = match case.ours.rsplit_once(' ') {
        Some((_, seconds)) if program.ends_with("features") => format!("{}, {seconds} s", case.name),
        _ => case.name.to_owned(),
    };
    Ok(CaseResult {
        name,
        threads: case.threads,
        ours_fastest: fastest(&seconds).context("no run")?,
        theirs_fastest: fastest(&peer_seconds),
        ours: median(seconds).context("no run")?,
        theirs: median(peer_seconds),
        ours_peak: answer.peak,
        theirs_peak: theirs.and_then(|theirs| theirs.peak),
        cosine,
        most: case.most,
    })
}

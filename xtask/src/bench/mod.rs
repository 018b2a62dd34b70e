//! Ours against Resemblyzer on the same lists, against PyTorch in training (`training.rs`), or against onnxruntime on one window
//! (`ecapa.rs`), in the same run, with the same threads; medians of interleaved runs.

pub(crate) mod ecapa;
pub(crate) mod page;
mod peer;
pub(crate) mod suite;
pub(crate) mod training;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use speaker_verification::SpeakerRecognition;
use speaker_verification::metrics::{TrialFormat, Trials};

use peer::Peer;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Training steps against PyTorch, instead of embedding against Resemblyzer
    #[arg(long)]
    training: bool,
    /// An ECAPA-TDNN of SpeechBrain's directory DIR against onnxruntime, with one thread and with --threads
    #[arg(long, value_name = "DIR", conflicts_with = "training")]
    ecapa: Option<PathBuf>,
    /// Cases of one kind against a peer, in turn
    #[arg(long, value_enum, conflicts_with_all = ["training", "ecapa"])]
    suite: Option<suite::Suite>,
    /// A model directory of SpeechBrain's, for --suite ecapa-files
    #[arg(long, value_name = "DIR", requires = "suite")]
    model: Option<PathBuf>,
    /// A Python with torch, for embedding Resemblyzer and soundfile, for --ecapa speechbrain, onnx and onnxruntime, for --suite what
    /// the script in benches/peers names; without it only ours is timed
    #[arg(long, value_name = "PYTHON")]
    peers: Option<PathBuf>,
    /// The folder of recordings and trial lists; not for --training or --ecapa
    #[arg(long, env = "SV_DATA", required_unless_present_any = ["training", "ecapa", "suite"])]
    data: Option<PathBuf>,
    /// The folder with resemblyzer_pretrained.pt; not for --training, --ecapa or --suite
    #[arg(long, env = "SV_REFERENCE", required_unless_present_any = ["training", "ecapa", "suite"])]
    reference: Option<PathBuf>,
    /// Runs of each side
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Threads of each side
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Name of the run: docs/results/NAME.json; left out, `bench`, or `training`, `ecapa` or the suite's
    #[arg(long)]
    name: Option<String>,
    /// What else the machine does meanwhile, for the page; not with embedding
    #[arg(long, value_name = "TEXT")]
    beside: Option<String>,
    /// Trial lists whose files are embedded
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "speechocean762-dev,speechocean762-dev-rechannelled,librispeech-mini-test,arabic-speech-commands-test"
    )]
    lists: Vec<String>,
}

/// What one `cargo xtask bench` found: `docs/results/NAME.json`.
#[derive(Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: String,
    pub(crate) threads: usize,
    pub(crate) runs: usize,
    pub(crate) lists: Vec<ListResult>,
    pub(crate) start_up: Option<StartUp>,
}

/// One list: seconds from decoding to embedding, all files.
#[derive(Serialize, Deserialize)]
pub(crate) struct ListResult {
    pub(crate) list: String,
    pub(crate) files: usize,
    /// Medians; the peers' are absent where none was named.
    pub(crate) ours: f64,
    pub(crate) resemblyzer: Option<f64>,
    /// Whole processes: start, import, model load, work.
    pub(crate) ours_process: f64,
    pub(crate) resemblyzer_process: Option<f64>,
    /// Least cosine between ours and the peer's embedding of a file: both computed the same thing.
    pub(crate) least_cosine: Option<f64>,
}

/// `sv verify` on two files of 3 s against Python's import of Resemblyzer alone.
#[derive(Serialize, Deserialize)]
pub(crate) struct StartUp {
    pub(crate) sv_verify: f64,
    pub(crate) import_resemblyzer: f64,
}

pub(crate) fn run(root: &Path, arguments: &Arguments) -> anyhow::Result<()> {
    ensure!(arguments.runs > 0, "--runs 0 measures nothing");
    speaker_verification::models::pool::limit(arguments.threads)?;
    let (name, results) = if let Some(model) = &arguments.ecapa {
        ("ecapa", crate::results::Results::Ecapa(ecapa::run(root, arguments, model)?))
    } else if let Some(suite) = arguments.suite {
        (suite.name(), crate::results::Results::Suite(suite::run(root, arguments, suite)?))
    } else if arguments.training {
        ("training", crate::results::Results::TrainingSteps(training::run(root, arguments)?))
    } else {
        ("bench", crate::results::Results::Embedding(embedding(root, arguments)?))
    };
    let name = arguments.name.as_deref().unwrap_or(name);
    crate::results::keep(root, name, &results)?;
    println!("wrote docs/results/{name}.json and docs/results.md");
    Ok(())
}

fn embedding(root: &Path, arguments: &Arguments) -> anyhow::Result<Results> {
    let (Some(data), Some(reference)) = (&arguments.data, &arguments.reference) else {
        bail!("needs --data and --reference")
    };
    let sv = built(root, &["--package", "speaker-verification", "--features", "cli", "--bin", "sv"], "sv")?;
    let checkpoint = reference.join("resemblyzer_pretrained.pt");
    let model = SpeakerRecognition::load(&checkpoint)?;
    let peer = |python: &PathBuf| Peer::script(root, "resemblyzer_lists.py", python, arguments.threads);
    let mut peer = arguments.peers.as_ref().map(peer).transpose()?;
    let mut lists = Vec::new();
    for list in &arguments.lists {
        println!("{list}");
        lists.push(bench_list(list, arguments, data, &model, &checkpoint, &sv, peer.as_mut())?);
    }
    drop(peer);
    let start_up =
        arguments.peers.as_ref().map(|python| start_up(arguments, data, python, &checkpoint, &sv)).transpose()?;
    Ok(Results { machine: machine(), threads: arguments.threads, runs: arguments.runs, lists, start_up })
}

/// What `benches/peers/resemblyzer_lists.py` answers.
#[derive(Deserialize)]
struct PeerEmbeddings {
    seconds: f64,
    embeddings: Vec<Vec<f64>>,
}

fn bench_list(
    list: &str,
    arguments: &Arguments,
    data: &Path,
    model: &SpeakerRecognition,
    checkpoint: &Path,
    sv: &Path,
    mut peer: Option<&mut Peer>,
) -> anyhow::Result<ListResult> {
    let trials_path = data.join("trials").join(format!("{list}.txt"));
    let text = std::fs::read_to_string(&trials_path).with_context(|| trials_path.display().to_string())?;
    let trials = Trials::parse(&text, TrialFormat::VoxCeleb)?;
    let files: Vec<PathBuf> = trials.files().iter().map(|file| data.join(file)).collect();
    let listing = tempfile::NamedTempFile::new()?;
    let lines: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    std::fs::write(listing.path(), lines.join("\n") + "\n")?;

    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    let mut embeddings = Vec::new();
    let mut expected = Vec::new();
    for _ in 0..arguments.runs {
        let start = Instant::now();
        let results = model.embed_files(&files, |_| ());
        ours.push(start.elapsed().as_secs_f64());
        embeddings = results.into_iter().collect::<Result<Vec<_>, _>>()?;
        if let Some(peer) = peer.as_mut() {
            let answer: PeerEmbeddings = peer.ask(&listing.path().display().to_string())?;
            theirs.push(answer.seconds);
            expected = answer.embeddings;
        }
    }
    let cosines = embeddings.iter().zip(&expected).map(|(ours, theirs)| {
        let theirs: Vec<f32> = theirs.iter().map(|&value| value as f32).collect();
        speaker_verification::metrics::score::cosine(ours.embedding.values(), &theirs)
    });
    let cosines = cosines.collect::<Result<Vec<f64>, _>>()?;

    let mut ours_process = Vec::new();
    let mut their_process = Vec::new();
    let out = tempfile::tempdir()?;
    for _ in 0..arguments.runs {
        let mut command = Command::new(sv);
        command.args(["embed", "--threads", &arguments.threads.to_string(), "--model"]).arg(checkpoint);
        command.args(["--root", "/", "--list"]).arg(listing.path()).arg("--out").arg(out.path().join("e.safetensors"));
        ours_process.push(seconds_of(&mut command)?);
        if let (Some(peer), Some(python)) = (peer.as_ref(), &arguments.peers) {
            let question = listing.path().display().to_string();
            their_process.push(peer.whole_process(python, &question, arguments.threads)?);
        }
    }
    Ok(ListResult {
        list: list.to_owned(),
        files: files.len(),
        ours: median(ours).context("no run")?,
        resemblyzer: median(theirs),
        ours_process: median(ours_process).context("no run")?,
        resemblyzer_process: median(their_process),
        least_cosine: cosines.into_iter().reduce(f64::min),
    })
}

fn start_up(
    arguments: &Arguments,
    data: &Path,
    python: &Path,
    checkpoint: &Path,
    sv: &Path,
) -> anyhow::Result<StartUp> {
    let folder = tempfile::tempdir()?;
    let [a, b] = ["a.wav", "b.wav"].map(|name| folder.path().join(name));
    three_seconds(data, &[&a, &b])?;
    let mut verify = Vec::new();
    let mut import = Vec::new();
    for _ in 0..arguments.runs {
        let mut command = Command::new(sv);
        command.args(["verify", "--threshold", "0.5", "--model"]).arg(checkpoint).args([&a, &b]);
        verify.push(seconds_of(&mut command)?);
        import.push(seconds_of(Command::new(python).args(["-c", "import resemblyzer"]))?);
    }
    Ok(StartUp { sv_verify: median(verify).context("no run")?, import_resemblyzer: median(import).context("no run")? })
}

/// Two recordings cut to 3 s, as WAV.
fn three_seconds(data: &Path, out: &[&PathBuf]) -> anyhow::Result<()> {
    use speaker_verification::audio::{Waveform, decode};
    let folder = data.join("librispeech-mini/test");
    let files = speaker_verification::recordings_in(&folder)?;
    let mut waves = files.iter().filter_map(|file| decode::read(file, &decode::DecodeLimits::default()).ok());
    for path in out {
        let wave = waves.by_ref().map(|decoded| decoded.waveform).find(|wave| wave.seconds() > 3.0);
        let wave = wave.context("no recording of 3 s")?;
        let rate_hz = wave.rate_hz();
        let mut samples = wave.into_samples();
        samples.truncate(3 * rate_hz as usize);
        std::fs::write(path, Waveform::new(samples, rate_hz)?.to_wav())?;
    }
    Ok(())
}

/// Seconds of a whole process. Exit statuses up to 3 are answers of `sv verify`, not failures.
fn seconds_of(command: &mut Command) -> anyhow::Result<f64> {
    let start = Instant::now();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    let seconds = start.elapsed().as_secs_f64();
    let code = output.status.code();
    ensure!(matches!(code, Some(0 | 1 | 3)), "{command:?}: {code:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(seconds)
}

/// Builds for release what `arguments` of cargo name; it lies at `path` among what is built.
fn built(root: &Path, arguments: &[&str], path: &str) -> anyhow::Result<PathBuf> {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(root).args(["build", "--locked", "--release"]).args(arguments);
    ensure!(command.status()?.success(), "{command:?} failed");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target.join("release").join(path))
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

pub(crate) fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |key: &str| text.lines().find(|line| line.starts_with(key)).and_then(|line| line.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("{}, {cores} cores, shared with other work", value("model name").unwrap_or("unknown CPU"))
}

//! Trainings from one command: without arguments both kinds on synthesised voices, with a corpus the named recipe on it.

pub(crate) mod figures;
mod heo2019;
pub(crate) mod page;
mod published;
pub(crate) mod tables;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use speaker_verification::train::data::{Manifest, Preparation, SpeakerOrder, VoxCeleb, trial_list, vctk};
use speaker_verification::train::evaluate::TrialResult;
use speaker_verification::train::report::{self, Baseline, EvaluationLine, MetricLine, RunSummary, read_evaluations};
use speaker_verification::train::session::{self, Request, Watcher};
use speaker_verification::train::{Device, Observer, Recipe, TrainError, summary};

use crate::results::{self, Results};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A recipe's name or file, or `heo2019` for a whole table of that paper [default: synthetic/td and synthetic/ti]
    recipe: Option<String>,
    /// What to train on: vctk, voxceleb, voxceleb1, voxceleb2, or a manifest file [with --scale: manifest.tsv below --root]
    #[arg(long, value_name = "NAME", requires = "root")]
    corpus: Option<String>,
    /// The folder of the corpus
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Begin with the weights of this model: a model directory or another run's folder
    #[arg(long, value_name = "MODEL")]
    start: Option<PathBuf>,
    /// A recipe of heo2019 for less data and minutes: same network, loss and optimizer
    #[arg(long, value_enum, requires = "root")]
    scale: Option<Scale>,
    /// Which table of heo2019, 2 or 4 [default: 4 with voxceleb2, else 2]
    #[arg(long)]
    table: Option<u8>,
    /// Draw a figure of heo2019 instead, 1 or 2, of one seed; what it is drawn of is trained if it is not yet
    #[arg(long, requires = "root", conflicts_with_all = ["table", "dev_only"], value_parser = clap::value_parser!(u8).range(1..=2))]
    figure: Option<u8>,
    /// Seeds, one run each
    #[arg(long, value_delimiter = ',', default_value = "1")]
    seeds: Vec<u64>,
    /// Train even where docs/results/ has the run
    #[arg(long)]
    again: bool,
    /// Change a key of the recipe; such a run is named by --name
    #[arg(long, value_name = "KEY=VALUE", requires = "name")]
    set: Vec<String>,
    /// Name of the run instead of the recipe's
    #[arg(long)]
    name: Option<String>,
    /// Threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Score the dev lists only, and keep no results: for choosing
    #[arg(long)]
    dev_only: bool,
}

/// How much of a recipe is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Scale {
    /// For a few hundred speakers.
    Mini,
}

/// What is trained: a recipe, what is changed of it, and what its runs are called.
struct Run {
    recipe: String,
    name: String,
    changes: Vec<String>,
}

impl Run {
    /// `recipe` as the arguments want it.
    fn of(arguments: &Arguments, recipe: &str) -> anyhow::Result<Self> {
        let mut changes = Vec::new();
        let mut name = recipe.to_owned();
        if arguments.scale == Some(Scale::Mini) {
            changes.extend(speaker_verification::train::heo2019::mini(recipe)?);
            name.push_str("-mini");
        }
        changes.extend(arguments.set.iter().cloned());
        Ok(Self { recipe: recipe.to_owned(), name: arguments.name.clone().unwrap_or(name), changes })
    }

    /// What one run of it is called.
    fn of_seed(&self, seed: u64) -> String {
        format!("{}-seed{seed}", self.name.replace('/', "-"))
    }
}

/// A finished run: `docs/results/RUN.json`.
#[derive(Serialize, Deserialize)]
pub(crate) struct RunResult {
    pub(crate) name: String,
    pub(crate) about: String,
    pub(crate) recipe: String,
    pub(crate) recipe_hash: String,
    /// What was changed of the recipe.
    pub(crate) changes: Vec<String>,
    pub(crate) corpus: String,
    pub(crate) synthetic: bool,
    pub(crate) seed: u64,
    pub(crate) steps: u64,
    pub(crate) minutes: f64,
    pub(crate) threads: usize,
    pub(crate) machine: String,
    /// Test lists, scored once, at the last step: by the back end where the recipe has one.
    pub(crate) lists: Vec<ListResult>,
    /// Where it has one, the same lists by the cosine of the encoder's own embeddings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) without_back_end: Vec<ListResult>,
    /// The dev lists on the way.
    pub(crate) curve: Vec<EvaluationLine>,
}

/// One list at the last step. Rates are fractions.
#[derive(Serialize, Deserialize)]
pub(crate) struct ListResult {
    pub(crate) list: String,
    pub(crate) eer: f64,
    pub(crate) interval: Option<[f64; 2]>,
    pub(crate) min_dcf: f64,
    pub(crate) trials: usize,
}

pub(crate) fn run(root: &Path, arguments: &Arguments, build: Option<Duration>) -> anyhow::Result<()> {
    ensure!(!arguments.seeds.is_empty(), "--seeds names none");
    speaker_verification::models::pool::limit(arguments.threads)?;
    speaker_verification::models::memory::keep_freed();
    match &arguments.recipe {
        recipe if arguments.figure.is_some() && recipe.as_deref() != Some(heo2019::GROUP) => {
            anyhow::bail!("--figure: only `{}` has figures", heo2019::GROUP)
        }
        None => demonstrate(root, arguments, build),
        Some(recipe) => {
            let recipe = &named(recipe, arguments.corpus.as_deref());
            if recipe == heo2019::GROUP {
                let manifest = corpus_of(arguments, &[])?;
                return heo2019::run(root, arguments, manifest.as_ref());
            }
            let lists = Recipe::load(recipe, &arguments.set)?.evaluation;
            let manifest = corpus_of(arguments, &[lists.dev, lists.test].concat())?;
            let run = Run::of(arguments, recipe)?;
            arguments.seeds.iter().try_for_each(|&seed| one(root, arguments, &run, seed, manifest.as_ref()))
        }
    }
}

/// A recipe's whole name: `ecapa` on the corpus voxceleb is `ecapa/voxceleb`.
fn named(recipe: &str, corpus: Option<&str>) -> String {
    let whole = format!("{recipe}/{}", corpus.unwrap_or_default());
    if Recipe::names().any(|name| name == whole) { whole } else { recipe.to_owned() }
}

fn corpus_of(arguments: &Arguments, lists: &[String]) -> anyhow::Result<Option<Manifest>> {
    match (&arguments.corpus, arguments.scale, &arguments.root) {
        (Some(name), _, Some(root)) => read_corpus(name, root, lists).map(Some),
        (None, Some(Scale::Mini), Some(root)) => Ok(Some(Manifest::read(&root.join("manifest.tsv"), root)?)),
        (Some(_), _, None) => anyhow::bail!("--root: name the folder of the corpus"),
        (None, ..) => Ok(None),
    }
}

/// The recordings of a published corpus, or of a manifest file. Of VoxCeleb the speakers of the trial lists `lists` are judged and
/// not trained on.
pub(crate) fn read_corpus(name: &str, root: &Path, lists: &[String]) -> anyhow::Result<Manifest> {
    match name {
        "vctk" => {
            let mut manifest = vctk(root, None)?;
            manifest.split_speakers(SpeakerOrder::Sorted {})?;
            Ok(manifest)
        }
        "voxceleb" => {
            let lists: Vec<PathBuf> = lists.iter().filter_map(|name| trial_list(root, name)).collect();
            let mut manifest = VoxCeleb::Both.manifest(root, &lists)?;
            if lists.is_empty() {
                manifest.split_speakers(SpeakerOrder::Sorted {})?;
            }
            Ok(manifest)
        }
        "voxceleb1" => {
            let list = trial_list(root, "veri_test").with_context(|| {
                format!(
                    "there is no list veri_test.txt, whose 40 speakers are not trained on; `cargo xtask data voxceleb-trials \
                     --root {}` fetches it",
                    root.display()
                )
            })?;
            Ok(VoxCeleb::One.manifest(root, &[list])?)
        }
        "voxceleb2" => Ok(VoxCeleb::Two.manifest(root, &[])?),
        file => Ok(Manifest::read(Path::new(file), root)?),
    }
}

/// Where the run of that name is.
fn folder_of(root: &Path, name: &str) -> PathBuf {
    root.join("target/reproduce").join(name)
}

/// Where prepared recordings are kept.
fn cache_of(root: &Path) -> PathBuf {
    root.join("target/reproduce/cache")
}

/// One run on a corpus, kept in `docs/results/`.
fn one(root: &Path, arguments: &Arguments, run: &Run, seed: u64, manifest: Option<&Manifest>) -> anyhow::Result<()> {
    let mut changes = run.changes.clone();
    changes.push(format!("seed={seed}"));
    let recipe = Recipe::load(&run.recipe, &changes)?;
    let name = run.of_seed(seed);
    if results::path_of(root, &name).is_file() && !arguments.again && !arguments.dev_only {
        println!("{name}: docs/results/{name}.json is there; --again trains anew");
        if let Results::Training(kept) = results::read_one(root, &name)?
            && kept.recipe_hash != recipe.hash()?
        {
            println!("{name}: its recipe was another, of hash {}, not {}", kept.recipe_hash, recipe.hash()?);
        }
        return Ok(());
    }
    // A run without a figure at its end is not what this command is for.
    if !arguments.dev_only && session::test_lists(&recipe, manifest)?.is_empty() && !recipe.evaluation.test.is_empty() {
        anyhow::bail!(
            "{name}: none of the lists {} is there, and no recording is of the split `test`: nothing could be scored;              `cargo xtask data voxceleb-trials` fetches VoxCeleb's lists",
            recipe.evaluation.test.join(", ")
        );
    }
    let folder = folder_of(root, &name);
    if arguments.again && folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    println!("{name}: {} steps", recipe.steps);
    let request = Request {
        recipe,
        start: arguments.start.clone(),
        resume: folder.join("recipe.toml").is_file(),
        run: folder.clone(),
        manifest: manifest.cloned(),
        cache: Some(cache_of(root)),
        workers: 1,
        device: Device::Cpu,
    };
    let finished = session::train(&request, &mut Lines::default())?;
    println!("trained in {:.1} minutes", finished.seconds / 60.0);
    if arguments.dev_only {
        return Ok(());
    }
    let judgement = session::judge(&finished.run, &request.recipe, manifest)?;
    judgement.lists.iter().for_each(print_list);
    let mut lists: Vec<ListResult> = judgement.lists.iter().map(list_result).collect();
    if let Some(manifest) = manifest {
        lists.extend(published::compare(&request.recipe, manifest, &finished.run.model(), &lists)?);
    }
    if !judgement.without_back_end.is_empty() {
        println!("by the cosine of the encoder's own embeddings:");
        judgement.without_back_end.iter().for_each(print_list);
    }
    let told = summary::of_run(&request.recipe, &finished, &judgement)?;
    summary::save(&folder, &told)?;
    let files = report::write(&[told], &folder.join("report"))?;
    println!("report: {}", files.html.display());
    let result = RunResult {
        name: run.name.clone(),
        about: request.recipe.about.clone(),
        recipe: request.recipe.name.clone(),
        recipe_hash: request.recipe.hash()?,
        changes: run.changes.clone(),
        corpus: finished.corpus.clone(),
        synthetic: finished.synthetic,
        seed,
        steps: finished.step,
        minutes: finished.seconds / 60.0,
        threads: arguments.threads,
        machine: crate::bench::machine(),
        lists,
        without_back_end: judgement.without_back_end.iter().map(list_result).collect(),
        curve: read_evaluations(&folder.join("evaluations.jsonl"))?,
    };
    results::keep(root, &name, &Results::Training(result))
}

fn print_list(result: &TrialResult) {
    print!("{:<48} EER {:5.2} %", result.list, 100.0 * result.eer.rate);
    match result.interval {
        Some(interval) => println!("  ({:.2} to {:.2})", 100.0 * interval.low, 100.0 * interval.high),
        None => println!(),
    }
}

fn list_result(result: &TrialResult) -> ListResult {
    ListResult {
        list: result.list.clone(),
        eer: result.eer.rate,
        interval: result.interval.map(|interval| [interval.low, interval.high]),
        min_dcf: result.min_dcf,
        trials: result.scored.trials(),
    }
}

/// Prints now and then: what a log file can bear.
#[derive(Default)]
struct Lines {
    printed: Option<Instant>,
    began: Option<(Instant, u64)>,
}

impl Observer for Lines {
    fn step(&mut self, line: &MetricLine) -> Result<(), TrainError> {
        let (began, first) = *self.began.get_or_insert((Instant::now(), line.step));
        if self.printed.is_none_or(|at| at.elapsed() >= Duration::from_secs(10)) {
            self.printed = Some(Instant::now());
            let done = (line.step - first).max(1) as f64;
            println!(
                "  step {}  loss {:.3}  {:.3} s a step",
                line.step,
                line.loss,
                began.elapsed().as_secs_f64() / done
            );
        }
        Ok(())
    }

    fn evaluated(&mut self, line: &EvaluationLine) -> Result<(), TrainError> {
        println!("  step {}  {}: EER {:.2} %", line.step, line.list, 100.0 * line.eer);
        Ok(())
    }
}

impl Watcher for Lines {
    fn prepared(&mut self, preparation: &Preparation) {
        println!("  {preparation}");
    }

    fn back_end_step(&mut self, step: u64, loss: f64) -> Result<(), TrainError> {
        if self.printed.is_none_or(|at| at.elapsed() >= Duration::from_secs(10)) {
            self.printed = Some(Instant::now());
            println!("  back end: step {step}  loss {loss:.3}");
        }
        Ok(())
    }
}

/// What LDA makes of the same trials: `cargo run --release -p sv-tests --example synth_lda -- td 1`, and `ti 1`.
const LDA: [(&str, f64); 2] = [("synthetic/td", 0.0910), ("synthetic/ti", 0.0911)];

/// Both kinds on synthesised voices: trained, measured, drawn, with the published figures beside ours.
fn demonstrate(root: &Path, arguments: &Arguments, build: Option<Duration>) -> anyhow::Result<()> {
    let started = Instant::now();
    let folder = root.join("target/reproduce/synthetic");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    let (mut preparing, mut training, mut judging) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let mut told: Vec<RunSummary> = Vec::new();
    for (name, lda) in LDA {
        let mut changes = arguments.set.clone();
        changes.push(format!("seed={}", arguments.seeds[0]));
        let recipe = Recipe::load(name, &changes)?;
        println!("{name}: {}", recipe.about);
        let request = Request {
            run: folder.join(name.replace('/', "-")),
            recipe,
            manifest: None,
            start: None,
            resume: false,
            cache: None,
            workers: 1,
            device: Device::Cpu,
        };
        let begun = Instant::now();
        let finished = session::train(&request, &mut Lines::default())?;
        let trained = Duration::from_secs_f64(finished.seconds);
        training += trained;
        preparing += begun.elapsed().saturating_sub(trained);
        let begun = Instant::now();
        let judgement = session::judge(&finished.run, &request.recipe, None)?;
        let mut summary = summary::of_run(&request.recipe, &finished, &judgement)?;
        summary.baselines.push(Baseline { name: "LDA".to_owned(), eer: lda, interval: None });
        summary.notes.push(
            "The test of the TensorFlow code counts for nothing here: 20 utterances, thresholds from 0.50 up."
                .to_owned(),
        );
        summary::save(finished.run.folder(), &summary)?;
        told.push(summary);
        judging += begun.elapsed();
    }
    let begun = Instant::now();
    let files = report::write(&told, &root.join("target/reproduce/report"))?;
    judging += begun.elapsed();
    page::print(&told);
    println!("\nreport: {}\n", files.html.display());
    let share = |what: &str, time: Option<Duration>| match time {
        Some(time) => println!("{what:<24} {:6.0} s", time.as_secs_f64()),
        None => println!("{what:<24}      -"),
    };
    share("build", build);
    share("voices and features", Some(preparing));
    share("training", Some(training));
    share("evaluation and report", Some(judging));
    share("all", build.map(|build| build + started.elapsed()));
    Ok(())
}

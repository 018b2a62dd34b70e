//! `sv train`: a recipe and a manifest in, a run with its model, figures and report out.

use std::path::PathBuf;
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use speaker_verification::Device;
use speaker_verification::train::data::{Manifest, Preparation};
use speaker_verification::train::report::{self, EvaluationLine, MetricLine, RunSummary};
use speaker_verification::train::session::{self, Request, Watcher};
use speaker_verification::train::{Observer, Recipe, TrainError, summary};

use crate::output;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A recipe's name (see --list) or file
    #[arg(required_unless_present = "list")]
    recipe: Option<String>,
    /// The run's folder
    #[arg(long, value_name = "DIR", required_unless_present = "list")]
    run: Option<PathBuf>,
    /// The recordings: a table with the columns path, corpus, split, speaker, phrase, seconds
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// The folder that the manifest's paths and `trials/NAME.txt` are in [default: the manifest's]
    #[arg(long, value_name = "DIR", requires = "manifest")]
    root: Option<PathBuf>,
    /// Begin with the weights of this model, and its classifier's: a model directory, a run's folder, another system's checkpoint
    #[arg(long, value_name = "MODEL", conflicts_with = "resume")]
    start: Option<PathBuf>,
    /// Go on with the run: it ends with the same bits as one that was never stopped
    #[arg(long)]
    resume: bool,
    /// Change a key of the recipe, as in `--set steps=500 --set data.sampler.speakers=8`
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Keep prepared recordings in this folder for the next run
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Threads that prepare batches ahead of the trainer
    #[arg(long, value_name = "N", default_value_t = 1)]
    workers: usize,
    /// Compute on cpu, cuda:N or metal; builds for the latter two have the features `cuda` and `metal`
    #[arg(long, value_name = "DEVICE", default_value_t)]
    device: Device,
    /// List the recipes that come with the program
    #[arg(long)]
    list: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let (Some(name), Some(run)) = (&arguments.recipe, &arguments.run) else {
        for name in Recipe::names() {
            output::line(&format!("{name:<16} {}", Recipe::load(name, &[])?.about))?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    speaker_verification::models::memory::keep_freed();
    let manifest = match &arguments.manifest {
        None => None,
        Some(path) => {
            let beside = || path.parent().map(PathBuf::from).unwrap_or_default();
            Some(Manifest::read(path, &arguments.root.clone().unwrap_or_else(beside))?)
        }
    };
    let request = Request {
        recipe: Recipe::load(name, &arguments.set)?,
        run: run.clone(),
        manifest,
        start: arguments.start.clone(),
        resume: arguments.resume,
        cache: arguments.cache.clone(),
        workers: arguments.workers,
        device: arguments.device.open()?,
    };
    let mut bar = Bar::new(request.recipe.steps);
    let finished = session::train(&request, &mut bar)?;
    bar.0.finish_and_clear();
    let judgement = session::judge(&finished.run, &request.recipe, request.manifest.as_ref())?;
    let told = summary::of_run(&request.recipe, &finished, &judgement)?;
    summary::save(finished.run.folder(), &told)?;
    for list in &judgement.lists {
        output::line(&format!("{}: EER {:.2} %", list.list, 100.0 * list.eer.rate))?;
    }
    write_report(finished.run.folder(), &[told])?;
    output::line(&format!("model: {}", finished.run.model().display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the report beside the run and says where it is.
pub(crate) fn write_report(folder: &std::path::Path, runs: &[RunSummary]) -> anyhow::Result<()> {
    let files = report::write(runs, &folder.join("report"))?;
    output::line(&format!("report: {}", files.html.display()))
}

/// A bar with the loss, and the speed by which it reckons the time left.
pub(crate) struct Bar(pub(crate) ProgressBar);

impl Bar {
    pub(crate) fn new(steps: u64) -> Self {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} steps, {per_sec}, {eta} left  {msg}");
        Self(ProgressBar::new(steps).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
    }
}

impl Observer for Bar {
    fn step(&mut self, line: &MetricLine) -> Result<(), TrainError> {
        if self.0.position() == 0 && line.step > 1 {
            self.0.reset_eta();
        }
        self.0.set_position(line.step);
        self.0.set_message(format!("loss {:.3}", line.loss));
        Ok(())
    }

    fn evaluated(&mut self, line: &EvaluationLine) -> Result<(), TrainError> {
        self.0.suspend(|| tracing::info!("step {}: EER {:.2} % on {}", line.step, 100.0 * line.eer, line.list));
        Ok(())
    }
}

impl Watcher for Bar {
    fn prepared(&mut self, preparation: &Preparation) {
        for skipped in &preparation.skipped {
            tracing::warn!("skipped {}: {}", skipped.recording, skipped.reason);
        }
    }
}

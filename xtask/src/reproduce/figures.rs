//! The figures of Heo et al. 2019 from one command: what they are drawn of is trained where it is not yet.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use speaker_verification::metrics::score::cosine;
use speaker_verification::metrics::tsne::Tsne;
use speaker_verification::train::data::Manifest;
use speaker_verification::train::heo2019::Table;
use speaker_verification::train::report::{SpeakerOnPlane, Spread, densities, speakers_on_plane};
use speaker_verification::train::speakers::{TrainedSpeakers, centroid};
use speaker_verification::train::{Purpose, Recipe, Stream};

use super::heo2019::run_of;
use super::{Arguments, RunResult, Scale, cache_of, folder_of, one};
use crate::results::{self, Results, row};

/// Names of the files in `docs/images/` and `docs/results/`.
const EMBEDDINGS: &str = "heo2019-embeddings";
const CENTROIDS: &str = "heo2019-centroids";

/// What a figure's network was trained with, and its recipe.
type Network = (&'static str, &'static str);
const BOTH: Network = ("L_BC + L_H", "heo2019/hard-between");
const WITHOUT: Network = ("L_S + L_C", "heo2019/center");
const WITH: Network = ("L_S + L_C + L_BC", "heo2019/center-between");

/// Speakers on the plane.
const DRAWN: usize = 5;
/// Recordings that a speaker needs: a mean of fewer says little.
const LEAST: usize = 10;
/// Neighbours of a point: fewer than a speaker of the small scale has recordings.
const PERPLEXITY: f64 = 15.0;
/// The step of the stream that speakers are drawn from, which nothing else of a recipe's evaluation draws from.
const STREAM: u64 = 2;
/// Width of a bin of cosines.
const BIN: f64 = 0.02;

/// What is said of the speakers of both figures.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Scene {
    corpus: String,
    synthetic: bool,
    /// Whether the network was trained at the small scale.
    mini: bool,
    steps: u64,
    seed: u64,
    /// Recordings that a speaker needs to be chosen.
    least: usize,
    /// Speakers who have them.
    qualified: usize,
    /// All speakers that were trained on.
    trained: usize,
}

/// Figure 1: `docs/results/heo2019-embeddings.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Embeddings {
    run: String,
    loss: String,
    scene: Scene,
    speakers: Vec<String>,
    utterances: usize,
    perplexity: f64,
    /// Of the places on the plane, in nats.
    divergence: f64,
    /// Mean cosine of a speaker's mean embedding and basis.
    own_basis: f64,
    /// Mean cosine of a speaker's mean embedding and the basis of another, of all that were trained on.
    other_bases: f64,
    /// Speakers drawn whose mean embedding is nearer to the own basis than to that of any other.
    nearest_own: usize,
}

/// Figure 2: `docs/results/heo2019-centroids.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Centroids {
    scene: Scene,
    utterances: usize,
    pairs: usize,
    /// Without L_BC, then with it.
    cosines: Vec<Cosines>,
}

/// Cosines of two speakers' mean embeddings.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Cosines {
    run: String,
    loss: String,
    mean: f64,
    deviation: f64,
    /// Share of those above 0.5.
    above_half: f64,
}

pub(super) fn run(root: &Path, arguments: &Arguments, figure: u8, manifest: Option<&Manifest>) -> anyhow::Result<()> {
    let [seed] = arguments.seeds[..] else { bail!("a figure is of one seed; --seeds names {:?}", arguments.seeds) };
    ensure!(
        arguments.corpus.as_deref() != Some("voxceleb2"),
        "the figures are of networks of Table 2; --corpus voxceleb1"
    );
    let (name, svg, results) = match figure {
        1 => first(root, arguments, seed, manifest)?,
        _ => second(root, arguments, seed, manifest)?,
    };
    let path = root.join("docs/images").join(format!("{name}.svg"));
    std::fs::write(&path, svg).with_context(|| path.display().to_string())?;
    results::keep(root, name, &results)?;
    println!("{}", path.display());
    Ok(())
}

/// A network and the speakers that it was trained on.
struct Trained {
    run: String,
    speakers: TrainedSpeakers,
    scene: Scene,
}

/// Trains what is not trained yet, and opens it.
fn trained(
    root: &Path,
    arguments: &Arguments,
    (_, recipe): Network,
    seed: u64,
    manifest: Option<&Manifest>,
) -> anyhow::Result<Trained> {
    let run = run_of(arguments, recipe, Table::Two)?;
    let name = run.of_seed(seed);
    one(root, arguments, &run, seed, manifest)?;
    let folder = folder_of(root, &name);
    ensure!(
        folder.is_dir(),
        "{}: is not there, and docs/results/{name}.json holds no weights; --again trains anew",
        folder.display()
    );
    let mut changes = run.changes;
    changes.push(format!("seed={seed}"));
    let recipe = Recipe::load(recipe, &changes)?;
    let speakers = TrainedSpeakers::of_run(&folder, &recipe, manifest, Some(&cache_of(root)))?;
    let Results::Training(RunResult { synthetic, .. }) = results::read_one(root, &name)? else {
        bail!("docs/results/{name}.json is of no training");
    };
    let scene = Scene {
        corpus: speakers.corpus().to_owned(),
        synthetic,
        mini: arguments.scale == Some(Scale::Mini),
        steps: recipe.steps,
        seed,
        least: LEAST,
        qualified: speakers.with_at_least(LEAST).len(),
        trained: speakers.with_at_least(0).len(),
    };
    ensure!(
        scene.qualified >= 2,
        "{} of {} speakers have {LEAST} training recordings; a figure needs two of them",
        scene.qualified,
        scene.trained
    );
    println!("{name}: {} of {} speakers have at least {LEAST} recordings", scene.qualified, scene.trained);
    Ok(Trained { run: name, speakers, scene })
}

/// Mean embeddings of all speakers with enough recordings, and how many recordings they are of.
fn centroids(trained: &Trained) -> anyhow::Result<(Vec<Vec<f32>>, usize)> {
    let names = trained.speakers.with_at_least(LEAST);
    let mut told = Instant::now();
    let (mut centroids, mut utterances) = (Vec::new(), 0);
    for name in &names {
        let embeddings = trained.speakers.embeddings(name)?;
        utterances += embeddings.nrows();
        centroids.push(centroid(embeddings.view()));
        if told.elapsed() >= Duration::from_secs(10) {
            told = Instant::now();
            println!("  {} of {} speakers embedded", centroids.len(), names.len());
        }
    }
    Ok((centroids, utterances))
}

/// Figure 1: speakers drawn by the seed, on a plane.
fn first(
    root: &Path,
    arguments: &Arguments,
    seed: u64,
    manifest: Option<&Manifest>,
) -> anyhow::Result<(&'static str, String, Results)> {
    let trained = trained(root, arguments, BOTH, seed, manifest)?;
    let names = trained.speakers.with_at_least(LEAST);
    let basis = |name: &str| trained.speakers.basis(name).context("a speaker has lost the basis");
    let mut chosen = Stream::new(seed, Purpose::Evaluation, STREAM, 0).distinct(names.len(), DRAWN);
    chosen.sort_unstable();

    // Of each speaker the recordings, then mean and basis; of length one, since scores are cosines.
    let (mut points, mut sizes, mut means) = (Vec::new(), Vec::new(), Vec::new());
    for &place in &chosen {
        let embeddings = trained.speakers.embeddings(names[place])?;
        let mean = centroid(embeddings.view());
        sizes.push(embeddings.nrows());
        points.extend(embeddings.rows().into_iter().map(|row| unit(row.iter().copied())));
        points.push(unit(mean.iter().copied()));
        points.push(unit(basis(names[place])?.iter().copied()));
        means.push(mean);
    }
    let (mut own, mut others, mut nearest_own) = (Vec::new(), Vec::new(), 0);
    for (mean, &of) in means.iter().zip(&chosen) {
        let mut nearest = f64::NEG_INFINITY;
        let mut of_own = nearest;
        for name in trained.speakers.with_at_least(0) {
            let score = cosine(mean, basis(name)?)?;
            if name == names[of] {
                of_own = score;
            } else {
                nearest = nearest.max(score);
                others.push(score);
            }
        }
        own.push(of_own);
        nearest_own += usize::from(of_own > nearest);
    }
    let perplexity = PERPLEXITY.min((points.len() - 1) as f64 / 3.0);
    let layout = Tsne { perplexity, seed, ..Tsne::default() }.layout(&points)?;
    let mut rest = &layout.places[..];
    let mut drawn = Vec::new();
    for (&place, &size) in chosen.iter().zip(&sizes) {
        let (own, after) = rest.split_at(size + 2);
        rest = after;
        let name = names[place].to_owned();
        drawn.push(SpeakerOnPlane {
            name,
            embeddings: own[..size].to_vec(),
            centroid: own[size],
            basis: own[size + 1],
        });
    }
    let caption = format!("{} of {}", drawn.len(), told(&trained.scene));
    let title = format!("Embeddings, mean embeddings and speaker bases, {}", BOTH.0);
    let svg = speakers_on_plane(&title, &caption, ["t-SNE, first axis", "t-SNE, second axis"], &drawn)?;
    let results = Embeddings {
        loss: BOTH.0.to_owned(),
        speakers: drawn.into_iter().map(|speaker| speaker.name).collect(),
        utterances: sizes.iter().sum(),
        perplexity,
        divergence: layout.divergence,
        own_basis: mean(&own),
        other_bases: mean(&others),
        nearest_own,
        run: trained.run,
        scene: trained.scene,
    };
    Ok((EMBEDDINGS, svg, Results::HeoEmbeddings(results)))
}

/// Figure 2: cosines of mean embeddings without and with the loss between classes.
fn second(
    root: &Path,
    arguments: &Arguments,
    seed: u64,
    manifest: Option<&Manifest>,
) -> anyhow::Result<(&'static str, String, Results)> {
    let (mut found, mut spreads) = (Vec::new(), Vec::new());
    let mut about = None;
    for (what, network) in [("without", WITHOUT), ("with", WITH)] {
        let trained = trained(root, arguments, network, seed, manifest)?;
        let (centroids, utterances) = centroids(&trained)?;
        let mut values = Vec::new();
        for (place, one) in centroids.iter().enumerate() {
            for other in &centroids[..place] {
                values.push(cosine(one, other)?);
            }
        }
        let mean = mean(&values);
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
        let above = values.iter().filter(|value| **value > 0.5).count();
        found.push(Cosines {
            run: trained.run,
            loss: network.0.to_owned(),
            mean,
            deviation: variance.sqrt(),
            above_half: above as f64 / values.len() as f64,
        });
        about = Some((trained.scene, utterances, values.len()));
        spreads.push(Spread { name: format!("{what} L_BC ({})", network.0), values });
    }
    let (scene, utterances, pairs) = about.context("no network")?;
    let caption = format!("{pairs} pairs of {}", told(&scene));
    let svg = densities("Impostor scores of mean embeddings", &caption, "cos(ĉ_i, ĉ_j), i ≠ j", BIN, &spreads)?;
    Ok((CENTROIDS, svg, Results::HeoCentroids(Centroids { scene, utterances, pairs, cosines: found })))
}

fn unit(values: impl Iterator<Item = f32>) -> Vec<f32> {
    let values: Vec<f32> = values.collect();
    let length = values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
    // Zeros have no direction, and stay.
    values.into_iter().map(|value| if length > 0.0 { (f64::from(value) / length) as f32 } else { value }).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Who is in a figure, and what was trained.
fn told(scene: &Scene) -> String {
    format!(
        "{} training speakers with at least {} recordings ({} speakers were trained on); {}: {}; {}{} steps, seed {}",
        scene.qualified,
        scene.least,
        scene.trained,
        if scene.synthetic { "synthetic voices" } else { "real speech" },
        scene.corpus,
        if scene.mini { "small scale, " } else { "" },
        scene.steps,
        scene.seed
    )
}

/// What L_BC did to the mean.
fn lower(cosines: &[Cosines]) -> &'static str {
    match cosines {
        [without, with] if with.mean < without.mean => "lower with it, too",
        _ => "not lower with it",
    }
}

/// The section of `docs/results.md` about the figures.
pub(crate) fn section(page: &mut String, first: Option<&Embeddings>, second: Option<&Centroids>) -> anyhow::Result<()> {
    if first.is_none() && second.is_none() {
        return Ok(());
    }
    page.push_str("\n## Figures of Heo et al. 2019\n\nThe paper draws them of networks trained on the 1,211 training speakers of VoxCeleb1. How they are drawn here is told in [heo2019.md](heo2019.md). Made by `cargo xtask reproduce heo2019 --figure 1 --scale mini --root DATA`, and `--figure 2`.\n");
    if let Some(figure) = first {
        writeln!(
            page,
            "\n### Figure 1\n\n![Embeddings, mean embeddings and speaker bases of {count} speakers](images/{EMBEDDINGS}.svg)\n\nThe paper's Figure 1: embeddings of five speakers of the training set, drawn at random, a colour each, laid out by t-SNE; triangles are mean embeddings, crosses the speaker bases; trained with {loss}. Here: {count} of {scene}. {utterances} recordings; perplexity {perplexity}, divergence {divergence:.3} nats. The mean embeddings have cosines of {own:.3} with their speakers' bases and of {others:.3} with those of all others (means); {nearest} of the {count} are nearer to the own basis than to any other of all {trained}.",
            count = figure.speakers.len(),
            loss = figure.loss,
            scene = told(&figure.scene),
            utterances = figure.utterances,
            perplexity = figure.perplexity,
            divergence = figure.divergence,
            own = figure.own_basis,
            others = figure.other_bases,
            nearest = figure.nearest_own,
            trained = figure.scene.trained,
        )?;
    }
    if let Some(figure) = second {
        writeln!(
            page,
            "\n### Figure 2\n\n![Densities of the cosines between mean embeddings, without and with L_BC](images/{CENTROIDS}.svg)\n\nThe paper's Figure 2: cosines of the mean embeddings of every two speakers of the training set, without and with L_BC; the paper finds them lower with it; here their mean is {}, of one seed: {} pairs of {}; {} recordings.\n",
            lower(&figure.cosines),
            figure.pairs,
            told(&figure.scene),
            figure.utterances,
        )?;
        row(page, &["loss", "mean", "deviation", "above 0.5"].map(str::to_owned))?;
        row(page, &["---"; 4].map(str::to_owned))?;
        for Cosines { loss, mean, deviation, above_half, .. } in &figure.cosines {
            row(
                page,
                &[
                    loss.clone(),
                    format!("{mean:.3}"),
                    format!("{deviation:.3}"),
                    format!("{:.1} %", 100.0 * above_half),
                ],
            )?;
        }
    }
    Ok(())
}

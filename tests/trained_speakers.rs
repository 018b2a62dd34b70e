//! What a finished run knows of its speakers: bases by name, embeddings of their recordings, and what it refuses.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test stops where its scene cannot be set")]

use common::training::{End, request, tiny, trained};
use sv_audio::frontend::FeatureExtractor;
use sv_metrics::score::cosine;
use sv_metrics::tsne::Tsne;
use sv_models::{ModelDir, Plan};
use sv_train::corpus::TrainingCorpus;
use sv_train::evaluate::Utterances;
use sv_train::report::{SpeakerOnPlane, speakers_on_plane};
use sv_train::speakers::{TrainedSpeakers, centroid};
use sv_train::{Recipe, TrainError};

/// The proposed loss on eight voices, long enough to know them.
fn bases(changes: &[&str]) -> Recipe {
    let objective = r#"objective={kind="speaker-bases", hard={negatives=7, weight=1.0}, between={weight=1.0}}"#;
    let all: Vec<&str> = [
        objective,
        "steps=500",
        "schedule.steps=500",
        "corpus.utterances=10",
        "data.sampler.speakers=8",
        "encoder.hidden=32",
        "evaluation.every=250",
        "checkpoints.every=250",
    ]
    .iter()
    .chain(changes)
    .copied()
    .collect();
    tiny(&all)
}

fn refusal(folder: &std::path::Path, recipe: &Recipe) -> TrainError {
    TrainedSpeakers::of_run(folder, recipe, None, None).err().unwrap()
}

#[test]
fn every_speaker_has_the_own_basis_and_the_own_recordings() {
    let recipe = bases(&[]);
    let folder = tempfile::tempdir().unwrap();
    let finished = trained(&request(&recipe, folder.path()), End::Never).unwrap();
    let cache = tempfile::tempdir().unwrap();
    let speakers = TrainedSpeakers::of_run(folder.path(), &recipe, None, Some(cache.path())).unwrap();
    let names = speakers.with_at_least(10);
    assert_eq!((names.len(), speakers.with_at_least(11).len()), (8, 0));
    assert!(names.is_sorted());
    assert_eq!(speakers.corpus(), finished.corpus);
    assert!(speakers.basis("nobody").is_none());
    assert_eq!(speakers.embeddings("nobody").unwrap().dim(), (0, 8));

    // The loss has drawn each speaker's embeddings to the own basis: another order of rows would show.
    let centroids: Vec<Vec<f32>> =
        names.iter().map(|name| centroid(speakers.embeddings(name).unwrap().view())).collect();
    let mut own = 0;
    for (place, mean) in centroids.iter().enumerate() {
        let to = |name: &str| cosine(mean, speakers.basis(name).unwrap()).unwrap();
        let nearest = (0..8).max_by(|&a, &b| to(names[a]).total_cmp(&to(names[b]))).unwrap();
        own += usize::from(nearest == place);
    }
    assert!(own >= 7, "{own} of 8 mean embeddings are nearest to the own basis");

    // Recordings of the speaker, embedded by the model as it is loaded from the run's folder.
    let model = ModelDir::load(&finished.run.model()).unwrap();
    let plan = Plan::new(&model.description().encoder, model.weights()).unwrap();
    let extractor = FeatureExtractor::new(&recipe.front_end.build().unwrap()).unwrap();
    let train = TrainingCorpus::find(&recipe, None, &extractor).unwrap().train;
    for name in &names {
        let own: Vec<_> = train.entries.iter().filter(|entry| entry.speaker == *name).map(|e| &e.recording).collect();
        let read = Utterances::read(&own, &train.root, &extractor, &recipe.evaluation.windows).unwrap();
        assert_eq!(speakers.embeddings(name).unwrap(), read.embed(&plan).unwrap(), "{name}");
    }

    // From here to the drawing, as the figure is made.
    let five = &names[..5];
    let mut points: Vec<Vec<f32>> = Vec::new();
    for name in five {
        let embeddings = speakers.embeddings(name).unwrap();
        points.extend(embeddings.rows().into_iter().map(|row| row.to_vec()));
        points.extend([centroid(embeddings.view()), speakers.basis(name).unwrap().to_vec()]);
    }
    let places = Tsne { perplexity: 8.0, ..Tsne::default() }.layout(&points).unwrap().places;
    let drawn: Vec<SpeakerOnPlane> = five
        .iter()
        .zip(places.chunks_exact(12))
        .map(|(name, places)| SpeakerOnPlane {
            name: (*name).to_owned(),
            embeddings: places[..10].to_vec(),
            centroid: places[10],
            basis: places[11],
        })
        .collect();
    let svg = speakers_on_plane("Embeddings", "synthetic voices", ["first", "second"], &drawn).unwrap();
    assert_eq!(svg.matches("<circle").count(), 2 * (50 + 5));
}

#[test]
fn a_run_that_has_not_ended_or_has_no_bases_is_refused() {
    let recipe = bases(&["steps=12", "schedule.steps=12"]);
    let folder = tempfile::tempdir().unwrap();
    let error = refusal(folder.path(), &recipe);
    assert!(matches!(error, TrainError::NoRun { .. }), "{error}");
    trained(&request(&recipe, folder.path()), End::Stop(5)).unwrap();
    let error = refusal(folder.path(), &recipe);
    assert!(matches!(error, TrainError::NotFinished { step: 5, steps: 12, .. }), "{error}");
    let error = refusal(folder.path(), &bases(&["steps=13", "schedule.steps=13"]));
    assert!(matches!(error, TrainError::OtherRecipe { .. }), "{error}");

    let recipe = tiny(&[]);
    let folder = tempfile::tempdir().unwrap();
    trained(&request(&recipe, folder.path()), End::Never).unwrap();
    let error = refusal(folder.path(), &recipe);
    assert!(matches!(&error, TrainError::NoBases { got, need: [8, 8], .. } if got.is_empty()), "{error}");
}

#[test]
fn a_mean_embedding_is_the_mean_of_each_value() {
    let embeddings = ndarray::arr2(&[[1.0_f32, 2.0], [3.0, -2.0], [5.0, 6.0]]);
    assert_eq!(centroid(embeddings.view()), [3.0, 2.0]);
    // Two that f32 cannot add.
    assert_eq!(centroid(ndarray::arr2(&[[f32::MAX], [f32::MAX]]).view()), [f32::MAX]);
    assert_eq!(centroid(ndarray::Array2::zeros((0, 2)).view()), [0.0, 0.0]);
}

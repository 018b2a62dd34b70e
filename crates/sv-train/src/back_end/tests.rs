//! Back ends on made embeddings: who is drawn, and that what is learned tells speakers apart whom the cosine does not.

use sv_metrics::{Label, ScoredTrials, eer, score};
use sv_models::Fingerprint;

use super::*;
use crate::{Observer, Stream};

/// Values of an embedding that are the speaker's, and values that are the recording's, which are larger.
const OWN: usize = 4;
const OTHER: usize = 12;
const SIZE: usize = OWN + OTHER;
const RECORDINGS: usize = 6;

struct Silent;

impl Observer for Silent {}
impl Watcher for Silent {}

/// Embeddings of `speakers`, none of whom is in those of another seed, and who said each.
fn made(seed: u64, speakers: usize) -> (Frozen, Vec<Vec<f32>>, Vec<usize>) {
    let mut stream = Stream::new(seed, crate::Purpose::BackEnd, 0, 0);
    let (mut rows, mut of) = (Vec::new(), Vec::new());
    for speaker in 0..speakers {
        let own: Vec<f64> = (0..OWN).map(|_| stream.uniform(-1.0, 1.0)).collect();
        for _ in 0..RECORDINGS {
            let mut row: Vec<f32> = own.iter().map(|value| (value + stream.uniform(-0.1, 0.1)) as f32).collect();
            row.extend((0..OTHER).map(|_| stream.uniform(-2.0, 2.0) as f32));
            rows.push(row);
            of.push(speaker);
        }
    }
    let places = (0..speakers).map(|speaker| (speaker * RECORDINGS..(speaker + 1) * RECORDINGS).collect()).collect();
    (Frozen::of(SIZE, rows.concat(), places), rows, of)
}

/// The equal error rate of all pairs, by `score`.
fn rate(of: &[usize], score: impl Fn(usize, usize) -> f64) -> f64 {
    let (mut scores, mut labels) = (Vec::new(), Vec::new());
    for (a, b) in (0..of.len()).flat_map(|a| (0..a).map(move |b| (a, b))) {
        scores.push(score(a, b));
        labels.push(if of[a] == of[b] { Label::Target } else { Label::NonTarget });
    }
    eer::eer(&ScoredTrials::new(&scores, &labels).unwrap()).rate
}

fn by_cosine(rows: &[Vec<f32>], of: &[usize]) -> f64 {
    rate(of, |a, b| score::cosine(&rows[a], &rows[b]).unwrap())
}

fn training(recipe: &str, changes: &[&str]) -> BackEndConfig {
    let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
    Recipe::load(recipe, &changes).unwrap().back_end.unwrap()
}

#[test]
fn half_of_the_pairs_are_of_one_speaker_and_half_of_two() {
    let (frozen, _, of) = made(1, 5);
    for step in 0..20 {
        let (first, second) = b_vector::pairs(&frozen, 8, 1, step);
        assert_eq!((first.len(), second.len()), (16, 16));
        for (pair, (&a, &b)) in first.iter().zip(&second).enumerate() {
            assert_ne!(a, b, "a recording is not paired with itself");
            assert_eq!(of[a] == of[b], pair < 8, "{pair} of step {step}");
        }
    }
    assert_ne!(b_vector::pairs(&frozen, 8, 1, 0), b_vector::pairs(&frozen, 8, 1, 1));
    assert_eq!(b_vector::pairs(&frozen, 8, 1, 0), b_vector::pairs(&frozen, 8, 1, 0));
}

#[test]
fn a_batch_is_two_recordings_of_each_of_its_speakers() {
    let (frozen, _, of) = made(1, 7);
    for (asked, expected) in [(4, 4), (7, 7), (50, 7)] {
        let (rows, labels) = metric::batch(&frozen, asked, 1, 3);
        assert_eq!((rows.len(), labels.speakers().len()), (2 * expected, 2 * expected));
        for (rows, labels) in rows.chunks(2).zip(labels.speakers().chunks(2)) {
            assert!(rows[0] != rows[1] && of[rows[0]] == of[rows[1]]);
            assert_eq!(labels, [of[rows[0]] as u32; 2]);
        }
        let mut drawn: Vec<usize> = rows.iter().map(|&row| of[row]).collect();
        drawn.dedup();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), expected, "each once");
    }
}

#[test]
fn the_b_vector_tells_speakers_apart_that_it_has_not_seen() {
    let changes = ["back_end.hidden=[32, 32]", "back_end.training.steps=600"];
    let BackEndConfig::BVector(training) = training("heo2019/voxceleb2-center", &changes) else { panic!("another") };
    let (frozen, ..) = made(1, 60);
    let nobody: Fingerprint = "0".repeat(64).parse().unwrap();
    let network = b_vector::train(&training, &frozen, nobody, 1, &mut Silent).unwrap().unwrap();
    let (_, rows, of) = made(2, 20);
    let before = by_cosine(&rows, &of);
    let after = rate(&of, |a, b| network.scores(&[(&rows[a], &rows[b])]).unwrap()[0]);
    assert!(before > 0.3 && after < before / 2.0, "{before} {after}");
}

#[test]
fn the_b_vector_learns_from_embeddings_of_any_length() {
    let changes = ["back_end.hidden=[32, 32]", "back_end.training.steps=600"];
    let BackEndConfig::BVector(training) = training("heo2019/voxceleb2-hard100", &changes) else { panic!("another") };
    // As long as L_H and L_BC leave them, which see directions only.
    let longer =
        |rows: &[Vec<f32>]| -> Vec<f32> { rows.iter().flat_map(|row| row.iter().map(|value| 3e4 * value)).collect() };
    let (frozen, rows, _) = made(1, 60);
    let frozen = Frozen::of(SIZE, longer(&rows), frozen.speakers().to_vec());
    let nobody: Fingerprint = "0".repeat(64).parse().unwrap();
    let network = b_vector::train(&training, &frozen, nobody, 1, &mut Silent).unwrap().unwrap();
    let (_, rows, of) = made(2, 20);
    let before = by_cosine(&rows, &of);
    let rows = longer(&rows);
    let row = |place: usize| &rows[place * SIZE..(place + 1) * SIZE];
    let after = rate(&of, |a, b| network.scores(&[(row(a), row(b))]).unwrap()[0]);
    assert!(before > 0.3 && after < before / 2.0, "{before} {after}");
}

#[test]
fn the_metric_layer_tells_speakers_apart_that_it_has_not_seen() {
    let changes = ["back_end.size=8", "back_end.training.steps=600"];
    let BackEndConfig::Metric(training) = training("heo2019/metric-learning", &changes) else { panic!("another") };
    let (frozen, ..) = made(1, 60);
    let layer = metric::layer(&training, &frozen, 1, &mut Silent).unwrap().unwrap();
    let (unseen, rows, of) = made(2, 20);
    let before = by_cosine(&rows, &of);
    let through = layer.forward(&unseen.rows(&(0..rows.len()).collect::<Vec<_>>()).unwrap()).unwrap();
    let after = by_cosine(&through.to_vec2::<f32>().unwrap(), &of);
    assert!(before > 0.3 && after < before / 2.0, "{before} {after}");
}

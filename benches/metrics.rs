//! From scores to figures: sorting and EER of one and ten million trials, other figures and the bootstrap on a million.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use sv_metrics::bootstrap::{Bootstrap, eer_interval};
use sv_metrics::dcf::{self, CostModel};
use sv_metrics::eer::{self, EerConvention};
use sv_metrics::{Label, ScoredTrials, TrialFormat, Trials, score};

/// Every tenth trial a target, scores of two overlapping bumps (sums of uniform numbers), from a linear congruential generator.
fn made_up(trials: usize) -> (Vec<f64>, Vec<Label>) {
    let mut state = 1_u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let rows = (0..trials).map(|i| {
        let noise = (0..4).map(|_| uniform()).sum::<f64>() - 2.0;
        if i % 10 == 0 { (0.9 + noise, Label::Target) } else { (noise, Label::NonTarget) }
    });
    rows.unzip()
}

fn scores_to_eer(c: &mut Criterion) {
    let mut group = c.benchmark_group("metrics");
    group.sample_size(10);
    for (name, trials) in [("1e6", 1_000_000), ("1e7", 10_000_000)] {
        let (scores, labels) = made_up(trials);
        group.bench_function(format!("sort_and_eer/{name}"), |b| {
            b.iter(|| eer::eer(&ScoredTrials::new(black_box(&scores), &labels).expect("both kinds")).rate);
        });
        let sorted = ScoredTrials::new(&scores, &labels).expect("both kinds");
        group.bench_function(format!("eer_of_sorted/{name}"), |b| b.iter(|| eer::eer(black_box(&sorted)).rate));
    }
    let (mut scores, labels) = made_up(10_000_000);
    for score in &mut scores {
        *score = (*score * 1000.0).round() / 1000.0;
    }
    group.bench_function("sort_and_eer/1e7/ties", |b| {
        b.iter(|| eer::eer(&ScoredTrials::new(black_box(&scores), &labels).expect("both kinds")).rate);
    });
    group.finish();
}

fn other_figures(c: &mut Criterion) {
    let mut group = c.benchmark_group("metrics");
    group.sample_size(10);
    let (scores, labels) = made_up(1_000_000);
    let trials = ScoredTrials::new(&scores, &labels).expect("both kinds");
    // The rules must agree on smooth scores, or one of them computes something else.
    for convention in [EerConvention::SpeechBrain, EerConvention::WeSpeaker, EerConvention::Kaldi] {
        assert!((eer::eer_by(convention, &trials).rate - eer::eer(&trials).rate).abs() < 1e-3, "{convention:?}");
        group.bench_function(format!("eer_{convention:?}/1e6"), |b| {
            b.iter(|| eer::eer_by(convention, black_box(&trials)).rate);
        });
    }
    let model = CostModel::with_prior(0.01).expect("a prior");
    group.bench_function("min_dcf/1e6", |b| b.iter(|| dcf::min_dcf(black_box(&trials), &model).cost));
    group.bench_function("min_cllr/1e6", |b| b.iter(|| dcf::min_cllr(black_box(&trials))));

    let speakers: Vec<(usize, usize)> =
        (0..scores.len()).map(|i| (i % 1251, if i % 10 == 0 { i % 1251 } else { i * 7919 % 1251 })).collect();
    let settings = Bootstrap { resamples: 10, ..Bootstrap::default() };
    group.bench_function("bootstrap/1e6/10resamples", |b| {
        b.iter(|| eer_interval(black_box(&trials), &speakers, &settings).expect("an interval").low);
    });
    group.finish();
}

fn lists_and_cosines(c: &mut Criterion) {
    let mut group = c.benchmark_group("metrics");
    let text: String =
        (0..100_000).map(|i| format!("{} id{}/v{}/0.wav id{}/w/1.wav\n", i % 2, i % 1251, i % 4000, i % 977)).collect();
    group.bench_function("parse/1e5", |b| {
        b.iter(|| Trials::parse(black_box(&text), TrialFormat::VoxCeleb).expect("a list").files().len());
    });
    for dimension in [192, 256] {
        let vector = |phase: f32| (0..dimension).map(|i| (i as f32 * phase).sin()).collect::<Vec<f32>>();
        group.bench_function(format!("cosine/{dimension}"), |b| {
            b.iter_batched_ref(
                || (vector(0.3), vector(0.7)),
                |(left, right)| score::cosine(left, right),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, scores_to_eer, other_figures, lists_and_cosines);
criterion_main!(benches);

//! Training's stage. `lstm_training/CASE/step`: forward and backward of the sum of squares of the last frame's outputs, three
//! layers on frames of 40 values; throughput in floating-point operations, 6 for each weight, frame and sequence.
//! `lstm_training/gemm`: the rate of the `gemm` crate on f32, 1024 x 1024 x 1024, which these are measured by.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sv_kernels::lstm::{Batch, Keep, LayerSizes, LayerWeights, LstmSlopes, LstmTraining, Threads};

const INPUT: usize = 40;
const FRAMES: usize = 160;
const SIDE: usize = 1024;

/// Repeatable values of magnitude up to `scale`.
fn noise(seed: u64, length: usize, scale: f32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0) * scale
    };
    (0..length).map(|_| next()).collect()
}

fn layers(hidden: usize, projection: Option<usize>) -> Vec<LayerWeights> {
    let scale = 1.0 / (hidden as f32).sqrt();
    let output = projection.unwrap_or(hidden);
    [INPUT, output, output]
        .into_iter()
        .zip(1..)
        .map(|(input, seed)| {
            let sizes = LayerSizes { input, hidden, projection };
            let gates = 4 * hidden;
            let (w_ih, w_hh) = (noise(seed, gates * input, scale), noise(seed + 10, gates * output, scale));
            let w_hr = projection.map(|size| noise(seed + 30, size * hidden, scale));
            LayerWeights::new(sizes, w_ih, w_hh, noise(seed + 20, gates, scale), w_hr).expect("the shapes fit")
        })
        .collect()
}

fn weights(layers: &[LayerWeights]) -> usize {
    layers.iter().map(|l| l.w_ih().len() + l.w_hh().len() + l.w_hr().map_or(0, <[f32]>::len)).sum()
}

/// One step; gives the loss, and the gradients to `training`.
fn step(training: &mut LstmTraining, layers: &[LayerWeights], batch: &Batch<'_>, last: &mut Vec<f32>) -> f32 {
    let out = training.forward(layers, batch, Keep::Last, Threads::Pool).expect("the batch fits");
    last.clear();
    last.extend_from_slice(out.last());
    let loss = last.iter().map(|v| v * v).sum();
    last.iter_mut().for_each(|value| *value *= 2.0);
    let slopes = LstmSlopes { last: Some(last), ..LstmSlopes::default() };
    training.backward(&slopes, false).expect("the slopes fit");
    loss
}

fn lstm_training(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lstm_training");
    group.sample_size(10);
    for (name, hidden, projection, sequences) in
        [("128_64/batch20", 128, Some(64), 20), ("256/batch64", 256, None, 64), ("768_256/batch64", 768, Some(256), 64)]
    {
        let layers = layers(hidden, projection);
        let input = noise(99, sequences * FRAMES * INPUT, 1.0);
        let batch = Batch::new(&input, sequences, FRAMES);
        let (mut training, mut last) = (LstmTraining::default(), Vec::new());
        group.throughput(Throughput::Elements((6 * weights(&layers) * sequences * FRAMES) as u64));
        group.bench_function(format!("{name}/step"), |bencher| {
            bencher.iter(|| step(&mut training, &layers, &batch, &mut last));
        });
    }
    let (a, b, mut c) = (noise(1, SIDE * SIDE, 1.0), noise(2, SIDE * SIDE, 1.0), vec![0.0; SIDE * SIDE]);
    group.throughput(Throughput::Elements((2 * SIDE * SIDE * SIDE) as u64));
    group.bench_function("gemm", |bencher| bencher.iter(|| product(&a, &b, &mut c)));
    group.finish();
}

/// `c = a b`, all (SIDE, SIDE), on all threads.
fn product(a: &[f32], b: &[f32], c: &mut [f32]) {
    assert!([a.len(), b.len(), c.len()] == [SIDE * SIDE; 3]);
    let (row, column) = (SIDE as isize, 1);
    // SAFETY: each slice holds SIDE rows of SIDE values, as the strides say.
    unsafe {
        gemm::gemm(
            SIDE,
            SIDE,
            SIDE,
            c.as_mut_ptr(),
            column,
            row,
            false,
            a.as_ptr(),
            column,
            row,
            b.as_ptr(),
            column,
            row,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::Rayon(0),
        );
    }
}

criterion_group!(benches, lstm_training);
criterion_main!(benches);

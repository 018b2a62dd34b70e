//! The encoders' stage. `lstm/CASE/THREADS`: Resemblyzer's network (40 in, 3 x 256, 160 frames) without its linear layer;
//! throughput in floating-point operations of its products. The rival is the plain definition.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sv_kernels::lstm::{Batch, Keep, LayerSizes, LayerWeights, Lstm, Threads, Workspace};
use sv_kernels::{Tier, reference};

const INPUT: usize = 40;
const HIDDEN: usize = 256;
const FRAMES: usize = 160;

/// Repeatable values of magnitude up to `scale`.
fn noise(seed: u64, length: usize, scale: f32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0) * scale
    };
    (0..length).map(|_| next()).collect()
}

fn layers() -> Vec<LayerWeights> {
    [INPUT, HIDDEN, HIDDEN]
        .into_iter()
        .zip(1..)
        .map(|(input, seed)| {
            let sizes = LayerSizes { input, hidden: HIDDEN, projection: None };
            let gates = 4 * HIDDEN;
            let (w_ih, w_hh) = (noise(seed, gates * input, 0.0625), noise(seed + 10, gates * HIDDEN, 0.0625));
            LayerWeights::new(sizes, w_ih, w_hh, noise(seed + 20, gates, 0.0625), None).expect("the shapes fit")
        })
        .collect()
}

fn lstm(criterion: &mut Criterion) {
    let layers = layers();
    let mut group = criterion.benchmark_group("lstm");
    group.sample_size(10);
    for sequences in [1, 3, 24] {
        let input = noise(99, sequences * FRAMES * INPUT, 1.0);
        let products = 2 * 4 * HIDDEN * (INPUT + 5 * HIDDEN);
        group.throughput(Throughput::Elements((sequences * FRAMES * products) as u64));
        let batch = Batch::new(&input, sequences, FRAMES);
        let mut workspace = Workspace::default();
        for tier in Tier::available() {
            let lstm = Lstm::on_tier(tier, &layers).expect("the layers fit");
            for threads in [Threads::One, Threads::Pool] {
                group.bench_function(format!("batch{sequences}/{tier:?}/{threads:?}"), |bencher| {
                    bencher.iter(|| {
                        lstm.forward(&batch, Keep::Last, threads, &mut workspace).expect("the batch fits").last()[0]
                    });
                });
            }
        }
        if sequences == 1 {
            let plain = || reference::lstm(&layers, sequences, FRAMES, &input, None).expect("fits");
            let lstm = Lstm::new(&layers).expect("the layers fit");
            let fast = lstm.forward(&batch, Keep::Sequence, Threads::One, &mut workspace).expect("the batch fits");
            for (fast, plain) in fast.sequence.iter().zip(&plain().sequence) {
                assert!((fast - plain).abs() <= 1e-5, "the rivals differ: {fast} and {plain}");
            }
            group.bench_function("batch1/plain", |bencher| bencher.iter(plain));
        }
    }
    group.finish();
}

criterion_group!(benches, lstm);
criterion_main!(benches);

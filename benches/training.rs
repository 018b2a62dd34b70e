//! Training's stage. `training/CASE`: a step of `benches/workload.rs`; throughput in floating-point operations of its
//! products. `training/gemm`: a product of candle, which is the `gemm` crate's with AVX-512 where the CPU has it, on
//! f32, 1024 x 1024 x 1024: what these are measured by.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sv_benches::workload::{CASES, SIDE, Step, noise};

fn training(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("training");
    group.sample_size(10);
    for case in &CASES {
        let mut step = Step::new(case).expect("the sizes are not 0");
        group.throughput(Throughput::Elements(step.operations() as u64));
        group.bench_function(case.to_string(), |bencher| {
            bencher.iter(|| step.run().expect("the batch fits").0);
        });
    }
    let square =
        |seed| candle_core::Tensor::from_vec(noise(seed, SIDE * SIDE, 1.0), (SIDE, SIDE), &candle_core::Device::Cpu);
    let (a, b) = (square(1).expect("the shape fits"), square(2).expect("the shape fits"));
    group.throughput(Throughput::Elements((2 * SIDE * SIDE * SIDE) as u64));
    group.bench_function("gemm", |bencher| bencher.iter(|| sv_kernels::ops::matmul(&a, &b).expect("the shapes fit")));
    group.finish();
}

criterion_group!(benches, training);
criterion_main!(benches);

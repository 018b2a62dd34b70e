//! The losses over all speaker bases at 1,251, 6,112 and 100,000 speakers, M = 100 utterances, D = 128: value and gradients.
//!
//! Throughput is speakers a second: where it does not fall as speakers grow, the cost is linear in them. Before anything is
//! measured, both losses are compared with their definitions, which take all pairs and a full sort.
#![forbid(unsafe_code)]

use candle_core::{DType, Device, Tensor, Var};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sv_benches::workload::noise;
use sv_losses::{BasesOptions, BetweenPart, HardPart, Labels, Objective, Setting, SoftmaxPart, SpeakerBases};

const UTTERANCES: usize = 100;
const DIMENSION: usize = 128;
const NEGATIVES: usize = 100;

fn hard() -> BasesOptions {
    BasesOptions { hard: Some(HardPart { negatives: NEGATIVES, weight: 1.0 }), ..BasesOptions::default() }
}

/// For comparison: eq. 1.
fn softmax() -> BasesOptions {
    BasesOptions { softmax: Some(SoftmaxPart::default()), ..BasesOptions::default() }
}

fn both() -> BasesOptions {
    BasesOptions { between: Some(BetweenPart::default()), ..hard() }
}

struct Scene {
    objective: SpeakerBases,
    embeddings: Var,
    labels: Labels,
}

impl Scene {
    fn new(options: &BasesOptions, speakers: usize) -> Self {
        let mut values = noise(1, speakers * DIMENSION, 1.0).into_iter();
        let mut uniform = || f64::from(values.next().unwrap_or(0.5));
        let device = Device::Cpu;
        let mut setting = Setting {
            dimension: DIMENSION,
            classes: speakers,
            dtype: DType::F32,
            device: &device,
            uniform: &mut uniform,
        };
        let objective = SpeakerBases::new(options, &mut setting).expect("an objective");
        let embeddings = Tensor::from_vec(noise(2, UTTERANCES * DIMENSION, 1.0), (UTTERANCES, DIMENSION), &device);
        let embeddings = Var::from_tensor(&embeddings.expect("rows")).expect("a variable");
        let labels = Labels::new((0..UTTERANCES).map(|row| (row * 7_919 % speakers) as u32).collect());
        Self { objective, embeddings, labels }
    }

    fn step(&self) -> f64 {
        let loss = self.objective.loss(&self.embeddings, &self.labels).expect("a loss");
        let gradients = loss.backward().expect("gradients");
        assert!(gradients.get(&self.objective.parameters()[0].var).is_some());
        f64::from(loss.to_scalar::<f32>().expect("a scalar"))
    }
}

/// Both losses by their definitions, in f64.
fn by_definition(scene: &Scene) -> (f64, f64) {
    let unit = |tensor: &Tensor| -> Vec<Vec<f64>> {
        let rows = tensor.to_dtype(DType::F64).and_then(|rows| rows.to_vec2::<f64>()).expect("rows");
        let unit = |row: Vec<f64>| {
            let length = row.iter().map(|value| value * value).sum::<f64>().sqrt();
            row.into_iter().map(|value| value / length).collect()
        };
        rows.into_iter().map(unit).collect()
    };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (bases, rows) = (unit(&scene.objective.parameters()[0].var), unit(&scene.embeddings));
    let mut between = 0.0;
    for (i, a) in bases.iter().enumerate() {
        between += bases.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, b)| dot(a, b)).sum::<f64>();
    }
    let mut hard = 0.0;
    for (row, &own) in rows.iter().zip(scene.labels.speakers()) {
        let own = own as usize;
        let mut others: Vec<f64> = (0..bases.len()).filter(|&j| j != own).map(|j| dot(row, &bases[j])).collect();
        others.sort_by(|a, b| b.total_cmp(a));
        let target = dot(row, &bases[own]);
        hard += others.iter().take(NEGATIVES).map(|cosine| (cosine - target).exp().ln_1p()).sum::<f64>();
    }
    (hard, between)
}

fn losses(criterion: &mut Criterion) {
    // As trainings have it.
    sv_kernels::memory::keep_freed();
    let small = Scene::new(&both(), 1_251);
    let (hard_value, between_value) = by_definition(&small);
    let (got, expected) = (small.step(), hard_value + between_value);
    assert!((got - expected).abs() <= 1e-5 * expected.abs().max(hard_value), "{got} is not {expected}");

    let mut group = criterion.benchmark_group("losses");
    group.sample_size(10);
    for speakers in [1_251, 6_112, 100_000] {
        group.throughput(Throughput::Elements(speakers as u64));
        for (name, options) in [("hard", hard()), ("hard+between", both()), ("softmax", softmax())] {
            let scene = Scene::new(&options, speakers);
            let id = BenchmarkId::new(name, format!("speakers{speakers}/batch{UTTERANCES}/d{DIMENSION}"));
            group.bench_function(id, |bencher| bencher.iter(|| scene.step()));
        }
        let weight = Var::from_tensor(&Scene::new(&hard(), speakers).objective.parameters()[0].var).expect("bases");
        let id = BenchmarkId::new("between", format!("speakers{speakers}/d{DIMENSION}"));
        group.bench_function(id, |bencher| {
            bencher
                .iter(|| sv_losses::between_class(&weight).and_then(|loss| Ok(loss.backward()?)).expect("gradients"));
        });
    }
    group.finish();
}

criterion_group!(benches, losses);
criterion_main!(benches);

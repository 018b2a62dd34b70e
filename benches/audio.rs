//! Front ends and resamplers, one second of input an iteration, the first beside their plain definitions; and the front ends of
//! published systems on 3 s and on 60 s, as `benches/peers/features.py` times the systems' own.

use std::f64::consts::TAU;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sv_audio::Waveform;
use sv_audio::frontend::{Compression, FeatureExtractor, FrontEnd};
use sv_audio::mel::MelBank;
use sv_audio::resample::{ResamplePlan, Resampler};
use sv_benches::workload;

/// One second of a chirp.
fn second(rate_hz: u32) -> Waveform {
    chirp(1, rate_hz)
}

/// A chirp of so many seconds, which starts anew each second.
fn chirp(seconds: u32, rate_hz: u32) -> Waveform {
    Waveform::new(workload::chirp_at(seconds as usize, rate_hz), rate_hz).expect("finite samples")
}

/// The front end from its definition: a sum of n_fft terms a bin, a dense product for the filters.
struct Plain {
    front_end: FrontEnd,
    filters: Vec<Vec<f64>>,
}

impl Plain {
    fn new(front_end: &FrontEnd) -> Self {
        let bank = MelBank::<f64>::new(&front_end.mel, front_end.n_fft, front_end.rate_hz).expect("a preset");
        Self { filters: bank.dense(front_end.n_fft / 2 + 1), front_end: front_end.clone() }
    }

    fn features(&self, samples: &[f32]) -> Vec<f32> {
        let FrontEnd { n_fft, win_length, hop, window, .. } = self.front_end;
        let weights = window.values(win_length);
        let turn: Vec<(f64, f64)> = (0..n_fft).map(|n| (TAU * n as f64 / n_fft as f64).sin_cos()).collect();
        let mut features = Vec::new();
        for frame in 0..=samples.len() / hop {
            let at = |k: usize| {
                let index = (frame * hop + k + (n_fft - win_length) / 2).checked_sub(n_fft / 2);
                index.and_then(|index| samples.get(index)).map_or(0.0, |&sample| f64::from(sample))
            };
            let values: Vec<f64> = weights.iter().enumerate().map(|(k, weight)| weight * at(k)).collect();
            let power: Vec<f64> = (0..=n_fft / 2)
                .map(|bin| {
                    let (mut re, mut im) = (0.0, 0.0);
                    for (n, value) in values.iter().enumerate() {
                        let (sin, cos) = turn[bin * n % n_fft];
                        (re, im) = (re + value * cos, im + value * sin);
                    }
                    re * re + im * im
                })
                .collect();
            for filter in &self.filters {
                let energy: f64 = filter.iter().zip(&power).map(|(weight, power)| weight * power).sum();
                features.push(match self.front_end.compression {
                    Compression::Log10 { offset } => (energy + offset).log10() as f32,
                    _ => energy as f32,
                });
            }
        }
        features
    }
}

fn front_ends(criterion: &mut Criterion) {
    for name in ["ge2e-tf", "resemblyzer"] {
        let front_end = FrontEnd::by_name(name).expect("a known name");
        let extractor = FeatureExtractor::new(&front_end).expect("a preset");
        let (plain, wave) = (Plain::new(&front_end), second(front_end.rate_hz));

        let fast = extractor.features(&wave).expect("long enough").into_inner();
        let slow = plain.features(wave.samples());
        assert_eq!(fast.len(), slow.len());
        assert!(fast.iter().zip(&slow).all(|(a, b)| (a - b).abs() <= 1e-6 * b.abs().max(1.0)), "{name}: not the same");

        let mut group = criterion.benchmark_group(format!("features/{name}/1s"));
        group.throughput(Throughput::Elements(extractor.frames(wave.len()) as u64));
        group.bench_function("planned", |bench| bench.iter(|| extractor.features(black_box(&wave))));
        group.sample_size(10).bench_function("plain", |bench| bench.iter(|| plain.features(black_box(wave.samples()))));
        group.finish();
    }
}

fn published(criterion: &mut Criterion) {
    for name in
        ["speechbrain", "speechbrain-xvector", "wespeaker", "kaldi", "heo2019", "taoruijie", "kaldi-mfcc-voxceleb"]
    {
        let extractor = FeatureExtractor::new(&FrontEnd::by_name(name).expect("a known name")).expect("a preset");
        for seconds in [3, 60] {
            let wave = chirp(seconds, 16_000);
            let mut group = criterion.benchmark_group(format!("features/{name}/{seconds}s"));
            group.throughput(Throughput::Elements(extractor.frames(wave.len()) as u64));
            group.bench_function("planned", |bench| bench.iter(|| extractor.features(black_box(&wave))));
            group.finish();
        }
    }
}

fn resamplers(criterion: &mut Criterion) {
    for (from_hz, to_hz) in [(44_100, 16_000), (48_000, 16_000), (16_000, 8_000), (8_000, 16_000), (44_101, 16_000)] {
        let wave = second(from_hz);
        let mut group = criterion.benchmark_group(format!("resample/{from_hz}-{to_hz}/1s"));
        group.throughput(Throughput::Elements(u64::from(to_hz)));
        for (name, resampler) in [("torchaudio", Resampler::Torchaudio), ("sharp", Resampler::Sharp)] {
            let plan = ResamplePlan::new(from_hz, to_hz, resampler).expect("rates in range");
            group.bench_function(name, |bench| bench.iter(|| plan.process(black_box(wave.samples()))));
            group.bench_function(format!("{name}/plan"), |bench| {
                bench.iter(|| ResamplePlan::new(black_box(from_hz), to_hz, resampler))
            });
        }
        group.finish();
    }
}

criterion_group!(audio, front_ends, published, resamplers);
criterion_main!(audio);

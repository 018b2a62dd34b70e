//! scratch
use ndarray::Array2;
use std::collections::BTreeMap;
use std::time::Instant;
use sv_models::encoders::ecapa::EcapaConfig;
use sv_models::weights::{Weight, Weights};
use sv_models::{EncoderConfig, Plan};
fn noise(seed: u64, length: usize, scale: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (((state >> 40) as f32) / (1_u64 << 23) as f32 - 1.0) * scale
        })
        .collect()
}
fn main() {
    let config = EncoderConfig::Ecapa(EcapaConfig::speechbrain());
    let tensors: BTreeMap<String, Weight> = config
        .tensors()
        .into_iter()
        .enumerate()
        .map(|(i, (name, shape))| {
            let inputs: usize = shape[1..].iter().product::<usize>().max(1);
            let mut values = noise(i as u64, shape.iter().product(), (3.0 / inputs as f32).sqrt());
            if name.ends_with("running_var") || name.ends_with("norm.weight") {
                values.iter_mut().for_each(|v| *v = 1.0 + 0.2 * *v);
            }
            (name, Weight { shape, values })
        })
        .collect();
    let weights = Weights::new("made", &config, tensors).unwrap();
    let plan = Plan::new(&config, &weights).unwrap();
    let x = Array2::from_shape_vec((301, 80), noise(7, 301 * 80, 4.0)).unwrap();
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let runs: usize = std::env::args().nth(1).map_or(10, |s| s.parse().unwrap());
    for _ in 0..3 {
        let mut best = [f64::MAX; 2];
        for _ in 0..runs {
            let t = Instant::now();
            one.install(|| plan.embed(&[x.view()])).unwrap();
            best[0] = best[0].min(t.elapsed().as_secs_f64());
            let t = Instant::now();
            plan.embed(&[x.view()]).unwrap();
            best[1] = best[1].min(t.elapsed().as_secs_f64());
        }
        println!("one {:.2} ms, two {:.2} ms", best[0] * 1e3, best[1] * 1e3);
    }
}

use std::collections::BTreeMap;

use ndarray::{Array2, Array3, Axis};
use proptest::prelude::*;
use sv_kernels::Tier;

use super::*;
use crate::encoders::ecapa::{EcapaConfig, EcapaForm};
use crate::encoders::lstm::{Head, LstmConfig, Normalization};
use crate::encoders::resnet::{HeoForm, ImagePadding, ResNetConfig, ResNetForm, ResNetHead};
use crate::encoders::xvector::XVectorConfig;
use crate::reference;
use crate::weights::Weight;

/// Repeatable values in [-1, 1).
fn noise(seed: u64, length: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32) / (1_u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// Weights that keep the magnitude of a signal, batch norms that are none of the trivial ones.
fn weights(config: &EncoderConfig, seed: u64) -> Weights {
    let tensors = config.tensors().into_iter().enumerate().map(|(index, (name, shape))| {
        let count = shape.iter().product();
        let mut values = noise(seed ^ ((index as u64) << 8), count);
        let inputs = shape[1..].iter().product::<usize>().max(1) as f32;
        if name.ends_with("running_var") {
            values.iter_mut().for_each(|value| *value = 0.3 + 0.2 * *value);
        } else if name.ends_with("norm.weight") || shape.len() == 1 && name.contains("norm") && name.ends_with("weight")
        {
            values.iter_mut().for_each(|value| *value = 1.0 + 0.3 * *value);
        } else {
            values.iter_mut().for_each(|value| *value *= (3.0 / inputs).sqrt());
        }
        (name, Weight { shape, values })
    });
    let tensors: BTreeMap<String, Weight> = tensors.collect();
    Weights::new("made", config, tensors).unwrap()
}

fn ecapa(form: EcapaForm) -> EncoderConfig {
    EncoderConfig::Ecapa(EcapaConfig {
        form,
        bins: 7,
        channels: 24,
        mfa: 70,
        attention: 9,
        scale: 4,
        squeeze: 5,
        size: 11,
        kernels: vec![5, 3, 5],
        dilations: vec![1, 2, 3],
    })
}

fn networks() -> Vec<EncoderConfig> {
    let lstm = LstmConfig {
        bins: 7,
        hidden: 10,
        layers: 2,
        projection: Some(6),
        head: Head::LinearRelu { size: 9 },
        normalization: Normalization::L2 { epsilon: 0.0 },
    };
    let xvector =
        XVectorConfig { bins: 7, channels: vec![20, 30], kernels: vec![5, 3], dilations: vec![1, 3], size: 13 };
    let resnet = ResNetConfig { form: ResNetForm::Wespeaker, bins: 13, channels: 6, blocks: vec![1, 2, 1], size: 8 };
    vec![
        EncoderConfig::Lstm(lstm),
        ecapa(EcapaForm::SpeechBrain),
        ecapa(EcapaForm::Wespeaker),
        ecapa(EcapaForm::TaoRuijie),
        EncoderConfig::XVector(xvector),
        EncoderConfig::ResNet(resnet),
        heo(HeoForm::default(), 24),
        heo(
            HeoForm {
                stem_stride: [1, 2],
                head: ResNetHead::Linear,
                padding: ImagePadding::Same,
                ..HeoForm::default()
            },
            9,
        ),
    ]
}

fn heo(form: HeoForm, size: usize) -> EncoderConfig {
    let form = ResNetForm::Heo(form);
    EncoderConfig::ResNet(ResNetConfig { form, bins: 14, channels: 6, blocks: vec![1, 2, 1], size })
}

/// Greatest difference over greatest magnitude; of an embedding of zeros, as a ReLU may leave it, over a small one.
fn difference(got: &[f32], expected: &[f64]) -> f64 {
    let most = expected.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    let apart = got.iter().zip(expected).map(|(&got, expected)| (f64::from(got) - expected).abs());
    // The greatest of numbers passes over what is none.
    assert!(expected.iter().all(|value| value.is_finite()) && got.iter().all(|value| value.is_finite()));
    apart.fold(0.0, f64::max) / most.max(1e-3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn every_plan_equals_the_plain_definition_on_every_tier(more in 0_usize..40, seed: u64) {
        for config in networks() {
            let weights = weights(&config, seed);
            let frames = config.least_frames() + more;
            let features = Array2::from_shape_vec((frames, config.bins()), noise(seed ^ 77, frames * config.bins())).unwrap();
            let expected = reference::embed(&config, &weights, features.view()).unwrap();
            for tier in Tier::available() {
                let plan = Plan::on_tier(tier, &config, &weights).unwrap();
                let got = plan.embed(&[features.view()]).unwrap();
                let apart = difference(got.as_slice().unwrap(), &expected);
                prop_assert!(apart < 2e-5, "{config:?} on {tier:?}: {apart}");
            }
        }
    }

    #[test]
    fn a_padded_batch_gives_each_row_what_it_has_alone(
        rows in 1_usize..9, extra in 0_usize..30, lengths in prop::collection::vec(0_usize..30, 8), seed: u64,
    ) {
        for config in networks() {
            let plan = Plan::new(&config, &weights(&config, seed)).unwrap();
            let lengths: Vec<usize> = lengths[..rows].iter().map(|more| config.least_frames() + more).collect();
            let frames = lengths.iter().max().unwrap() + extra;
            let values = noise(seed ^ 99, rows * frames * config.bins());
            let mut batch = Array3::from_shape_vec((rows, frames, config.bins()), values).unwrap();
            for (mut row, &length) in batch.outer_iter_mut().zip(&lengths) {
                row.axis_iter_mut(Axis(0)).skip(length).for_each(|mut frame| frame.mapv_inplace(|value| 1e6 * value));
            }
            let together = plan.embed_padded(batch.view(), &lengths).unwrap();
            let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
            for ((row, &length), together) in batch.outer_iter().zip(&lengths).zip(together.outer_iter()) {
                let alone = Array2::from_shape_fn((length, config.bins()), |index| row[index]);
                let by_itself = plan.embed(&[alone.view()]).unwrap();
                prop_assert_eq!(by_itself.row(0), together);
                // In a task of a pool the plan takes no further threads.
                let in_a_task = pool.install(|| plan.embed(&[alone.view()])).unwrap();
                prop_assert_eq!(in_a_task.row(0), together);
            }
        }
    }
}

#[test]
fn memory_of_a_long_window_does_not_leak_into_a_short_one() {
    for config in networks() {
        let plan = Plan::new(&config, &weights(&config, 5)).unwrap();
        let window = |frames: usize| {
            Array2::from_shape_vec((frames, config.bins()), noise(frames as u64, frames * config.bins())).unwrap()
        };
        let first = plan.embed(&[window(20).view()]).unwrap();
        plan.embed(&[(window(70) * 1e3).view()]).unwrap();
        assert_eq!(plan.embed(&[window(20).view()]).unwrap(), first);
    }
}

#[test]
fn windows_and_lengths_that_do_not_fit_are_refused() {
    for config in networks() {
        let plan = Plan::new(&config, &weights(&config, 1)).unwrap();
        let (least, bins) = (config.least_frames(), config.bins());
        let short = Array2::zeros((least - 1, bins));
        assert!(matches!(plan.embed(&[short.view()]), Err(ModelError::Features { .. })));
        let wide = Array2::zeros((least, bins + 1));
        assert!(matches!(plan.embed(&[wide.view()]), Err(ModelError::Features { .. })));
        assert_eq!(plan.embed(&[]).unwrap().dim(), (0, config.embedding_size()));
        let batch = Array3::zeros((2, least, bins));
        for lengths in [&[least][..], &[least, least + 1]] {
            assert!(matches!(plan.embed_padded(batch.view(), lengths), Err(ModelError::Lengths { .. })));
        }
        let short = plan.embed_padded(batch.view(), &[least, least - 1]);
        assert!(matches!(short, Err(ModelError::Features { .. })));
    }
}

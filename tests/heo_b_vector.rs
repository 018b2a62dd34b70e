//! The b-vector network against PyTorch (`b_vector.safetensors`): outputs in both orders, scores, loss and gradients.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use common::data::{Tensors, difference, reference_dir};
use sv_models::pair::{BVectorConfig, Difference, Length};
use sv_models::train::BVectorNetwork;
use sv_models::weights::Weight;
use sv_models::{BVector, Fingerprint};

/// Three times what PyTorch's f32 is off by (`tolerances.json`).
const SINGLE: f64 = 3.0 * 4.27e-7;

fn config() -> BVectorConfig {
    BVectorConfig { embedding: 6, hidden: vec![16; 3], ..BVectorConfig::default() }
}

fn weights(file: &Tensors) -> BTreeMap<String, Weight> {
    let names = file.names();
    let ours = names.iter().filter_map(|name| name.strip_prefix("weight."));
    ours.map(|name| {
        let values = file.get(&format!("weight.{name}"));
        (name.to_owned(), Weight { shape: values.shape.clone(), values: values.f32() })
    })
    .collect()
}

/// Weights that are no reference's.
fn made_up(config: &BVectorConfig) -> BTreeMap<String, Weight> {
    let mut place = 0.0_f64;
    let mut next = || {
        place += 1.0;
        (1.7 * place).sin()
    };
    let draw = |(name, shape): (String, Vec<usize>)| {
        let values = (0..shape.iter().product()).map(|_| next() as f32).collect();
        (name, Weight { shape, values })
    };
    config.tensors().into_iter().map(draw).collect()
}

fn compiled(config: &BVectorConfig, file: &Tensors) -> BVector {
    let nobody: Fingerprint = "0".repeat(64).parse().expect("a fingerprint");
    BVector::new("the reference", config, nobody, weights(file)).expect("a network")
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    let wide = tensor.to_dtype(DType::F64).and_then(|t| t.flatten_all()).and_then(|t| t.to_vec1());
    wide.expect("numbers")
}

fn assert_near(what: &str, got: &[f32], expected: &[f64], limit: f64) {
    let (_, relative) = difference(got, expected);
    eprintln!("{what}: {relative:.2e} of {limit:.2e}");
    assert!(relative <= limit, "{what}: off by {relative:.2e}, allowed {limit:.2e}");
}

#[test]
fn logits_in_both_orders_and_the_score_are_the_reference() {
    let Some(dir) = reference_dir() else { return };
    let file = Tensors::read(&dir.join("b_vector.safetensors"));
    let (e1, e2) = (file.get("e1").f32(), file.get("e2").f32());
    let pairs: Vec<(&[f32], &[f32])> = e1.chunks(6).zip(e2.chunks(6)).collect();
    let swapped: Vec<(&[f32], &[f32])> = pairs.iter().map(|&(a, b)| (b, a)).collect();
    let relu = BVectorConfig { slope: 0.0, ..config() };
    let absolute = BVectorConfig { difference: Difference::Absolute, ..config() };
    for (config, pairs, key) in [
        (config(), &pairs, "forward.logits"),
        (config(), &swapped, "swapped.logits"),
        (relu, &pairs, "relu.logits"),
        (absolute, &pairs, "absolute.logits"),
    ] {
        let got = compiled(&config, &file).logits(pairs).expect("logits").concat();
        assert_near(key, &got, &file.get(key).data, SINGLE);
    }
    let scores: Vec<f32> =
        compiled(&config(), &file).scores(&pairs).expect("scores").into_iter().map(|score| score as f32).collect();
    assert_near("score_logit", &scores, &file.get("score_logit").data, SINGLE);
}

#[test]
fn the_trained_form_has_the_references_loss_and_gradients() {
    let Some(dir) = reference_dir() else { return };
    let file = Tensors::read(&dir.join("b_vector.safetensors"));
    for (dtype, limit) in [(DType::F64, 1e-9), (DType::F32, SINGLE)] {
        let given = |name: &str| {
            let values = file.get(name);
            Tensor::from_slice(&values.data, &values.shape[..], &Device::Cpu).and_then(|t| t.to_dtype(dtype))
        };
        let [e1, e2] = ["e1", "e2"].map(|name| Var::from_tensor(&given(name).expect("rows")).expect("a variable"));
        let network = BVectorNetwork::new(&config(), weights(&file), dtype, &Device::Cpu).expect("a network");
        let near = |what: &str, got: &Tensor, key: &str| {
            let (got, expected) = (flat(got), file.get(key).data);
            let scale = expected.iter().fold(1.0, |most: f64, value| most.max(value.abs()));
            let far = |worst: f64, off: f64| if off > worst || off.is_nan() { off } else { worst };
            let worst = got.iter().zip(&expected).map(|(g, e)| (g - e).abs() / scale).fold(0.0, far);
            assert!(got.len() == expected.len() && worst <= limit, "{what} {dtype:?}: off by {worst:.2e}");
        };
        let logits = network.logits(&e1, &e2).expect("logits");
        near("logits", &logits, "forward.logits");
        near("swapped", &network.logits(&e2, &e1).expect("logits"), "swapped.logits");
        let loss = BVectorNetwork::cross_entropy(&logits, &given("labels").expect("labels")).expect("a loss");
        near("loss", &loss, "loss");
        let gradients = loss.backward().expect("gradients");
        let mut variables: BTreeMap<String, Var> = network.variables().clone();
        variables.extend([("e1".to_owned(), e1), ("e2".to_owned(), e2)]);
        assert_eq!(variables.len(), 10);
        for (name, var) in variables {
            near(&name, gradients.get(&var).expect("a gradient"), &format!("grad.{name}"));
        }
    }
}

#[test]
fn gradients_are_finite_differences() {
    let device = Device::Cpu;
    let forms = [Difference::Signed, Difference::Absolute];
    for (difference, length) in forms.into_iter().flat_map(|form| [(form, Length::AsGiven), (form, Length::RootD)]) {
        let config = BVectorConfig { embedding: 3, hidden: vec![5, 4], slope: 0.3, difference, length };
        let network = BVectorNetwork::new(&config, made_up(&config), DType::F64, &device).expect("a network");
        let row = |salt: f64| {
            let values: Vec<f64> = (0..6).map(|place| (salt + f64::from(place)).cos()).collect();
            Var::from_vec(values, (2, 3), &device).expect("rows")
        };
        let (first, second) = (row(0.3), row(1.9));
        let same = Tensor::new(&[1.0_f64, 0.0], &device).expect("labels");
        let loss =
            || BVectorNetwork::cross_entropy(&network.logits(&first, &second).expect("logits"), &same).expect("a loss");
        let gradients = loss().backward().expect("gradients");
        for var in network.variables().values().chain([&first, &second]) {
            let exact = flat(gradients.get(var).expect("a gradient"));
            let start = flat(var);
            for place in 0..start.len() {
                let at = |step: f64| {
                    let mut moved = start.clone();
                    moved[place] += step;
                    var.set(&Tensor::from_vec(moved, var.shape(), &device).expect("values")).expect("set");
                    flat(&loss())[0]
                };
                let quotient = (at(1e-6) - at(-1e-6)) / 2e-6;
                at(0.0);
                assert!((quotient - exact[place]).abs() <= 1e-6 * (1.0 + quotient.abs()), "{config:?} {quotient}");
            }
        }
    }
}

#[test]
fn of_embeddings_brought_to_one_length_the_trained_form_and_the_one_that_scores_are_one() {
    const D: usize = 6;
    let config = BVectorConfig { embedding: D, hidden: vec![16; 3], length: Length::RootD, ..BVectorConfig::default() };
    // Of lengths from 1 to 10,000.
    let rows = |salt: f64| -> Vec<f32> {
        let row = |row: i32| (0..D).map(move |place| 10.0_f64.powi(row) * (salt + place as f64 + f64::from(row)).cos());
        (0..5).flat_map(row).map(|value| value as f32).collect()
    };
    let (first, second) = (rows(0.3), rows(1.9));
    let pairs: Vec<(&[f32], &[f32])> = first.chunks(D).zip(second.chunks(D)).collect();
    let nobody: Fingerprint = "0".repeat(64).parse().expect("a fingerprint");
    let scoring = BVector::new("made up", &config, nobody, made_up(&config)).expect("a network");
    let got = scoring.logits(&pairs).expect("logits").concat();
    let wide = |values: &[f32]| values.iter().copied().map(f64::from).collect::<Vec<f64>>();
    let trained = |config: &BVectorConfig, first: &[f64], second: &[f64]| {
        let given = |values: &[f64]| Tensor::from_slice(values, (values.len() / D, D), &Device::Cpu).expect("rows");
        let network = BVectorNetwork::new(config, made_up(config), DType::F64, &Device::Cpu).expect("a network");
        flat(&network.logits(&given(first), &given(second)).expect("logits"))
    };
    let expected = trained(&config, &wide(&first), &wide(&second));
    assert_near("logits", &got, &expected, SINGLE);
    // And both are the network as it was, on embeddings that were brought to the length beforehand.
    let brought = |values: &[f32]| -> Vec<f64> {
        let row = |row: &[f32]| {
            let row = wide(row);
            let length = row.iter().map(|value| value * value).sum::<f64>().sqrt();
            row.into_iter().map(move |value| value * (D as f64).sqrt() / length)
        };
        values.chunks(D).flat_map(row).collect()
    };
    let as_given = BVectorConfig { length: Length::AsGiven, ..config };
    let beforehand = trained(&as_given, &brought(&first), &brought(&second));
    assert!(expected.iter().zip(&beforehand).all(|(a, b)| (a - b).abs() <= 1e-12 * (1.0 + b.abs())));
}

#[test]
fn one_embedding_twice_has_a_gradient_that_is_a_number_in_both_forms() {
    let Some(dir) = reference_dir() else { return };
    let file = Tensors::read(&dir.join("b_vector.safetensors"));
    for difference in [Difference::Signed, Difference::Absolute] {
        let config = BVectorConfig { difference, ..config() };
        let network = BVectorNetwork::new(&config, weights(&file), DType::F64, &Device::Cpu).expect("a network");
        let e = Var::from_slice(&[0.5_f64, -1.0, 0.0, 2.0, 0.1, -0.3], (1, 6), &Device::Cpu).expect("a row");
        let same = Tensor::new(&[1.0_f64], &Device::Cpu).expect("a label");
        // Far on the right and on the wrong side nothing overflows.
        for factor in [1.0, 1e4, -1e4] {
            let logits = network.logits(&e, &e).and_then(|logits| Ok((logits * factor)?)).expect("logits");
            let loss = BVectorNetwork::cross_entropy(&logits, &same).expect("a loss");
            let gradients = loss.backward().expect("gradients");
            let gradient = flat(gradients.get(&e).expect("a gradient"));
            assert!(flat(&loss)[0].is_finite() && gradient.iter().all(|value| value.is_finite()), "{gradient:?}");
        }
    }
}

//! Properties of GE2E that no table of values shows: gradients against finite differences, ties, zeros, large scales.

use candle_core::{DType, Device, Tensor, Var};
use proptest::prelude::*;

use super::*;

fn ge2e(options: Ge2eOptions, dtype: DType) -> Ge2e {
    Ge2e::new(options, dtype, &Device::Cpu).unwrap()
}

fn value(objective: &dyn Objective, embeddings: &[f64], n: usize, m: usize) -> f64 {
    let embeddings = Tensor::from_slice(embeddings, (n * m, embeddings.len() / (n * m)), &Device::Cpu).unwrap();
    objective.loss(&embeddings, &Labels::arranged(n as u32, m)).unwrap().to_scalar().unwrap()
}

/// Loss and gradient of the embeddings, rows of `D` values.
fn gradient<const D: usize>(objective: &dyn Objective, rows: &[[f32; D]], n: u32) -> (f32, Vec<f32>) {
    let embeddings = Tensor::from_slice(rows.as_flattened(), (rows.len(), D), &Device::Cpu).unwrap();
    let embeddings = Var::from_tensor(&embeddings).unwrap();
    let loss = objective.loss(&embeddings, &Labels::arranged(n, rows.len() / n as usize)).unwrap();
    let gradient = loss.backward().unwrap().get(&embeddings).unwrap().flatten_all().unwrap();
    (loss.to_scalar().unwrap(), gradient.to_vec1().unwrap())
}

/// Every form that the options allow, and the TensorFlow one, in f64.
fn forms(w: f64) -> Vec<Box<dyn Objective>> {
    let mut forms: Vec<Box<dyn Objective>> = Vec::new();
    for variant in [Variant::Softmax, Variant::Contrast] {
        for centroids in [Centroids::LeaveOneOut, Centroids::All] {
            for embeddings in [Embeddings::Unit, Embeddings::Raw] {
                let options = Ge2eOptions { variant, centroids, embeddings, w, ..Ge2eOptions::default() };
                forms.push(Box::new(ge2e(options, DType::F64)));
            }
        }
        let options = Ge2eTfOptions { variant, w, ..Ge2eTfOptions::default() };
        forms.push(Box::new(Ge2eTf::new(options, DType::F64, &Device::Cpu).unwrap()));
    }
    forms
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn gradients_are_finite_differences(
        (n, m, values) in (2_usize..5, 2_usize..5, 2_usize..6).prop_flat_map(|(n, m, d)| {
            (Just(n), Just(m), prop::collection::vec(-2.0_f64..2.0, n * m * d))
        }),
        w in 0.5_f64..12.0,
    ) {
        for objective in forms(w) {
            let d = values.len() / (n * m);
            // Where a length is close to 0 the loss is too curved for a difference quotient.
            let lengths = |rows: &[f64]| rows.chunks(d).map(|row| row.iter().map(|v| v * v).sum::<f64>()).fold(f64::MAX, f64::min);
            prop_assume!(lengths(&values) > 0.05);
            let embeddings = Tensor::from_slice(&values, (n * m, d), &Device::Cpu).unwrap();
            let embeddings = Var::from_tensor(&embeddings).unwrap();
            let loss = objective.loss(&embeddings, &Labels::arranged(n as u32, m)).unwrap();
            let gradients = loss.backward().unwrap();
            let exact: Vec<f64> = gradients.get(&embeddings).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            let h = 1e-5;
            for place in 0..values.len() {
                let at = |step: f64| {
                    let mut moved = values.clone();
                    moved[place] += step;
                    value(&*objective, &moved, n, m)
                };
                let (quotient, half) = ((at(h) - at(-h)) / (2.0 * h), (at(h / 2.0) - at(-h / 2.0)) / h);
                // Two quotients that disagree straddle a change of the hardest speaker, or a cancelled centroid.
                if (quotient - half).abs() < 1e-6 * (1.0 + half.abs()) {
                    prop_assert!((half - exact[place]).abs() <= 1e-5 * (1.0 + half.abs()), "{half} {}", exact[place]);
                }
            }
            for parameter in objective.parameters() {
                let exact: f64 = gradients.get(&parameter.var).unwrap().to_scalar().unwrap();
                let start: f64 = parameter.var.to_scalar().unwrap();
                let at = |step: f64| {
                    parameter.var.set(&Tensor::new(start + step, &Device::Cpu).unwrap()).unwrap();
                    value(&*objective, &values, n, m)
                };
                let quotient = (at(h) - at(-h)) / (2.0 * h);
                at(0.0);
                prop_assert!((quotient - exact).abs() <= 1e-6 * (1.0 + exact.abs()), "{}: {quotient} {exact}", parameter.name);
            }
        }
    }
}

#[test]
fn w_is_brought_back_above_zero_after_a_step_and_left_alone_otherwise() {
    let mut ge2e = ge2e(Ge2eOptions::default(), DType::F32);
    let batch = Tensor::zeros((4, 2), DType::F32, &Device::Cpu).unwrap();
    for (moved_to, kept) in [(-3.0_f32, 1e-6_f32), (0.0, 1e-6), (1e-6, 1e-6), (2.5, 2.5)] {
        let w = ge2e.parameters()[0].var.clone();
        w.set(&Tensor::new(moved_to, &Device::Cpu).unwrap()).unwrap();
        ge2e.after_step(&batch, &Labels::arranged(2, 2)).unwrap();
        assert_eq!(w.to_scalar::<f32>().unwrap(), kept);
        assert!(w.to_scalar::<f32>().unwrap() > 0.0);
    }
}

#[test]
fn an_embedding_of_zeros_has_cosine_zero_and_no_gradient() {
    for centroids in [Centroids::LeaveOneOut, Centroids::All] {
        for variant in [Variant::Softmax, Variant::Contrast] {
            let ge2e = ge2e(Ge2eOptions { variant, centroids, ..Ge2eOptions::default() }, DType::F32);
            let (loss, gradient) = gradient(&ge2e, &[[0.0, 0.0], [1.0, 0.2], [0.3, 1.0], [0.1, 0.8]], 2);
            assert!(loss.is_finite());
            assert!(gradient.iter().all(|g| g.is_finite()), "{gradient:?}");
            assert_eq!(gradient[..2], [0.0, 0.0]);
            assert!(gradient[2..].iter().any(|&g| g != 0.0));
        }
    }
    let batch = Tensor::new(&[[0.0_f32, 0.0], [1.0, 0.2], [0.3, 1.0], [0.1, 0.8]], &Device::Cpu).unwrap();
    let similarity = ge2e(Ge2eOptions::default(), DType::F32).similarity(&batch, 2, 2).unwrap();
    assert_eq!(similarity.to_vec2::<f32>().unwrap()[0], [-5.0, -5.0]); // 10 * 0 - 5
}

#[test]
fn utterances_that_cancel_leave_finite_gradients() {
    // The centroid of the first speaker is zero: its cosines are 0, w cos + b = -5.
    let rows = [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.1, 1.0]];
    let all = ge2e(Ge2eOptions { centroids: Centroids::All, ..Ge2eOptions::default() }, DType::F32);
    let (loss, gradient) = gradient(&all, &rows, 2);
    assert!(loss.is_finite() && gradient.iter().all(|g| g.is_finite()), "{loss} {gradient:?}");
}

#[test]
fn tiny_embeddings_have_finite_gradients() {
    for length in [1e-14_f32, 3e-16, 1e-19, 1e-22, 1e-40] {
        let rows = [[length, 0.0], [length, length], [0.0, 1.0], [0.1, 1.0]];
        let ge2e = ge2e(Ge2eOptions::default(), DType::F32);
        let (loss, gradient) = gradient(&ge2e, &rows, 2);
        assert!(loss.is_finite() && gradient.iter().all(|g| g.is_finite()), "{length}: {loss} {gradient:?}");
    }
}

#[test]
fn what_is_not_a_number_is_not_hidden() {
    let rows = [[f32::NAN, 0.0], [1.0, 0.5], [0.0, 1.0], [0.1, 1.0]];
    for variant in [Variant::Softmax, Variant::Contrast] {
        let ge2e = ge2e(Ge2eOptions { variant, ..Ge2eOptions::default() }, DType::F32);
        assert!(gradient(&ge2e, &rows, 2).0.is_nan());
    }
}

#[test]
fn large_scales_overflow_nothing() {
    let rows = [[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 1.0], [1.0, 0.01], [1.0, 0.03]];
    for w in [80.0, 1000.0, 1e6] {
        let ours = ge2e(Ge2eOptions { w, ..Ge2eOptions::default() }, DType::F32);
        let theirs = Ge2eTfOptions { w, ..Ge2eTfOptions::default() };
        let theirs = Ge2eTf::new(theirs, DType::F32, &Device::Cpu).unwrap();
        let offset = Ge2eTfOptions { w: 1.0, b: -w, ..Ge2eTfOptions::default() };
        let offset = Ge2eTf::new(offset, DType::F32, &Device::Cpu).unwrap();
        for objective in [&ours as &dyn Objective, &theirs, &offset] {
            let (loss, gradient) = gradient(objective, &rows, 3);
            assert!(loss.is_finite() && gradient.iter().all(|g| g.is_finite()), "{w}: {loss} {gradient:?}");
        }
    }
}

#[test]
fn the_gradient_of_the_scale_is_zero_at_zero_in_the_tensorflow_form() {
    let options = Ge2eTfOptions { w: 0.0, ..Ge2eTfOptions::default() };
    let tf = Ge2eTf::new(options, DType::F64, &Device::Cpu).unwrap();
    let batch = Tensor::new(&[[1.0_f64, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 1.0]], &Device::Cpu).unwrap();
    let gradients = tf.loss(&batch, &Labels::arranged(2, 2)).unwrap().backward().unwrap();
    assert_eq!(gradients.get(&tf.parameters()[0].var).unwrap().to_scalar::<f64>().unwrap(), 0.0);
}

#[test]
fn speakers_with_unequal_numbers_of_rows_are_taken_where_all_count_and_in_any_order() {
    let all = ge2e(Ge2eOptions { centroids: Centroids::All, ..Ge2eOptions::default() }, DType::F64);
    let rows = [[1.0, 0.2], [0.3, 1.0], [0.9, 0.1], [0.2, 0.8]];
    let loss = |order: &[usize], speakers: &[u32]| {
        let values: Vec<f64> = order.iter().flat_map(|&row| rows[row]).collect();
        let embeddings = Tensor::from_vec(values, (order.len(), 2), &Device::Cpu).unwrap();
        all.loss(&embeddings, &Labels::new(speakers.to_vec())).map(|loss| loss.to_scalar::<f64>().unwrap())
    };
    // The same batch arranged, and mixed up.
    let arranged = loss(&[0, 2, 1, 3], &[0, 0, 1, 1]).unwrap();
    assert!((loss(&[0, 1, 2, 3], &[0, 1, 0, 1]).unwrap() - arranged).abs() < 1e-12);
    assert!(loss(&[0, 1, 2], &[5, 9, 5]).unwrap().is_finite());
    assert!(matches!(loss(&[0, 1, 2], &[5, 5, 5]), Err(LossError::TooFewSpeakers { got: 1 })));
}

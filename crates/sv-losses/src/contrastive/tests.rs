//! Properties of the contrastive loss that no table of values shows: finite differences, which pairs count, bad input.

use candle_core::{Device, Var};
use proptest::prelude::*;

use super::*;

fn contrastive(pairs: Pairs, embeddings: Embeddings) -> Contrastive {
    let options = ContrastiveOptions { margin: 1.2, embeddings, pairs, reduction: Reduction::Sum };
    Contrastive::new(&options).unwrap()
}

fn value(objective: &Contrastive, values: &[f64], labels: &Labels) -> f64 {
    let rows = (labels.rows(), values.len() / labels.rows());
    let embeddings = Tensor::from_slice(values, rows, &Device::Cpu).unwrap();
    objective.loss(&embeddings, labels).unwrap().to_scalar().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn gradients_are_finite_differences(values in prop::collection::vec(-2.0_f64..2.0, 21), unit in any::<bool>()) {
        let labels = Labels::new(vec![0, 1, 0, 2, 1, 1, 2]);
        let embeddings = if unit { Embeddings::Unit } else { Embeddings::Raw };
        prop_assume!(values.chunks(3).all(|row| row.iter().map(|v| v * v).sum::<f64>() > 0.1));
        for pairs in [Pairs::All {}, Pairs::BatchHard {}, Pairs::Nearest { negatives: 4 }, Pairs::Balanced { hardest: 0.3 }] {
            let objective = contrastive(pairs, embeddings);
            let var = Var::from_slice(&values, (7, 3), &Device::Cpu).unwrap();
            let gradients = objective.loss(&var, &labels).unwrap().backward().unwrap();
            let exact: Vec<f64> = gradients.get(&var).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            for place in 0..values.len() {
                let at = |step: f64| {
                    let mut moved = values.clone();
                    moved[place] += step;
                    value(&objective, &moved, &labels)
                };
                let h = 1e-5;
                let (quotient, half) = ((at(h) - at(-h)) / (2.0 * h), (at(h / 2.0) - at(-h / 2.0)) / h);
                // Two quotients that disagree straddle a change of pairs, or the margin.
                if (quotient - half).abs() < 1e-6 * (1.0 + half.abs()) {
                    prop_assert!((half - exact[place]).abs() <= 1e-5 * (1.0 + half.abs()), "{pairs:?} {half} {}", exact[place]);
                }
            }
        }
    }
}

#[test]
fn balanced_takes_as_many_pairs_of_two_speakers_as_of_one_and_half_of_them_near() {
    // On a line: speakers 0 at 0 and 1, 1 at 3 and 5, 2 at 10 and 14. Three pairs of one; of the twelve of two the nearest
    // quarter are 1-3, 0-3 and 1-5.
    let places = [0.0_f64, 1.0, 3.0, 5.0, 10.0, 14.0];
    let labels = Labels::new(vec![0, 0, 1, 1, 2, 2]);
    let objective = contrastive(Pairs::Balanced { hardest: 0.25 }, Embeddings::Raw);
    let distances: Vec<f64> = places.iter().flat_map(|a| places.iter().map(move |b| (a - b) * (a - b))).collect();
    let (same, other) = objective.choose(&distances, &labels).unwrap();
    assert_eq!(same, [(0, 1), (2, 3), (4, 5)]);
    // Two of all twelve at equal steps, then one of the nearest three.
    assert_eq!(other, [(0, 2), (1, 4), (1, 2)]);
}

#[test]
fn the_mean_is_over_the_pairs_that_count() {
    let labels = Labels::new(vec![0, 0, 1]);
    let values = [0.0, 0.0, 1.0, 0.0, 0.0, 0.5];
    let of = |reduction| {
        let options = ContrastiveOptions { margin: 1.2, embeddings: Embeddings::Raw, pairs: Pairs::All {}, reduction };
        value(&Contrastive::new(&options).unwrap(), &values, &labels)
    };
    assert!((of(Reduction::Sum) - 3.0 * of(Reduction::Mean)).abs() < 1e-12);
}

#[test]
fn batches_without_both_kinds_of_pairs_and_impossible_options_are_refused() {
    let objective = contrastive(Pairs::All {}, Embeddings::Unit);
    let refused = |rows: usize, labels: &[u32]| {
        let embeddings = Tensor::ones((rows, 2), DType::F32, &Device::Cpu).unwrap();
        objective.loss(&embeddings, &Labels::new(labels.to_vec())).expect_err("no loss")
    };
    assert!(matches!(refused(3, &[0, 1, 2]), LossError::NoPairs { rows: 3, same: 0, other: 3 }));
    assert!(matches!(refused(2, &[4, 4]), LossError::NoPairs { rows: 2, same: 1, other: 0 }));
    assert!(matches!(refused(1, &[0]), LossError::NoPairs { rows: 1, same: 0, other: 0 }));
    assert!(matches!(refused(2, &[0]), LossError::Shape { rows: 1, .. }));
    assert!(matches!(refused(0, &[]), LossError::Shape { rows: 0, .. }));
    let whole = Tensor::ones((2, 2), DType::U32, &Device::Cpu).unwrap();
    assert!(matches!(objective.loss(&whole, &Labels::new(vec![0, 0])), Err(LossError::DataType { .. })));
    for (margin, pairs, name) in [
        (0.0, Pairs::All {}, "margin"),
        (f64::NAN, Pairs::All {}, "margin"),
        (1.0, Pairs::Nearest { negatives: 0 }, "pairs.negatives"),
        (1.0, Pairs::Balanced { hardest: 0.0 }, "pairs.hardest"),
        (1.0, Pairs::Balanced { hardest: f64::NAN }, "pairs.hardest"),
    ] {
        let options = ContrastiveOptions { margin, pairs, ..ContrastiveOptions::default() };
        match Contrastive::new(&options) {
            Err(LossError::InvalidOption { option, .. }) => assert_eq!(option, name),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn zeros_and_what_is_not_a_number_are_not_hidden() {
    let labels = Labels::new(vec![0, 0, 1]);
    for embeddings in [Embeddings::Unit, Embeddings::Raw] {
        let objective = contrastive(Pairs::All {}, embeddings);
        assert!(value(&objective, &[f64::NAN, 1.0, 0.0, 1.0, 1.0, 0.0], &labels).is_nan());
        let var = Var::from_slice(&[0.0_f64, 0.0, 0.0, 0.0, 0.0, 0.0], (3, 2), &Device::Cpu).unwrap();
        let loss = objective.loss(&var, &labels).unwrap();
        let gradient = loss.backward().unwrap().get(&var).unwrap().abs().unwrap().sum_all().unwrap();
        // Distances of 0: two pairs of two speakers are short by the whole margin.
        assert!((loss.to_scalar::<f64>().unwrap() - 1.44).abs() < 1e-12);
        assert_eq!(gradient.to_scalar::<f64>().unwrap(), 0.0);
    }
}

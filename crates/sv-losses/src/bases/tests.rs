//! Properties of the losses over bases that no table of values shows: finite differences, limits, bad input.

use candle_core::{DType, Device, Tensor, Var};
use proptest::prelude::*;

use super::*;

fn sum_of(options: &BasesOptions, dimension: usize, classes: usize, dtype: DType) -> Result<SpeakerBases, LossError> {
    let mut step = 0.0_f64;
    let mut uniform = || {
        step += 1.0;
        (step * 1.9).sin()
    };
    let device = Device::Cpu;
    SpeakerBases::new(options, &mut Setting { dimension, classes, dtype, device: &device, uniform: &mut uniform })
}

/// Every part at once, and hard negatives alone.
fn all(reduction: Reduction, negatives: usize) -> BasesOptions {
    BasesOptions {
        reduction,
        softmax: Some(SoftmaxPart { weight: 0.7 }),
        center: Some(CenterPart { lambda: 0.3, alpha: 0.5 }),
        between: Some(BetweenPart { weight: 0.2 }),
        hard: Some(HardPart { negatives, weight: 1.3 }),
    }
}

fn hard(negatives: usize) -> BasesOptions {
    BasesOptions { hard: Some(HardPart { negatives, weight: 1.0 }), ..BasesOptions::default() }
}

fn scalar(tensor: &Tensor) -> f64 {
    tensor.to_dtype(DType::F64).unwrap().to_scalar().unwrap()
}

fn rows(values: &[f64], dimension: usize) -> Tensor {
    Tensor::from_slice(values, (values.len() / dimension, dimension), &Device::Cpu).unwrap()
}

/// Cosine of two rows, by its definition.
fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    product(a, b) / (product(a, a) * product(b, b)).sqrt()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn between_class_equals_its_double_sum(
        (dimension, values) in (1_usize..12).prop_flat_map(|d| {
            (Just(d), (1_usize..30).prop_flat_map(move |s| prop::collection::vec(-3.0_f64..3.0, s * d)))
        }),
    ) {
        let short = |row: &[f64]| row.iter().map(|v| v * v).sum::<f64>() < 1e-6;
        prop_assume!(!values.chunks(dimension).any(short));
        let fast = scalar(&between_class(&rows(&values, dimension)).unwrap());
        let bases: Vec<&[f64]> = values.chunks(dimension).collect();
        let mut slow = 0.0;
        for (i, a) in bases.iter().enumerate() {
            slow += bases.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, b)| cosine(a, b)).sum::<f64>();
        }
        prop_assert!((fast - slow).abs() <= 1e-9 * (1.0 + slow.abs()), "{fast} {slow}");
        prop_assert!(fast >= -(bases.len() as f64) - 1e-9);
    }

    #[test]
    fn gradients_are_finite_differences(
        (d, s, values, bases, labels) in (2_usize..5, 3_usize..7, 1_usize..5).prop_flat_map(|(d, s, b)| (
            Just(d),
            Just(s),
            prop::collection::vec(-2.0_f64..2.0, b * d),
            prop::collection::vec(-2.0_f64..2.0, s * d),
            prop::collection::vec(0..s as u32, b),
        )),
        negatives in 1_usize..4,
        mean in any::<bool>(),
    ) {
        let shortest = |values: &[f64]| values.chunks(d).map(|row| row.iter().map(|v| v * v).sum::<f64>()).fold(f64::MAX, f64::min);
        prop_assume!(shortest(&values).min(shortest(&bases)) > 0.05);
        let reduction = if mean { Reduction::Mean } else { Reduction::Sum };
        let mut objective = sum_of(&all(reduction, negatives), d, s, DType::F64).unwrap();
        objective.weight.set(&rows(&bases, d)).unwrap();
        let labels = Labels::new(labels);
        // Centres away from zero.
        objective.after_step(&rows(&values, d).affine(-0.7, 0.1).unwrap(), &labels).unwrap();
        let embeddings = Var::from_tensor(&rows(&values, d)).unwrap();
        let gradients = objective.loss(&embeddings, &labels).unwrap().backward().unwrap();
        let mut variables = vec![embeddings.clone()];
        variables.extend(objective.parameters().into_iter().map(|parameter| parameter.var));
        prop_assert!(objective.buffers().iter().all(|centres| gradients.get(&centres.var).is_none()));
        for var in variables {
            let exact: Vec<f64> = gradients.get(&var).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            let start: Vec<f64> = var.flatten_all().unwrap().to_vec1().unwrap();
            for place in 0..start.len() {
                let at = |step: f64| {
                    let mut moved = start.clone();
                    moved[place] += step;
                    var.set(&Tensor::from_vec(moved, var.shape(), &Device::Cpu).unwrap()).unwrap();
                    scalar(&objective.loss(&embeddings, &labels).unwrap())
                };
                let h = 1e-5;
                let (quotient, half) = ((at(h) - at(-h)) / (2.0 * h), (at(h / 2.0) - at(-h / 2.0)) / h);
                at(0.0);
                // Two quotients that disagree straddle a change of the hardest negatives.
                if (quotient - half).abs() < 1e-6 * (1.0 + half.abs()) {
                    prop_assert!((half - exact[place]).abs() <= 1e-5 * (1.0 + half.abs()), "{half} {}", exact[place]);
                }
            }
        }
    }
}

/// Each part alone: the mean divides by what it counts, rows, rows of negatives, or pairs of bases.
#[test]
fn the_mean_of_each_part_is_its_sum_over_what_it_counts() {
    let batch = rows(&[0.3, -0.8, 0.2, 1.0, 0.1, -0.4, 0.7, 0.6, -0.2], 3);
    let labels = Labels::new(vec![3, 0, 3]);
    let one = BasesOptions { softmax: Some(SoftmaxPart { weight: 1.0 }), ..BasesOptions::default() };
    let value = |options: &BasesOptions, reduction: Reduction| {
        let mut objective = sum_of(&BasesOptions { reduction, ..options.clone() }, 3, 5, DType::F64).unwrap();
        // Centres away from zero.
        objective.after_step(&batch, &labels).unwrap();
        scalar(&objective.loss(&batch, &labels).unwrap())
    };
    let softmax = [Reduction::Sum, Reduction::Mean].map(|reduction| value(&one, reduction));
    assert!((softmax[1] - softmax[0] / 3.0).abs() < 1e-12, "3 rows");
    let center = BasesOptions { center: Some(CenterPart { lambda: 2.0, alpha: 0.5 }), ..one.clone() };
    let between = BasesOptions { between: Some(BetweenPart { weight: 2.0 }), ..one.clone() };
    let negatives = BasesOptions { hard: Some(HardPart { negatives: 2, weight: 2.0 }), ..one.clone() };
    for (what, options, count) in
        [("rows", center, 3.0), ("ordered pairs of 5 bases", between, 20.0), ("2 negatives of 3 rows", negatives, 6.0)]
    {
        let part = |reduction: Reduction| {
            value(&options, reduction) - if reduction == Reduction::Sum { softmax[0] } else { softmax[1] }
        };
        let (sum, mean) = (part(Reduction::Sum), part(Reduction::Mean));
        assert!(sum.abs() > 1e-3 && (mean - sum / count).abs() < 1e-12, "{what}: {sum} {mean}");
    }
}

#[test]
fn centres_start_at_zero_and_one_that_no_batch_touches_stays() {
    let options = BasesOptions {
        softmax: Some(SoftmaxPart::default()),
        center: Some(CenterPart { lambda: 1.0, alpha: 0.5 }),
        ..BasesOptions::default()
    };
    let mut objective = sum_of(&options, 2, 3, DType::F64).unwrap();
    let centres = objective.buffers()[0].clone();
    assert_eq!((&centres.name[..], centres.var.to_vec2::<f64>().unwrap()), ("classes.centres", vec![vec![0.0; 2]; 3]));
    // Of class 2: 0.5 * ((1, 2) + (3, 4)) / 3; of class 0: 0.5 * (6, 0) / 2.
    let batch = rows(&[1.0, 2.0, 6.0, 0.0, 3.0, 4.0], 2);
    objective.after_step(&batch, &Labels::new(vec![2, 0, 2])).unwrap();
    let moved = centres.var.to_vec2::<f64>().unwrap();
    assert_eq!(moved, [[1.5, 0.0], [0.0, 0.0], [4.0 / 6.0, 1.0]]);
    objective.after_step(&rows(&[1.0, 1.0], 2), &Labels::new(vec![1])).unwrap();
    let later = centres.var.to_vec2::<f64>().unwrap();
    assert_eq!((&later[0], &later[2], &later[1]), (&moved[0], &moved[2], &vec![0.25, 0.25]));
}

#[test]
fn more_negatives_than_other_speakers_are_all_others() {
    let batch = rows(&[0.3, -0.8, 0.2, 1.0, 0.1, -0.4], 3);
    let labels = Labels::new(vec![3, 0]);
    let value =
        |negatives: usize| scalar(&sum_of(&hard(negatives), 3, 4, DType::F64).unwrap().loss(&batch, &labels).unwrap());
    assert_eq!(value(3), value(4));
    assert_eq!(value(3), value(usize::MAX));
    assert!(value(2) < value(3));
    // A mean of what is counted, not of what was asked for.
    let mean = BasesOptions { reduction: Reduction::Mean, ..hard(100) };
    let mean = scalar(&sum_of(&mean, 3, 4, DType::F64).unwrap().loss(&batch, &labels).unwrap());
    assert!((mean * 6.0 - value(3)).abs() < 1e-12);
}

#[test]
fn an_embedding_of_zeros_adds_a_constant_and_gets_no_gradient() {
    for dtype in [DType::F32, DType::F64] {
        let objective = sum_of(&hard(2), 3, 4, dtype).unwrap();
        let zeros = Var::zeros((1, 3), dtype, &Device::Cpu).unwrap();
        let loss = objective.loss(&zeros, &Labels::new(vec![1])).unwrap();
        assert!((scalar(&loss) - 2.0 * std::f64::consts::LN_2).abs() < 1e-6);
        let gradients = loss.backward().unwrap();
        for var in [&zeros, &objective.weight] {
            let gradient = gradients.get(var).unwrap().to_dtype(DType::F64).unwrap();
            assert_eq!(scalar(&gradient.abs().unwrap().sum_all().unwrap()), 0.0);
        }
    }
}

#[test]
fn a_basis_of_zeros_counts_for_nothing_between_classes() {
    let three = rows(&[1.0, 0.0, 0.0, 2.0, 3.0, 3.0], 2);
    let four = rows(&[1.0, 0.0, 0.0, 2.0, 0.0, 0.0, 3.0, 3.0], 2);
    let (three, four) = (between_class(&three).unwrap(), between_class(&four).unwrap());
    // Cosines 0, 1 / sqrt 2 and 1 / sqrt 2, each pair counted twice.
    assert!((scalar(&three) - 4.0 / 2.0_f64.sqrt()).abs() < 1e-12);
    assert!((scalar(&four) - scalar(&three)).abs() < 1e-12);
    // One speaker has no other to be alike.
    assert!(scalar(&between_class(&rows(&[0.3, 0.4], 2)).unwrap()).abs() < 1e-12);
}

#[test]
fn options_and_batches_out_of_range_are_refused() {
    let refused =
        |options: &BasesOptions, classes: usize| sum_of(options, 3, classes, DType::F32).expect_err("no loss");
    assert!(matches!(refused(&BasesOptions::default(), 4), LossError::NoPart {}));
    let apart = BasesOptions { between: Some(BetweenPart::default()), ..BasesOptions::default() };
    assert!(matches!(refused(&apart, 4), LossError::NoPart {}));
    assert!(matches!(refused(&hard(1), 1), LossError::Sizes { classes: 1, .. }));
    assert!(matches!(refused(&hard(0), 4), LossError::InvalidOption { option: "hard.negatives", .. }));
    for weight in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let with = |option: &str| BasesOptions {
            softmax: Some(SoftmaxPart { weight: if option == "softmax.weight" { weight } else { 1.0 } }),
            center: Some(CenterPart { lambda: if option == "center.lambda" { weight } else { 1.0 }, alpha: 0.5 }),
            between: Some(BetweenPart { weight: if option == "between.weight" { weight } else { 1.0 } }),
            hard: Some(HardPart { negatives: 1, weight: if option == "hard.weight" { weight } else { 1.0 } }),
            ..BasesOptions::default()
        };
        for name in ["softmax.weight", "center.lambda", "between.weight", "hard.weight"] {
            assert!(matches!(refused(&with(name), 4), LossError::InvalidOption { option, .. } if option == name));
        }
    }
    for alpha in [-0.1, 1.1, f64::NAN] {
        let options = BasesOptions { center: Some(CenterPart { lambda: 0.1, alpha }), ..hard(1) };
        assert!(matches!(refused(&options, 4), LossError::InvalidOption { option: "center.alpha", .. }));
    }
    let mut objective = sum_of(&all(Reduction::Sum, 2), 3, 4, DType::F32).unwrap();
    let ones = |dims: &[usize]| Tensor::ones(dims, DType::F32, &Device::Cpu).unwrap();
    let outside = Labels::new(vec![0, 4]);
    let class =
        |result: Result<(), LossError>| matches!(result, Err(LossError::Class { row: 1, class: 4, classes: 4 }));
    assert!(class(objective.loss(&ones(&[2, 3]), &outside).map(drop)));
    assert!(class(objective.accuracy(&ones(&[2, 3]), &outside).map(drop)));
    assert!(class(objective.after_step(&ones(&[2, 3]), &outside)));
    for (dims, labels) in [(&[2, 3][..], &[0][..]), (&[1, 4], &[0]), (&[0, 3], &[]), (&[3], &[0, 1, 2])] {
        let error = objective.loss(&ones(dims), &Labels::new(labels.to_vec())).expect_err("no loss");
        assert!(matches!(error, LossError::Dimension { dimension: 3, .. }), "{error}");
    }
    let double = ones(&[1, 3]).to_dtype(DType::F64).unwrap();
    assert!(matches!(objective.loss(&double, &Labels::new(vec![0])), Err(LossError::DataType { .. })));
    assert!(matches!(between_class(&ones(&[3])), Err(LossError::Sizes { .. })));
    assert!(matches!(between_class(&ones(&[0, 3])), Err(LossError::Sizes { classes: 0, .. })));
}

#[test]
fn what_is_not_a_number_is_not_hidden() {
    let objective = sum_of(&hard(1), 2, 4, DType::F32).unwrap();
    let batch = Tensor::new(&[[f32::NAN, 1.0]], &Device::Cpu).unwrap();
    assert!(scalar(&objective.loss(&batch, &Labels::new(vec![0])).unwrap()).is_nan());
    let bases = Tensor::new(&[[1.0_f32, 0.0], [0.0, f32::NAN], [1.0, 1.0], [0.5, 0.0]], &Device::Cpu).unwrap();
    objective.weight.set(&bases).unwrap();
    let batch = Tensor::new(&[[0.2_f32, 1.0]], &Device::Cpu).unwrap();
    assert!(scalar(&objective.loss(&batch, &Labels::new(vec![0])).unwrap()).is_nan());
    assert!(scalar(&between_class(&bases).unwrap()).is_nan());
}

#[test]
fn the_accuracy_is_of_logits_with_softmax_and_of_cosines_without() {
    let bases = rows(&[1.0, 0.0, 0.0, 9.0], 2);
    let batch = rows(&[1.0, 0.4], 2);
    let labels = Labels::new(vec![0]);
    let of = |options: &BasesOptions| {
        let objective = sum_of(options, 2, 2, DType::F64).unwrap();
        objective.weight.set(&bases).unwrap();
        objective.accuracy(&batch, &labels).unwrap()
    };
    assert_eq!(of(&hard(1)), Some(1.0));
    // The inner product with the long basis is the larger.
    assert_eq!(of(&BasesOptions { softmax: Some(SoftmaxPart::default()), ..hard(1) }), Some(0.0));
}

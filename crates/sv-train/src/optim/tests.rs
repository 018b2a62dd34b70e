//! Groups, clipping and refusals of the optimizer, by hand-computed steps.

use proptest::prelude::*;

use super::*;

type State = Vec<(String, Tensor)>;

const PLAIN: Method = Method::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 };
const MOMENTUM: Method = Method::Sgd { momentum: 0.5, nesterov: false, weight_decay: 0.0 };

fn parameter(name: &str, values: &[f32]) -> Parameter {
    Parameter::new(name, Var::from_tensor(&Tensor::new(values, &Device::Cpu).unwrap()).unwrap())
}

fn values(parameter: &Parameter) -> Vec<f32> {
    parameter.var.to_vec1().unwrap()
}

fn gradients(of: &[(&Parameter, &[f32])]) -> GradStore {
    let mut store = Var::zeros((), DType::F32, &Device::Cpu).unwrap().backward().unwrap();
    for (parameter, values) in of {
        store.insert(&parameter.var, Tensor::new(*values, &Device::Cpu).unwrap());
    }
    store
}

fn problem<T>(result: Result<T, TrainError>) -> OptimizerError {
    match result {
        Err(TrainError::Optimizer(problem)) => problem,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("nothing was refused"),
    }
}

#[test]
fn scales_before_the_clip_count_in_the_norm_and_scales_after_it_do_not() {
    let (projection, w, fixed) =
        (parameter("lstm.0.weight_hr", &[0.0]), parameter("ge2e.w", &[10.0]), parameter("fixed", &[7.0]));
    let config = OptimizerConfig {
        clip: Clip::Tensorflow { norm: 2.5 },
        rules: vec![
            GroupRule { gradient_scale: 0.5, rate: 2.0, ..GroupRule::new("lstm.*.weight_hr") },
            GroupRule { clipped_gradient_scale: 0.25, ..GroupRule::new("ge2e.*") },
            GroupRule { frozen: true, ..GroupRule::new("fixed") },
        ],
        ..OptimizerConfig::new(PLAIN)
    };
    let mut optimizer = Optimizer::new(&config, vec![projection.clone(), w.clone(), fixed.clone()]).unwrap();
    // Norm of (6 * 0.5, 4) is 5, so the clip halves: steps of 2 * 1 * 1.5 and 1 * 2 * 0.25.
    let report = optimizer.step(&gradients(&[(&projection, &[6.0]), (&w, &[4.0]), (&fixed, &[1e9])]), 1.0).unwrap();
    assert_eq!(report, StepReport { gradient_norm: 5.0, clipped: true });
    assert_eq!((values(&projection), values(&w), values(&fixed)), (vec![-3.0], vec![9.5], vec![7.0]));
}

#[test]
fn a_groups_weight_decay_is_a_share_of_the_methods() {
    let (weight, bias) = (parameter("weight", &[4.0]), parameter("bias", &[4.0]));
    let rules = vec![GroupRule { weight_decay: 0.0, ..GroupRule::new("bias") }];
    let decaying = Method::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.5 };
    let config = OptimizerConfig { rules, ..OptimizerConfig::new(decaying) };
    let mut optimizer = Optimizer::new(&config, vec![weight.clone(), bias.clone()]).unwrap();
    // No gradient to follow: 4 * (1 - 0.5 * 0.5) and 4.
    optimizer.step(&gradients(&[(&weight, &[0.0]), (&bias, &[0.0])]), 0.5).unwrap();
    assert_eq!((values(&weight), values(&bias)), (vec![3.0], vec![4.0]));
}

#[test]
fn large_tensors_are_stepped_in_every_block() {
    let count = 3 * (1 << 14) + 5;
    let start: Vec<f32> = (0..count).map(|i| (i % 97) as f32).collect();
    let slopes: Vec<f32> = (0..count).map(|i| (i % 13) as f32).collect();
    let adam = Method::Adam { form: AdamForm::Pytorch, beta1: 0.5, beta2: 0.9, epsilon: None, weight_decay: 0.0 };
    for method in [PLAIN, MOMENTUM, adam] {
        let large = parameter("large", &start);
        let mut optimizer = Optimizer::new(&OptimizerConfig::new(method), vec![large.clone()]).unwrap();
        let report = optimizer.step(&gradients(&[(&large, &slopes)]), 0.5).unwrap();
        let squares: f64 = slopes.iter().map(|&s| f64::from(s * s)).sum();
        assert_eq!(report.gradient_norm, squares.sqrt()); // whole numbers: exact in any order
        for ((got, start), slope) in values(&large).iter().zip(&start).zip(&slopes) {
            // Adam's first step goes by the sign alone.
            let step = if method == adam { slope.min(1.0) } else { *slope };
            assert!((got - (start - 0.5 * step)).abs() < 1e-5);
        }
    }
}

#[test]
fn a_gradient_that_is_missing_or_not_finite_moves_nothing() {
    let (a, b) = (parameter("a", &[1.0, 2.0]), parameter("b", &[3.0]));
    let mut optimizer = Optimizer::new(&OptimizerConfig::new(MOMENTUM), vec![a.clone(), b.clone()]).unwrap();
    optimizer.step(&gradients(&[(&a, &[0.0, 0.0]), (&b, &[0.0])]), 0.1).unwrap();
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        match problem(optimizer.step(&gradients(&[(&a, &[1.0, 1.0]), (&b, &[bad])]), 0.1)) {
            OptimizerError::NotFinite { step: 1, name } => assert_eq!(name, "b"),
            other => panic!("{other}"),
        }
    }
    match problem(optimizer.step(&gradients(&[(&a, &[1.0, 1.0])]), 0.1)) {
        OptimizerError::NoGradient { step: 1, names } => assert_eq!(names, ["b"]),
        other => panic!("{other}"),
    }
    match problem(optimizer.step(&gradients(&[(&a, &[1.0]), (&b, &[1.0])]), 0.1)) {
        OptimizerError::Form { name, got, need, .. } => assert_eq!((&name[..], got, need), ("a", vec![1], vec![2])),
        other => panic!("{other}"),
    }
    for rate in [-0.1, f64::NAN, f64::INFINITY] {
        let refused = problem(optimizer.step(&gradients(&[(&a, &[1.0, 1.0]), (&b, &[1.0])]), rate));
        assert!(matches!(refused, OptimizerError::Option { option: "rate", .. }));
    }
    assert_eq!((values(&a), values(&b), optimizer.steps()), (vec![1.0, 2.0], vec![3.0], 1));
}

#[test]
fn an_infinite_gradient_under_a_factor_of_zero_is_still_reported() {
    let a = parameter("a", &[1.0]);
    let rules = vec![GroupRule { gradient_scale: 0.0, ..GroupRule::new("a") }];
    let config = OptimizerConfig { rules, ..OptimizerConfig::new(PLAIN) };
    let mut optimizer = Optimizer::new(&config, vec![a.clone()]).unwrap();
    let refused = problem(optimizer.step(&gradients(&[(&a, &[f32::INFINITY])]), 0.1));
    assert!(matches!(refused, OptimizerError::NotFinite { step: 0, .. }));
}

#[test]
fn parameters_and_rules_that_do_not_fit_are_refused() {
    let (a, b) = (parameter("a", &[1.0]), parameter("b", &[1.0]));
    let new = |rules: Vec<GroupRule>, parameters: Vec<Parameter>| {
        problem(Optimizer::new(&OptimizerConfig { rules, ..OptimizerConfig::new(PLAIN) }, parameters))
    };
    match new(vec![GroupRule::new("lstm.*")], vec![a.clone(), b.clone()]) {
        OptimizerError::Rule { pattern, names } => {
            assert_eq!((&pattern[..], names), ("lstm.*", vec!["a".into(), "b".into()]))
        }
        other => panic!("{other}"),
    }
    let frozen = GroupRule { frozen: true, ..GroupRule::new("*") };
    assert!(matches!(new(vec![frozen], vec![a.clone()]), OptimizerError::NothingToTrain { parameters: 1 }));
    assert!(matches!(new(vec![], vec![]), OptimizerError::NothingToTrain { parameters: 0 }));
    let same_name = Parameter::new("a", b.var.clone());
    assert!(matches!(new(vec![], vec![a.clone(), same_name]), OptimizerError::Twice { .. }));
    let same_variable = Parameter::new("c", a.var.clone());
    assert!(matches!(new(vec![], vec![a.clone(), same_variable]), OptimizerError::Twice { .. }));
    let whole = Parameter::new("u", Var::zeros(2, DType::U32, &Device::Cpu).unwrap());
    assert!(matches!(new(vec![], vec![whole]), OptimizerError::DataType { dtype: DType::U32, .. }));
    let minus = GroupRule { rate: -1.0, ..GroupRule::new("a") };
    assert!(matches!(new(vec![minus], vec![a]), OptimizerError::Option { option: "rate", .. }));
}

#[test]
fn options_are_read_with_their_defaults_and_checked() {
    let read = |text: &str| toml::from_str::<OptimizerConfig>(text);
    let config = read(
        "method = { kind = 'sgd' }\nclip = { kind = 'torch', norm = 3.0 }\n[[rules]]\nnames = 'ge2e.*'\nclipped_gradient_scale = 0.01",
    )
    .unwrap();
    assert_eq!(config.method, PLAIN);
    assert_eq!(config.rules, [GroupRule { clipped_gradient_scale: 0.01, ..GroupRule::new("ge2e.*") }]);
    let adam = Method::Adam { form: AdamForm::Keras, beta1: 0.5, beta2: 0.999, epsilon: None, weight_decay: 0.0 };
    assert_eq!(read("method = { kind = 'adam', form = 'keras', beta1 = 0.5 }").unwrap(), OptimizerConfig::new(adam));
    assert_eq!(AdamForm::Keras.epsilon(), 1e-7);
    let rms = Method::RmsProp { decay: 0.9, epsilon: 1e-10 };
    assert_eq!(read("method = { kind = 'rms-prop' }\nclip = { kind = 'none' }").unwrap(), OptimizerConfig::new(rms));
    for unknown in
        ["method = { kind = 'sgd', momemtum = 0.9 }", "method = { kind = 'sgd' }\nclip = { kind = 'none', norm = 3.0 }"]
    {
        assert!(read(unknown).is_err(), "{unknown}");
    }
    for (text, name) in [
        ("method = { kind = 'sgd', nesterov = true }", "momentum"),
        ("method = { kind = 'sgd', momentum = 1.0 }", "momentum"),
        ("method = { kind = 'adam', form = 'tensorflow', weight_decay = 0.1 }", "weight_decay"),
        ("method = { kind = 'adam', beta2 = 1.0 }", "beta2"),
        ("method = { kind = 'adam-w', epsilon = 0.0 }", "epsilon"),
        ("method = { kind = 'rms-prop', decay = -0.5 }", "decay"),
        ("method = { kind = 'sgd' }\nclip = { kind = 'tensorflow', norm = 0.0 }", "norm"),
    ] {
        match read(text).unwrap().check() {
            Err(OptimizerError::Option { option, .. }) => assert_eq!(option, name),
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn a_state_of_another_optimizer_is_refused_and_changes_nothing() {
    let a = parameter("a", &[1.0, 2.0]);
    let mut optimizer = Optimizer::new(&OptimizerConfig::new(MOMENTUM), vec![a.clone()]).unwrap();
    optimizer.step(&gradients(&[(&a, &[1.0, -1.0])]), 0.1).unwrap();
    let state = optimizer.state().unwrap();
    let names: Vec<&str> = state.iter().map(|(name, _)| &name[..]).collect();
    assert_eq!(names, ["step", "a/momentum"]);
    let with = |change: &dyn Fn(&mut State)| {
        let mut state = state.clone();
        change(&mut state);
        state
    };
    let mut refused = |state: &[(String, Tensor)]| problem(optimizer.restore(state));
    match refused(&with(&|state| state[1].0 = "b/momentum".into())) {
        OptimizerError::State { missing, unknown } => {
            assert_eq!((missing, unknown), (vec!["a/momentum".into()], vec!["b/momentum".into()]));
        }
        other => panic!("{other}"),
    }
    match refused(&with(&|state| state.push(state[1].clone()))) {
        OptimizerError::State { missing, unknown } => {
            assert_eq!((missing.len(), unknown), (0, vec!["a/momentum".into()]))
        }
        other => panic!("{other}"),
    }
    let short = with(&|state| state[1].1 = Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap());
    assert!(matches!(refused(&short), OptimizerError::Form { .. }));
    let wide = with(&|state| state[1].1 = Tensor::zeros(2, DType::F64, &Device::Cpu).unwrap());
    assert!(matches!(refused(&wide), OptimizerError::Form { got_type: DType::F64, .. }));
    let fraction = with(&|state| state[0].1 = Tensor::new(1.5_f64, &Device::Cpu).unwrap());
    assert!(matches!(refused(&fraction), OptimizerError::Form { need_type: DType::I64, .. }));
    let before = with(&|state| state[0].1 = Tensor::new(-1_i64, &Device::Cpu).unwrap());
    assert!(matches!(refused(&before), OptimizerError::Option { option: "step", .. }));
    assert_eq!(optimizer.steps(), 1);
    let after = optimizer.state().unwrap();
    assert_eq!(after[1].1.to_vec1::<f32>().unwrap(), state[1].1.to_vec1::<f32>().unwrap());
}

proptest! {
    #[test]
    fn the_clipped_length_never_exceeds_the_bound(
        slopes in prop::collection::vec(prop_oneof![-10.0_f64..10.0, -1e-3_f64..1e-3, -1e30_f64..1e30], 1..40),
        split in 0_usize..40,
    ) {
        for clip in [Clip::Torch { norm: 3.0 }, Clip::Tensorflow { norm: 3.0 }] {
            let (left, right) = slopes.split_at(split % slopes.len());
            let parts: Vec<(Parameter, Tensor)> = [left, right]
                .iter()
                .enumerate()
                .map(|(index, part)| {
                    let var = Var::zeros(part.len(), DType::F64, &Device::Cpu).unwrap();
                    (Parameter::new(index.to_string(), var), Tensor::new(*part, &Device::Cpu).unwrap())
                })
                .filter(|(_, part)| part.elem_count() > 0)
                .collect();
            let parameters: Vec<Parameter> = parts.iter().map(|(parameter, _)| parameter.clone()).collect();
            let mut optimizer =
                Optimizer::new(&OptimizerConfig { clip, ..OptimizerConfig::new(PLAIN) }, parameters.clone()).unwrap();
            let mut store = Var::zeros((), DType::F32, &Device::Cpu).unwrap().backward().unwrap();
            for (parameter, gradient) in &parts {
                store.insert(&parameter.var, gradient.clone());
            }
            // At rate 1 from zero, the parameters are minus the clipped gradient.
            let report = optimizer.step(&store, 1.0).unwrap();
            let squares = |p: &Parameter| p.var.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
            let length = parameters.iter().map(squares).sum::<f64>().sqrt();
            prop_assert!(length <= 3.0 * (1.0 + 1e-14), "{length}");
            prop_assert!(length <= report.gradient_norm * (1.0 + 1e-14));
            if report.gradient_norm > 3.01 {
                prop_assert!(report.clipped && length > 2.99);
            }
            if report.gradient_norm < 2.99 {
                prop_assert!(!report.clipped && (length - report.gradient_norm).abs() < 1e-12);
            }
        }
    }
}

#[test]
fn kerass_weight_decay_is_a_penalty_of_squares_and_spares_a_group() {
    // The gradient of 0.1 |w|^2 at 4 and -2 is 0.8 and -0.4; alone, Adam's first step is the rate, whatever the size.
    let (weight, bias) = (parameter("weight", &[4.0, -2.0]), parameter("bias", &[4.0]));
    let rules = vec![GroupRule { weight_decay: 0.0, ..GroupRule::new("bias") }];
    let method =
        |weight_decay| Method::Adam { form: AdamForm::Keras, beta1: 0.5, beta2: 0.5, epsilon: Some(0.8), weight_decay };
    let config = OptimizerConfig { rules, ..OptimizerConfig::new(method(0.1)) };
    let mut optimizer = Optimizer::new(&config, vec![weight.clone(), bias.clone()]).unwrap();
    optimizer.step(&gradients(&[(&weight, &[0.0, 0.0]), (&bias, &[0.0])]), 1.0).unwrap();
    // m = g / 2, v = g^2 / 2; p -= sqrt(1 / 2) / (1 / 2) m / (sqrt(v) + 0.8).
    let step = |g: f64| 2.0_f64.sqrt() * g / 2.0 / (g.abs() / 2.0_f64.sqrt() + 0.8);
    for (got, expected) in values(&weight).iter().zip([4.0 - step(0.8), -2.0 - step(-0.4)]) {
        assert!((f64::from(*got) - expected).abs() < 1e-6, "{got} {expected}");
    }
    assert_eq!(values(&bias), [4.0]);
}

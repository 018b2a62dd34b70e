//! The objectives against PyTorch's values and gradients (`losses.safetensors`), and GE2E against hand-checked figures.

use candle_core::{DType, Device, Tensor, Var};
use common::data::{Tensors, Values, reference_dir};
use sv_losses::{
    AamSoftmaxOptions, AmSoftmaxOptions, Beyond, Centroids, Embeddings, Ge2e, Ge2eOptions, Ge2eTf, Ge2eTfOptions,
    Labels, LossError, MarginSoftmax, Objective, ObjectiveConfig, Reduction, Setting, Softmax, SoftmaxOptions, Variant,
};

/// The largest difference allowed, in absolute terms, for values and gradients; in f32 three times what PyTorch's f32 has.
struct Limits {
    value: f64,
    gradient: f64,
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    let wide = tensor.to_dtype(DType::F64).and_then(|t| t.flatten_all()).and_then(|t| t.to_vec1());
    wide.expect("numbers")
}

/// Rows of a reference's `[speakers, utterances, dimension]` as a variable, and their labels.
fn rows(values: &Values, dtype: DType) -> (Var, Labels) {
    let [n, m, d] = values.shape[..] else { panic!("three axes") };
    let tensor = Tensor::from_slice(&values.data, (n * m, d), &Device::Cpu).and_then(|t| t.to_dtype(dtype));
    (Var::from_tensor(&tensor.expect("a tensor")).expect("a variable"), Labels::arranged(n as u32, m))
}

fn assert_near(what: &str, got: &[f64], expected: &[f64], limit: f64) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let worst = got
        .iter()
        .zip(expected)
        .map(|(g, e)| (g - e).abs())
        .fold(0.0, |a: f64, b| if b > a || b.is_nan() { b } else { a });
    eprintln!("{what}: {worst:.2e} of {limit:.2e}");
    assert!(worst <= limit, "{what}: off by {worst:.2e}, allowed {limit:.2e}");
}

/// Loss and gradients of a case whose terms are summed.
fn check(file: &Tensors, case: &str, objective: &dyn Objective, dtype: DType, limits: &Limits) {
    let (embeddings, labels) = rows(&file.get(&format!("{case}.e")), dtype);
    let loss = objective.loss(&embeddings, &labels).expect("a loss");
    let value = file.get(&format!("{case}.value")).data;
    // A limit below two places of the sum's own last digit would ask for PyTorch's luck in rounding, not for its precision.
    let last_digit = match dtype {
        DType::F32 => f64::from((value[0] as f32).next_up()) - f64::from(value[0] as f32),
        _ => 0.0,
    };
    assert_near(&format!("{case} {dtype:?} value"), &flat(&loss), &value, limits.value.max(2.0 * last_digit));
    let gradients = loss.backward().expect("gradients");
    let mut variables = vec![("e", embeddings)];
    for parameter in objective.parameters() {
        match &parameter.name[..] {
            "ge2e.w" => variables.push(("w", parameter.var)),
            "ge2e.b" => variables.push(("b", parameter.var)),
            other => panic!("{other}"),
        }
    }
    assert_eq!(variables.len(), 3);
    for (name, var) in variables {
        let gradient = gradients.get(&var).unwrap_or_else(|| panic!("{case}: no gradient of {name}"));
        assert_eq!(gradient.dims(), var.dims());
        let expected = file.get(&format!("{case}.grad.{name}")).data;
        assert_near(&format!("{case} {dtype:?} grad.{name}"), &flat(gradient), &expected, limits.gradient);
    }
}

/// Both types, with the limits of each.
fn types(dir: &std::path::Path, group: &str) -> [(DType, Limits); 2] {
    let tolerances = std::fs::read_to_string(dir.join("tolerances.json")).expect("tolerances.json");
    let tolerances: serde_json::Value = serde_json::from_str(&tolerances).expect("JSON");
    let limit = |kind: &str| {
        let stated = tolerances["losses"][format!("{group}.{kind}")]["abs"].as_f64();
        3.0 * stated.unwrap_or_else(|| panic!("no tolerance of {group}.{kind}"))
    };
    let single = Limits { value: limit("value"), gradient: limit("grad") };
    [(DType::F64, Limits { value: 1e-9, gradient: 1e-9 }), (DType::F32, single)]
}

#[test]
fn every_case_of_ge2e_is_the_reference() {
    let Some(dir) = reference_dir() else { return };
    let file = Tensors::read(&dir.join("losses.safetensors"));
    let mut checked = 0;
    for name in file.names() {
        let Some(case) = name.strip_suffix(".value").filter(|case| case.starts_with("ge2e.")) else { continue };
        // The other convention for equal maxima; ours is `ties_first`.
        if case.ends_with("/ties_even") {
            continue;
        }
        let (group, _) = case.split_once('/').expect("a case after the group");
        let words: Vec<&str> = group.split('.').collect();
        let options = Ge2eOptions {
            variant: if words[1] == "softmax" { Variant::Softmax } else { Variant::Contrast },
            centroids: if words[2] == "all" { Centroids::All } else { Centroids::LeaveOneOut },
            embeddings: if words[3] == "raw" { Embeddings::Raw } else { Embeddings::Unit },
            reduction: Reduction::Sum,
            w: file.get(&format!("{case}.w")).data[0],
            b: file.get(&format!("{case}.b")).data[0],
        };
        for (dtype, limits) in types(&dir, group) {
            let objective = Ge2e::new(options.clone(), dtype, &Device::Cpu).expect("valid options");
            check(&file, case, &objective, dtype, &limits);
        }
        checked += 1;
    }
    assert_eq!(checked, 16);
}

#[test]
fn every_case_of_the_tensorflow_form_is_the_reference() {
    let Some(dir) = reference_dir() else { return };
    let file = Tensors::read(&dir.join("losses.safetensors"));
    for (variant, word) in [(Variant::Softmax, "softmax"), (Variant::Contrast, "contrast")] {
        for end in ["main", "negative_w"] {
            let group = format!("ge2e_tf.{word}");
            let case = format!("{group}/{end}");
            let of = |name: &str| file.get(&format!("{case}.{name}")).data[0];
            for (dtype, limits) in types(&dir, &group) {
                let options = Ge2eTfOptions { variant, w: of("w"), b: of("b") };
                let objective = Ge2eTf::new(options, dtype, &Device::Cpu).expect("valid options");
                check(&file, &case, &objective, dtype, &limits);
            }
        }
    }
}

#[test]
fn similarities_are_the_reference() {
    let Some(dir) = reference_dir() else { return };
    let file = Tensors::read(&dir.join("losses.safetensors"));
    for (centroids, word) in [(Centroids::LeaveOneOut, "leave_one_out"), (Centroids::All, "all")] {
        let (embeddings, _) = rows(&file.get("ge2e.softmax.leave_one_out.unit/main.e"), DType::F64);
        let options = Ge2eOptions { centroids, ..Ge2eOptions::default() };
        let ge2e = Ge2e::new(options, DType::F64, &Device::Cpu).expect("valid options");
        let got = ge2e.similarity(&embeddings, 4, 5).expect("a similarity");
        assert_eq!(got.dims(), [20, 4]);
        let expected = file.get(&format!("ge2e.softmax.similarity_{word}")).data;
        assert_near(word, &flat(&got), &expected, 1e-9);
    }
}

#[test]
fn the_mean_is_the_sum_divided_by_the_number_of_utterances() {
    let Some(dir) = reference_dir() else { return };
    let file = Tensors::read(&dir.join("losses.safetensors"));
    let sums = std::fs::read_to_string(dir.join("losses.json")).expect("losses.json");
    let sums: serde_json::Value = serde_json::from_str(&sums).expect("JSON");
    let case = "ge2e.contrast.leave_one_out.unit/main";
    let (embeddings, labels) = rows(&file.get(&format!("{case}.e")), DType::F64);
    let options = Ge2eOptions { variant: Variant::Contrast, reduction: Reduction::Mean, ..Ge2eOptions::default() };
    let ge2e = Ge2e::new(options, DType::F64, &Device::Cpu).expect("valid options");
    let loss = ge2e.loss(&embeddings, &labels).expect("a loss");
    assert_near("mean", &flat(&loss), &[sums[case]["mean"].as_f64().expect("a mean")], 1e-12);
}

fn tf(variant: Variant, w: f64, b: f64, dtype: DType) -> Ge2eTf {
    Ge2eTf::new(Ge2eTfOptions { variant, w, b }, dtype, &Device::Cpu).expect("valid options")
}

#[test]
fn six_unit_vectors_give_the_figures_of_the_tensorflow_code() {
    // The figures are of vectors of length one. The loss shortens what it is given by a root of |x|^2 + 1e-6, which at a length
    // of 1e9 is the length itself.
    let axes = [1, 2, 1, 1, 0, 0];
    let values: Vec<f64> =
        axes.iter().flat_map(|&axis| (0..3).map(move |c| if c == axis { 1e9 } else { 0.0 })).collect();
    let embeddings = Tensor::from_vec(values, (6, 3), &Device::Cpu).expect("a tensor");
    for (variant, expected) in [(Variant::Softmax, 5.250_093_9), (Variant::Contrast, 5.646_347_3)] {
        let loss = tf(variant, 1.0, 0.0, DType::F64).loss(&embeddings, &Labels::arranged(3, 2)).expect("a loss");
        assert_near("unit vectors", &flat(&loss), &[expected], 1e-7);
    }
}

#[test]
fn a_sine_gives_the_similarities_and_losses_of_the_tensorflow_code() {
    let values: Vec<f64> = (0..24).map(|i| (1.7 * f64::from(i) + 0.3).sin()).collect();
    let embeddings = Tensor::from_vec(values, (6, 4), &Device::Cpu).expect("a tensor");
    let similarity = tf(Variant::Softmax, 10.0, -5.0, DType::F64).similarity(&embeddings, 3, 2).expect("a similarity");
    let expected = [
        [3.35383, -3.07414, -11.80671],
        [3.35383, 2.0026, -6.65943],
        [1.66338, 3.82795, -1.25542],
        [-2.62033, 3.82795, 2.66149],
        [-7.16511, 2.62893, 3.87495],
        [-11.42038, -1.20864, 3.87495],
    ];
    assert_near("similarity", &flat(&similarity), expected.as_flattened(), 1e-5);
    for (variant, expected) in [(Variant::Softmax, 0.877_484_4), (Variant::Contrast, 4.014_093_5)] {
        let loss = tf(variant, 10.0, -5.0, DType::F64).loss(&embeddings, &Labels::arranged(3, 2)).expect("a loss");
        assert_near("sine", &flat(&loss), &[expected], 1e-7);
    }
}

#[test]
fn a_batch_that_ge2e_is_not_defined_for_is_refused() {
    let zeros = |dims: &[usize]| Tensor::ones(dims, DType::F64, &Device::Cpu).expect("a tensor");
    let ours = Ge2e::new(Ge2eOptions::default(), DType::F64, &Device::Cpu).expect("valid options");
    let theirs = tf(Variant::Softmax, 10.0, -5.0, DType::F64);
    for objective in [&ours as &dyn Objective, &theirs] {
        let refused = |dims: &[usize], speakers: &[u32]| {
            objective.loss(&zeros(dims), &Labels::new(speakers.to_vec())).expect_err("no loss")
        };
        assert!(matches!(refused(&[3, 2], &[7, 7, 7]), LossError::TooFewSpeakers { got: 1 }));
        assert!(matches!(refused(&[0, 2], &[]), LossError::TooFewSpeakers { got: 0 }));
        assert!(matches!(refused(&[3, 2], &[1, 2, 3]), LossError::TooFewUtterances { got: 1 }));
        assert!(matches!(refused(&[4, 2], &[1, 2, 1, 2]), LossError::NotArranged { row: 2, rows: 4 }));
        for dims in [&[5, 2][..], &[4, 0], &[4], &[2, 2, 2]] {
            match refused(dims, &[1, 1, 2, 2]) {
                LossError::Shape { got, rows: 4 } => assert_eq!(got, dims),
                other => panic!("{other}"),
            }
        }
        let half = zeros(&[4, 2]).to_dtype(DType::F32).expect("f32");
        let refused = objective.loss(&half, &Labels::arranged(2, 2)).expect_err("no loss");
        assert!(matches!(refused, LossError::DataType { got: DType::F32, .. }));
    }
    assert!(matches!(ours.similarity(&zeros(&[4, 2]), 2, 3), Err(LossError::Shape { rows: 6, .. })));
    assert!(matches!(ours.similarity(&zeros(&[4, 2]), usize::MAX, 2), Err(LossError::Shape { .. })));
}

#[test]
fn options_out_of_range_are_refused() {
    let w = |w: f64| Ge2e::new(Ge2eOptions { w, ..Ge2eOptions::default() }, DType::F32, &Device::Cpu);
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(w(bad), Err(LossError::InvalidOption { option: "w", .. })), "{bad}");
    }
    let b = Ge2eTfOptions { b: f64::NAN, ..Ge2eTfOptions::default() };
    let b = Ge2eTf::new(b, DType::F32, &Device::Cpu);
    assert!(matches!(b, Err(LossError::InvalidOption { option: "b", .. })));
    let whole = Ge2e::new(Ge2eOptions::default(), DType::U32, &Device::Cpu);
    assert!(matches!(whole, Err(LossError::DataType { got: DType::U32, .. })));
    let misspelt = serde_json::from_str::<Ge2eOptions>(r#"{ "centroid": "all" }"#);
    assert!(misspelt.is_err_and(|error| error.to_string().contains("centroid")));
    let read: Ge2eOptions =
        serde_json::from_str(r#"{ "centroids": "leave-one-out", "variant": "contrast" }"#).expect("reads");
    assert_eq!(read, Ge2eOptions { variant: Variant::Contrast, ..Ge2eOptions::default() });
}

/// Makes an objective for its bases.
type Build = dyn Fn(&mut Setting<'_>) -> Box<dyn Objective>;

/// An objective over bases and the case's own bases in it.
fn with_bases(file: &Tensors, case: &str, dtype: DType, build: &Build) -> Box<dyn Objective> {
    let bases = file.get(&format!("{case}.W"));
    let device = Device::Cpu;
    let mut setting =
        Setting { dimension: bases.shape[1], classes: bases.shape[0], dtype, device: &device, uniform: &mut || 0.5 };
    let objective = build(&mut setting);
    for parameter in objective.parameters() {
        let values = match &parameter.name[..] {
            "classes.weight" => Tensor::from_slice(&bases.data, &bases.shape[..], &device),
            _ => Tensor::from_vec(file.get(&format!("{case}.b")).data, parameter.var.shape(), &device),
        };
        let values = values.and_then(|values| values.to_dtype(dtype)).expect("values");
        parameter.var.set(&values).expect("of the bases' shape");
    }
    objective
}

/// Value and gradients of a case with bases: the reference sums the terms, ours is their mean.
fn check_bases(file: &Tensors, case: &str, dtype: DType, limits: &Limits, build: &Build) {
    let objective = with_bases(file, case, dtype, build);
    let e = file.get(&format!("{case}.e"));
    let e_tensor = Tensor::from_slice(&e.data, &e.shape[..], &Device::Cpu).and_then(|e| e.to_dtype(dtype));
    let embeddings = Var::from_tensor(&e_tensor.expect("embeddings")).expect("a variable");
    let labels = Labels::new(file.get(&format!("{case}.labels")).data.iter().map(|&label| label as u32).collect());
    let count = labels.rows() as f64;
    let loss = (objective.loss(&embeddings, &labels).expect("a loss") * count).expect("the sum");
    assert_near(
        &format!("{case} {dtype:?} value"),
        &flat(&loss),
        &file.get(&format!("{case}.value")).data,
        limits.value,
    );
    let gradients = loss.backward().expect("gradients");
    let mut variables = vec![("e", embeddings)];
    for parameter in objective.parameters() {
        variables.push((if parameter.name == "classes.weight" { "W" } else { "b" }, parameter.var));
    }
    for (name, var) in variables {
        let gradient = gradients.get(&var).unwrap_or_else(|| panic!("{case}: no gradient of {name}"));
        let expected = file.get(&format!("{case}.grad.{name}")).data;
        assert_near(&format!("{case} {dtype:?} grad.{name}"), &flat(gradient), &expected, limits.gradient);
    }
}

#[test]
fn every_case_of_softmax_with_a_margin_is_the_reference() {
    let Some(dir) = reference_dir() else { return };
    let file = Tensors::read(&dir.join("losses.safetensors"));
    let aam = |margin: f64, scale: f64, beyond: Beyond| {
        move |setting: &mut Setting<'_>| -> Box<dyn Objective> {
            let options = AamSoftmaxOptions { margin, scale, beyond };
            Box::new(MarginSoftmax::additive_angular(&options, setting).expect("valid options"))
        }
    };
    let am = |margin: f64, scale: f64| {
        move |setting: &mut Setting<'_>| -> Box<dyn Objective> {
            Box::new(
                MarginSoftmax::additive(&AmSoftmaxOptions { margin, scale, ..AmSoftmaxOptions::default() }, setting)
                    .expect("valid options"),
            )
        }
    };
    let mut checked = 0;
    for case in file.names().iter().filter_map(|name| name.strip_suffix(".value")) {
        let Some((group, kind)) = case.split_once('/') else { continue };
        let build: Box<Build> = match (group, kind) {
            // Not built: with it the loss is no longer the published recipe's.
            ("aam_softmax", "easy_margin") => continue,
            ("aam_softmax", "margin0") => Box::new(aam(0.0, 30.0, Beyond::Sine)),
            ("aam_softmax", _) => Box::new(aam(0.2, 30.0, Beyond::Sine)),
            ("aam_softmax_wespeaker", _) => Box::new(aam(0.2, 32.0, Beyond::Cosine)),
            ("am_softmax", _) | ("heo.am_softmax", "s30_m0.2") => Box::new(am(0.2, 30.0)),
            ("heo.am_softmax", "s5_m0.35") => Box::new(am(0.35, 5.0)),
            _ => continue,
        };
        for (dtype, limits) in types(&dir, group) {
            check_bases(&file, case, dtype, &limits, &*build);
        }
        checked += 1;
    }
    assert_eq!(checked, 10);
}

#[test]
fn plain_softmax_is_the_reference() {
    let Some(dir) = reference_dir() else { return };
    let file = Tensors::read(&dir.join("losses.safetensors"));
    let build = |setting: &mut Setting<'_>| -> Box<dyn Objective> {
        Box::new(Softmax::new(&SoftmaxOptions::default(), setting).expect("valid options"))
    };
    for (dtype, limits) in types(&dir, "heo.softmax") {
        check_bases(&file, "heo.softmax/main", dtype, &limits, &build);
    }
}

#[test]
fn an_objective_is_read_from_a_recipe_and_a_misspelt_option_refused() {
    let read = |text: &str| serde_json::from_str::<ObjectiveConfig>(text).map_err(|error| error.to_string());
    let options = AamSoftmaxOptions { beyond: Beyond::Cosine, ..AamSoftmaxOptions::default() };
    assert_eq!(read(r#"{ "kind": "aam-softmax", "beyond": "cosine" }"#), Ok(ObjectiveConfig::AamSoftmax(options)));
    for (text, word) in [
        (r#"{ "kind": "aam-softmax", "margins": 0.3 }"#, "margins"),
        (r#"{ "kind": "am-softmax", "beyond": "sine" }"#, "beyond"),
        (r#"{ "kind": "softmax", "head": { "kind": "linear", "sizes": [3] } }"#, "sizes"),
    ] {
        let error = read(text).expect_err(text);
        assert!(error.contains(word), "{error}");
    }
    let layers = read(r#"{ "kind": "softmax", "head": { "kind": "layers", "sizes": [512] } }"#).expect("an x-vector's");
    assert!(layers.validate().is_ok() && layers.validate_margin(0.1).is_err());
    assert!(ObjectiveConfig::AmSoftmax(AmSoftmaxOptions::default()).validate_margin(0.1).is_ok());
}

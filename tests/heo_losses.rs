//! The losses of Heo et al. 2019 and of pairs against PyTorch's values and gradients (`losses.safetensors`), in f64 and f32.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};
use common::data::{Tensors, Values, reference_dir};
use sv_losses::{
    AmSoftmaxOptions, BasesOptions, BetweenPart, CenterPart, Centroids, ContrastiveOptions, Embeddings, Ge2eOptions,
    HardPart, Labels, Objective, ObjectiveConfig, Pairs, Reduction, Setting, SoftmaxPart, SpeakerBases, Variant,
    between_class,
};

/// The largest difference allowed; in f32 three times what PyTorch's f32 has.
struct Limits {
    value: f64,
    gradient: f64,
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    let wide = tensor.to_dtype(DType::F64).and_then(|t| t.flatten_all()).and_then(|t| t.to_vec1());
    wide.expect("numbers")
}

fn tensor(values: &Values, dtype: DType) -> Tensor {
    let tensor = Tensor::from_slice(&values.data, &values.shape[..], &Device::Cpu).and_then(|t| t.to_dtype(dtype));
    tensor.expect("a tensor")
}

fn assert_near(what: &str, got: &[f64], expected: &[f64], limit: f64) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let far = |worst: f64, off: f64| if off > worst || off.is_nan() { off } else { worst };
    let worst = got.iter().zip(expected).map(|(g, e)| (g - e).abs()).fold(0.0, far);
    eprintln!("{what}: {worst:.2e} of {limit:.2e}");
    assert!(worst <= limit, "{what}: off by {worst:.2e}, allowed {limit:.2e}");
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(path).expect("a file")).expect("JSON")
}

/// Both types, with the limits of each.
fn types(dir: &Path, group: &str) -> [(DType, Limits); 2] {
    let tolerances = json(&dir.join("tolerances.json"));
    let limit = |kind: &str| {
        let stated = tolerances["losses"][format!("{group}.{kind}")]["abs"].as_f64();
        3.0 * stated.unwrap_or_else(|| panic!("no tolerance of {group}.{kind}"))
    };
    let single = Limits { value: limit("value"), gradient: limit("grad") };
    [(DType::F64, Limits { value: 1e-9, gradient: 1e-9 }), (DType::F32, single)]
}

fn labels(file: &Tensors, name: &str) -> Labels {
    Labels::new(file.get(name).data.iter().map(|&label| label as u32).collect())
}

fn bases(options: BasesOptions) -> ObjectiveConfig {
    ObjectiveConfig::SpeakerBases(options)
}

fn hard(negatives: u64) -> Option<HardPart> {
    Some(HardPart { negatives: negatives as usize, weight: 1.0 })
}

fn center(lambda: f64) -> Option<CenterPart> {
    Some(CenterPart { lambda, alpha: 0.5 })
}

/// The objective that a case is of, with its parameters as the case has them.
fn build(file: &Tensors, case: &str, config: &ObjectiveConfig, dtype: DType) -> Box<dyn Objective> {
    let names: Vec<String> = file.names().iter().map(ToString::to_string).collect();
    let has = |input: &str| names.contains(&format!("{case}.{input}"));
    let shape = if has("W") { file.get(&format!("{case}.W")).shape } else { vec![2, 1] };
    let device = Device::Cpu;
    let (classes, dimension) = (shape[0], shape[1]);
    let mut setting = Setting { dimension, classes, dtype, device: &device, uniform: &mut || 0.5 };
    let objective = config.build(&mut setting).expect("an objective");
    for parameter in objective.parameters().into_iter().chain(objective.buffers()) {
        let input = input_of(&parameter.name);
        parameter.var.set(&tensor(&file.get(&format!("{case}.{input}")), dtype)).expect("of the case's shape");
    }
    objective
}

/// What the reference calls a parameter.
fn input_of(name: &str) -> &'static str {
    match name {
        "classes.weight" => "W",
        "classes.bias" | "ge2e.b" => "b",
        "classes.centres" => "c",
        "ge2e.w" => "w",
        other => panic!("{other}"),
    }
}

/// Value and every gradient of a case, whose terms are summed.
fn check(dir: &Path, file: &Tensors, case: &str, config: &ObjectiveConfig) {
    let (group, _) = case.split_once('/').expect("a case after the group");
    let e = file.get(&format!("{case}.e"));
    for (dtype, limits) in types(dir, group) {
        let objective = build(file, case, config, dtype);
        let (given, dimension) = (tensor(&e, dtype), *e.shape.last().expect("axes"));
        let var = Var::from_tensor(&given).expect("a variable");
        let embeddings = var.reshape(((), dimension)).expect("rows");
        let labels = match e.shape[..] {
            [n, m, _] => Labels::arranged(n as u32, m),
            _ => labels(file, &format!("{case}.labels")),
        };
        let loss = objective.loss(&embeddings, &labels).expect("a loss");
        let expected = file.get(&format!("{case}.value")).data;
        let last_digit = match dtype {
            // Below two places of the sum's own last digit a limit asks for PyTorch's luck in rounding.
            DType::F32 => f64::from((expected[0] as f32).next_up()) - f64::from(expected[0] as f32),
            _ => 0.0,
        };
        assert_near(&format!("{case} {dtype:?} value"), &flat(&loss), &expected, limits.value.max(2.0 * last_digit));
        let gradients = loss.backward().expect("gradients");
        let mut variables = vec![("e", var)];
        variables.extend(objective.parameters().into_iter().map(|p| (input_of(&p.name), p.var)));
        for (input, var) in variables {
            let expected = file.get(&format!("{case}.grad.{input}")).data;
            let gradient = gradients.get(&var).unwrap_or_else(|| panic!("{case}: no gradient of {input}"));
            assert_near(&format!("{case} {dtype:?} grad.{input}"), &flat(gradient), &expected, limits.gradient);
        }
        assert!(objective.buffers().iter().all(|buffer| gradients.get(&buffer.var).is_none()), "{case}");
    }
}

/// Every case whose name starts so, with the objective that `config` makes of its name and its entry of `losses.json`.
fn check_all(prefix: &str, config: impl Fn(&str, &serde_json::Value) -> Option<ObjectiveConfig>) -> usize {
    let Some(dir) = reference_dir() else { return usize::MAX };
    let file = Tensors::read(&dir.join("losses.safetensors"));
    let options = json(&dir.join("losses.json"));
    let mut checked = 0;
    for case in file.names().iter().filter_map(|name| name.strip_suffix(".value")) {
        if case.starts_with(prefix)
            && let Some(config) = config(case, &options[case])
        {
            check(&dir, &file, case, &config);
            checked += 1;
        }
    }
    checked
}

/// The number of cases, or that the reference is not there.
fn assert_count(checked: usize, expected: usize) {
    assert!(checked == expected || checked == usize::MAX, "{checked} cases, {expected} expected");
}

#[test]
fn every_sum_over_bases_is_the_reference() {
    let none = BasesOptions::default;
    let softmax = || Some(SoftmaxPart::default());
    let checked = check_all("heo.", |case, json| {
        let negatives = || hard(json["H"].as_u64().expect("H"));
        let lambda = || center(json["lambda"].as_f64().expect("lambda"));
        let between = || Some(BetweenPart::default());
        let (group, _) = case.split_once('/').expect("a case after the group");
        let options = match group {
            "heo.softmax" => BasesOptions { softmax: softmax(), ..none() },
            "heo.hard" => BasesOptions { hard: negatives(), ..none() },
            "heo.softmax_center" => BasesOptions { softmax: softmax(), center: lambda(), ..none() },
            "heo.softmax_center_between" => {
                BasesOptions { softmax: softmax(), center: lambda(), between: between(), ..none() }
            }
            "heo.hard_between" => BasesOptions { hard: negatives(), between: between(), ..none() },
            _ => return None,
        };
        Some(bases(options))
    });
    assert_count(checked, 11);
}

#[test]
fn additive_margin_and_printed_ge2e_are_the_reference_as_sums() {
    let checked = check_all("heo.", |case, json| match case.split_once('/')? {
        ("heo.am_softmax", _) => {
            let of = |key: &str| json[key].as_f64().expect("a number");
            let options = AmSoftmaxOptions { margin: of("m"), scale: of("s"), reduction: Reduction::Sum };
            Some(ObjectiveConfig::AmSoftmax(options))
        }
        ("heo.ge2e_printed", _) => Some(ObjectiveConfig::Ge2e(Ge2eOptions {
            variant: Variant::Contrast,
            centroids: Centroids::All,
            embeddings: Embeddings::Raw,
            reduction: Reduction::Sum,
            ..Ge2eOptions::default()
        })),
        _ => None,
    });
    assert_count(checked, 5);
}

#[test]
fn between_class_alone_is_the_reference() {
    let Some(dir) = reference_dir() else { return };
    let file = Tensors::read(&dir.join("losses.safetensors"));
    for (dtype, limits) in types(&dir, "heo.between") {
        for case in ["main", "two", "equal_bases"].map(|end| format!("heo.between/{end}")) {
            let weight = Var::from_tensor(&tensor(&file.get(&format!("{case}.W")), dtype)).expect("a variable");
            let loss = between_class(&weight).expect("a loss");
            let expected = file.get(&format!("{case}.value")).data;
            assert_near(&format!("{case} {dtype:?} value"), &flat(&loss), &expected, limits.value);
            let gradients = loss.backward().expect("gradients");
            let gradient = flat(gradients.get(&weight).expect("a gradient"));
            let expected = file.get(&format!("{case}.grad.W")).data;
            assert_near(&format!("{case} {dtype:?} grad.W"), &gradient, &expected, limits.gradient);
        }
    }
}

/// Center stands beside another part: it is what the sum has more than that part.
#[test]
fn center_and_its_update_are_the_reference() {
    let Some(dir) = reference_dir() else { return };
    let file = Tensors::read(&dir.join("losses.safetensors"));
    let with = |lambda: f64, dtype: DType, centres: &str| -> SpeakerBases {
        let options =
            BasesOptions { softmax: Some(SoftmaxPart::default()), center: center(lambda), ..BasesOptions::default() };
        let (shape, device) = (file.get(centres).shape, Device::Cpu);
        let mut setting =
            Setting { dimension: shape[1], classes: shape[0], dtype, device: &device, uniform: &mut || 0.5 };
        let objective = SpeakerBases::new(&options, &mut setting).expect("an objective");
        objective.buffers()[0].var.set(&tensor(&file.get(centres), dtype)).expect("centres");
        objective
    };
    let center_of = |objective: &SpeakerBases, embeddings: &Tensor, labels: &Labels| -> Tensor {
        let parts: BTreeMap<_, _> = objective.parts(embeddings, labels).expect("parts").into_iter().collect();
        parts["center"].clone()
    };
    for (dtype, limits) in types(&dir, "heo.center") {
        for (end, lambda) in [("lambda_0.001", 0.001), ("lambda_1.0", 1.0), ("equals_centre", 1.0)] {
            let case = format!("heo.center/{end}");
            let objective = with(lambda, dtype, &format!("{case}.c"));
            let embeddings = Var::from_tensor(&tensor(&file.get(&format!("{case}.e")), dtype)).expect("a variable");
            let loss = center_of(&objective, &embeddings, &labels(&file, &format!("{case}.labels")));
            let expected = file.get(&format!("{case}.value")).data;
            assert_near(&format!("{case} {dtype:?} value"), &flat(&loss), &expected, limits.value);
            let gradients = loss.backward().expect("gradients");
            let gradient = flat(gradients.get(&embeddings).expect("a gradient"));
            let expected = file.get(&format!("{case}.grad.e")).data;
            assert_near(&format!("{case} {dtype:?} grad.e"), &gradient, &expected, limits.gradient);
            assert_eq!(gradients.get(&objective.buffers()[0].var).map(Tensor::elem_count), None);
        }
        let mut objective = with(0.001, dtype, "heo.center_update.c0");
        let limit = if dtype == DType::F64 { 1e-12 } else { 1e-6 };
        for step in 0..3 {
            let at = |what: &str, step: usize| format!("heo.center_update.{what}{step}");
            let (embeddings, labels) = (tensor(&file.get(&at("e", step)), dtype), labels(&file, &at("labels", step)));
            let value = flat(&center_of(&objective, &embeddings, &labels));
            assert_near(&at("value", step), &value, &file.get(&at("value", step)).data, limit);
            objective.after_step(&embeddings, &labels).expect("an update");
            let centres = flat(&objective.buffers()[0].var);
            assert_near(&at("c", step + 1), &centres, &file.get(&at("c", step + 1)).data, limit);
        }
    }
}

#[test]
fn every_case_of_contrastive_pairs_is_the_reference() {
    let checked = check_all("contrastive.", |case, json| {
        let pairs = match case.split('.').nth(1)? {
            "all" => Pairs::All {},
            "batch_hard" => Pairs::BatchHard {},
            "top5" => Pairs::Nearest { negatives: 5 },
            other => panic!("{other}"),
        };
        let embeddings = if case.contains(".raw/") { Embeddings::Raw } else { Embeddings::Unit };
        let margin = json["margin"].as_f64().expect("a margin");
        Some(ObjectiveConfig::Contrastive(ContrastiveOptions { margin, embeddings, pairs, reduction: Reduction::Sum }))
    });
    assert_count(checked, 8);
}

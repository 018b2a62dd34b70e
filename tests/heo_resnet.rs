//! The residual networks of Heo et al. 2019: shapes and parameter counts of Tables 1 and 3; embeddings by the plain definition and
//! by plans on every tier, and training mode with every gradient and running average, against PyTorch.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test stops where its scene cannot be set")]

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use common::data::{Tensors, difference, reference_dir};
use ndarray::{Array2, Array3, ArrayView2, Axis};
use sv_kernels::Tier;
use sv_kernels::ops::composed_only;
use sv_models::encoders::resnet::{HeoForm, ImagePadding, ResNetConfig, ResNetForm, ResNetHead};
use sv_models::train::{Encoder, ResNetEncoder, Standardisation, encoder};
use sv_models::weights::{Weight, Weights};
use sv_models::{EncoderConfig, ModelError, Plan, reference};

/// The networks of `heo_resnet34.safetensors`, and the sizes of input that it has for each.
const NETWORKS: [(&str, &[&str]); 2] = [("table1", &["even", "odd", "odd_both"]), ("table3", &["odd", "odd_both"])];

/// Table 1's or Table 3's network at 4 to 32 channels, for `bins` bins.
fn config(network: &str, bins: usize, padding: ImagePadding) -> ResNetConfig {
    let form = match network {
        "table1" => HeoForm { padding, ..HeoForm::default() },
        _ => HeoForm { stem_stride: [1, 2], head: ResNetHead::Linear, padding, ..HeoForm::default() },
    };
    let size = if network == "table1" { 32 } else { 24 };
    ResNetConfig { form: ResNetForm::Heo(form), bins, channels: 4, blocks: vec![3, 4, 6, 3], size }
}

/// The reference's name of one of our tensors.
fn theirs(name: &str) -> String {
    let (layer, kind) = name.rsplit_once('.').unwrap();
    let layer = match layer.split('.').collect::<Vec<_>>()[..] {
        ["stem", "conv"] => "conv1".to_owned(),
        ["stem", _] => "bn1".to_owned(),
        ["stages", stage, block, ref rest @ ..] => {
            let part = match *rest {
                ["shortcut", "conv"] => "shortcut.0",
                ["shortcut", _] => "shortcut.1",
                ["norm1"] => "bn1",
                ["norm2"] => "bn2",
                [conv] => conv,
                _ => panic!("{name}"),
            };
            format!("res{}.{block}.{part}", stage.parse::<usize>().unwrap() + 1)
        }
        _ => "dense".to_owned(),
    };
    format!("{layer}.{kind}")
}

struct Reference {
    file: Tensors,
    tolerances: serde_json::Value,
}

impl Reference {
    fn read() -> Option<Self> {
        let folder = reference_dir()?;
        let text = std::fs::read_to_string(folder.join("tolerances.json")).unwrap();
        let tolerances: serde_json::Value = serde_json::from_str(&text).unwrap();
        let file = Tensors::read(&folder.join("heo_resnet34.safetensors"));
        Some(Self { file, tolerances: tolerances["heo_resnet34"].clone() })
    }

    /// What PyTorch's own f32 is off by, relative to the largest magnitude.
    fn stated(&self, group: &str) -> f64 {
        self.tolerances[group]["rel"].as_f64().unwrap_or_else(|| panic!("no {group}"))
    }

    fn weights(&self, network: &str, config: &ResNetConfig) -> Weights {
        let tensors: BTreeMap<String, Weight> = config
            .tensors()
            .into_keys()
            .map(|name| {
                let values = self.file.get(&format!("{network}.weight.{}", theirs(&name)));
                (name, Weight { shape: values.shape.clone(), values: values.f32() })
            })
            .collect();
        Weights::new("the reference", &EncoderConfig::ResNet(config.clone()), tensors).unwrap()
    }

    /// The rows of an input: (frames, bins) each.
    fn rows(&self, case: &str) -> Vec<Array2<f32>> {
        let input = self.file.get(&format!("{case}.input"));
        let [_, 1, frames, bins] = input.shape[..] else { panic!("{:?}", input.shape) };
        let rows = input.f32();
        rows.chunks(frames * bins).map(|row| Array2::from_shape_vec((frames, bins), row.to_vec()).unwrap()).collect()
    }

    /// Runs `check` on each network and size of input, with its padding of k // 2 and as Keras has it.
    fn each(&self, mut check: impl FnMut(&str, &str, &str, ImagePadding, &ResNetConfig, &Weights)) {
        for (network, sizes) in NETWORKS {
            for size in sizes {
                let case = format!("{network}.{size}");
                let bins = self.file.get(&format!("{case}.input")).shape[3];
                for (padding, output) in
                    [(ImagePadding::Half, "eval.output"), (ImagePadding::Same, "eval.output_keras_same")]
                {
                    let config = config(network, bins, padding);
                    let weights = self.weights(network, &config);
                    check(network, &case, output, padding, &config, &weights);
                }
            }
        }
    }
}

#[test]
fn layers_have_the_shapes_of_the_papers_tables_and_as_many_parameters() {
    let Some(folder) = reference_dir() else { return };
    let text = std::fs::read_to_string(folder.join("heo_shapes.json")).unwrap();
    let shapes: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (key, config) in [("table1", ResNetConfig::heo_table1()), ("table3", ResNetConfig::heo_table3())] {
        config.validate().unwrap();
        let encoder = EncoderConfig::ResNet(config.clone());
        let expected = &shapes[key];
        assert_eq!(encoder.parameters() as u64, expected["parameters"].as_u64().unwrap(), "{key}");
        for length in [300, 301] {
            let shape = |layer: &str| -> Vec<usize> {
                let sizes = expected["layers"][layer][format!("l={length}")].as_array().unwrap();
                sizes.iter().map(|size| size.as_u64().unwrap() as usize).collect()
            };
            // From the configuration, as plan and training lay their images out.
            let [step, jump] = config.form.stem_stride();
            let (mut frames, mut bins) = (300_usize.max(length).div_ceil(step), config.bins.div_ceil(jump));
            assert_eq!(shape("conv1"), [frames, bins, config.channels], "{key} {length}");
            for (stage, &blocks) in config.blocks.iter().enumerate() {
                for block in 0..blocks {
                    let stride = config.stride(stage, block);
                    (frames, bins) = (frames.div_ceil(stride), bins.div_ceil(stride));
                }
                let name = format!("res{}", stage + 1);
                assert_eq!(shape(&name), [frames, bins, config.stage_channels(stage)], "{key} {length} {name}");
            }
            assert_eq!(shape("pool"), [config.pooled_values()]);
            assert_eq!(bins, config.rows());
            let last = if key == "table1" { "pool" } else { "dense" };
            assert_eq!(shape(last), [encoder.embedding_size()]);
        }
    }
}

/// What the layers of both networks give at the paper's width: as many values as the paper's tables say.
#[test]
fn layers_at_full_width_give_what_the_papers_tables_say() {
    let Some(folder) = reference_dir() else { return };
    let text = std::fs::read_to_string(folder.join("heo_shapes.json")).unwrap();
    let shapes: serde_json::Value = serde_json::from_str(&text).unwrap();
    // An odd length for both, and for the smaller network an even one too: the plain definition takes its time.
    for (key, config, lengths) in
        [("table1", ResNetConfig::heo_table1(), &[300, 301][..]), ("table3", ResNetConfig::heo_table3(), &[301])]
    {
        let encoder = EncoderConfig::ResNet(config.clone());
        let one = |shape: Vec<usize>| Weight { values: vec![0.01; shape.iter().product()], shape };
        let tensors = config.tensors().into_iter().map(|(name, shape)| (name, one(shape))).collect();
        let weights = Weights::new("all alike", &encoder, tensors).unwrap();
        for &length in lengths {
            let features = Array2::from_elem((length, config.bins), 0.5_f32);
            let mut given: BTreeMap<String, usize> = BTreeMap::new();
            let mut tap = |name: &str, values: &[f64]| {
                given.insert(name.to_owned(), values.len());
            };
            let embedding = reference::embed_with(&encoder, &weights, features.view(), &mut tap).unwrap();
            given.insert("dense".to_owned(), embedding.len());
            let layers = shapes[key]["layers"].as_object().unwrap();
            assert_eq!(layers.len(), if key == "table1" { 6 } else { 7 });
            for (layer, of_length) in layers {
                let expected: u64 = of_length[format!("l={length}")]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|size| size.as_u64().unwrap())
                    .product();
                let ours = match layer.strip_prefix("res") {
                    Some(stage) => format!("stages.{}", stage.parse::<usize>().unwrap() - 1),
                    None if layer == "conv1" => "stem".to_owned(),
                    None => layer.clone(),
                };
                assert_eq!(given[&ours] as u64, expected, "{key} {layer} of {length} frames");
            }
        }
    }
}

/// The same by the layers themselves: the plain definition shows what each gives, at a quarter of the channels.
#[test]
fn the_plain_definition_has_the_layers_of_the_reference() {
    let Some(reference) = Reference::read() else { return };
    let mut compared = 0;
    reference.each(|network, case, output, padding, config, weights| {
        let encoder = EncoderConfig::ResNet(config.clone());
        let expected = reference.file.get(&format!("{case}.{output}"));
        let limit = reference.stated(&format!("{network}.eval"));
        for (row, features) in reference.rows(case).iter().enumerate() {
            let mut taps = BTreeMap::new();
            let mut tap = |name: &str, values: &[f64]| drop(taps.insert(name.to_owned(), values.to_vec()));
            let got = reference::embed_with(&encoder, weights, features.view(), &mut tap).unwrap();
            let own = &expected.data[row * got.len()..][..got.len()];
            // f64 against f64.
            let worst = got.iter().zip(own).fold(0.0_f64, |worst, (got, own)| worst.max((got - own).abs()));
            assert!(worst <= 1e-9, "{case} {output}: {worst:.2e}");
            if padding == ImagePadding::Same || case.ends_with("odd_both") {
                continue;
            }
            for (layer, ours) in [("conv1", "stem"), ("res2", "stages.1"), ("res4", "stages.3")] {
                let theirs = reference.file.get(&format!("{case}.eval.{layer}"));
                let [_, channels, frames, bins] = theirs.shape[..] else { panic!("{:?}", theirs.shape) };
                let theirs = &theirs.data[row * channels * frames * bins..][..channels * frames * bins];
                // Theirs are (C, T, F), ours (C, F, T).
                let ours = Array3::from_shape_vec((channels, bins, frames), taps[ours].clone()).unwrap();
                let turned: Vec<f32> = ours.permuted_axes([0, 2, 1]).iter().map(|&value| value as f32).collect();
                let error = difference(&turned, theirs).1;
                assert!(error <= limit, "{case} {layer}: {error:.2e}, allowed {limit:.2e}");
                compared += 1;
            }
        }
    });
    assert_eq!(compared, 3 * 2 * 3, "three layers of two rows of three inputs");
}

#[test]
fn plans_equal_the_reference_on_every_tier_and_a_batch_its_files() {
    let Some(reference) = Reference::read() else { return };
    reference.each(|network, case, output, _, config, weights| {
        let encoder = EncoderConfig::ResNet(config.clone());
        let expected = reference.file.get(&format!("{case}.{output}")).data;
        let limit = 3.0 * reference.stated(&format!("{network}.eval"));
        let rows = reference.rows(case);
        for tier in Tier::available() {
            let plan = Plan::on_tier(tier, &encoder, weights).unwrap();
            let views: Vec<ArrayView2<'_, f32>> = rows.iter().map(|row| row.view()).collect();
            let together = plan.embed(&views).unwrap();
            let error = difference(together.as_slice().unwrap(), &expected).1;
            println!("{case} {output} on {tier:?}: {error:.2e} of {limit:.2e}");
            assert!(error <= limit, "{case} {output} on {tier:?}: {error:.2e}, allowed {limit:.2e}");
            // A padded batch: the second row is cut, what stands behind it is far out.
            let (frames, bins) = rows[0].dim();
            let cut = frames - 6;
            let mut batch = Array3::from_shape_fn((2, frames, bins), |(row, t, f)| rows[row][(t, f)]);
            batch.index_axis_mut(Axis(0), 1).axis_iter_mut(Axis(0)).skip(cut).for_each(|mut frame| frame.fill(1e20));
            let padded = plan.embed_padded(batch.view(), &[frames, cut]).unwrap();
            assert_eq!(padded.row(0), together.row(0), "the same bits");
            let alone = plan.embed(&[rows[1].view().split_at(Axis(0), cut).0]).unwrap();
            assert_eq!(padded.row(1), alone.row(0), "the same bits");
        }
    });
}

/// Where a computation runs.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Route {
    Double,
    Kernels,
    Portable,
}

impl Route {
    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        if self == Self::Portable { composed_only(work) } else { work() }
    }
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn training_mode_is_the_reference_on_every_path() {
    let Some(reference) = Reference::read() else { return };
    reference.each(|network, case, _, padding, config, weights| {
        if padding == ImagePadding::Same {
            return; // The reference trains with k // 2.
        }
        for route in [Route::Double, Route::Kernels, Route::Portable] {
            let dtype = if route == Route::Double { DType::F64 } else { DType::F32 };
            let net = ResNetEncoder::new(config, weights, None, dtype, &Device::Cpu).unwrap();
            let tensor = |name: &str| reference.file.get(&format!("{case}.{name}"));
            let input = tensor("input");
            let [batch, _, frames, bins] = input.shape[..] else { panic!("{:?}", input.shape) };
            let input = Tensor::from_slice(&input.data, (batch, frames, bins), &Device::Cpu).unwrap();
            let input = Var::from_tensor(&input.to_dtype(dtype).unwrap()).unwrap();
            let factors = tensor("train.coef");
            let factors = Tensor::from_slice(&factors.data, &factors.shape[..], &Device::Cpu).unwrap();
            let output = route.run(|| net.forward(&input).unwrap());
            let value = (&output * factors.to_dtype(dtype).unwrap()).unwrap().sum_all().unwrap();
            let gradients = value.backward().unwrap();

            let mut checked = 0;
            let mut check = |key: &str, got: &Tensor| {
                let (expected, got) = (tensor(key).data, numbers(got));
                assert_eq!(got.len(), expected.len(), "{case} {key}");
                let group = key.split('.').take(2).collect::<Vec<_>>().join(".");
                let stated = reference.stated(&format!("{network}.{group}"));
                // f32 files of f64 values; stem and shallow gradients of f32 passes are sums over all positions.
                let limit = match route {
                    Route::Double => 1.2e-7,
                    // The value is a sum of terms of both signs.
                    Route::Kernels if key == "train.value" => 8.0 * stated,
                    Route::Kernels => 4.5 * stated,
                    Route::Portable => 8.0 * stated,
                };
                let largest = expected.iter().fold(1.0_f64, |largest, value| largest.max(value.abs()));
                let worst = got.iter().zip(&expected).map(|(got, expected)| (got - expected).abs() / largest);
                let worst = worst.fold(0.0, |a: f64, b| if b > a || b.is_nan() { b } else { a });
                assert!(worst <= limit, "{case} {route:?} {key}: off by {worst:.2e}, allowed {limit:.2e}");
                checked += 1;
            };
            check("train.output", &output);
            check("train.value", &value);
            check("train.grad.input", gradients.get(&input).unwrap());
            if !case.ends_with("odd_both") {
                for (name, var) in net.variables() {
                    check(&format!("train.grad.{}", theirs(name)), gradients.get(var).unwrap());
                }
                for (name, var) in net.buffers() {
                    check(&format!("train.after.{}", theirs(name)), var);
                }
            }
            let prefix = format!("{case}.train.");
            let all = reference.file.names().into_iter().filter(|name| name.starts_with(&prefix)).count();
            assert_eq!(checked, all - 1, "{case}: everything but the factors");
        }
    });
}

/// Repeatable values in [-1, 1).
fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    };
    (0..count).map(next).collect()
}

/// Small networks of every form with made weights: batch norms that do nothing, gains of about 1.
fn made() -> Vec<(EncoderConfig, BTreeMap<String, Weight>)> {
    // A share that is soon followed.
    let first = HeoForm { momentum: 0.2, ..HeoForm::default() };
    let heo = HeoForm { stem_stride: [1, 2], head: ResNetHead::Linear, padding: ImagePadding::Same, ..first };
    let sizes = |form, size| ResNetConfig { form, bins: 21, channels: 5, blocks: vec![1, 2, 1], size };
    let configs = [sizes(ResNetForm::Wespeaker, 7), sizes(ResNetForm::Heo(first), 20), sizes(ResNetForm::Heo(heo), 9)];
    let tensors = |config: &EncoderConfig| {
        let one = |(index, (name, shape)): (usize, (String, Vec<usize>))| {
            let count = shape.iter().product();
            let norm = shape.len() == 1 && name.contains("norm");
            let values = if norm && (name.ends_with("weight") || name.ends_with("var")) {
                vec![1.0; count]
            } else if norm {
                vec![0.0; count]
            } else {
                let inputs = shape[1..].iter().product::<usize>().max(1) as f32;
                noise(index as u64, count).iter().map(|value| value * (3.0 / inputs).sqrt()).collect()
            };
            (name, Weight { shape, values })
        };
        config.tensors().into_iter().enumerate().map(one).collect()
    };
    configs.map(EncoderConfig::ResNet).map(|config| (config.clone(), tensors(&config))).to_vec()
}

/// After many passes over one batch the running averages are that batch's statistics, and the plan of what was trained gives
/// the embeddings that training saw.
#[test]
fn the_trained_network_and_its_plan_agree_in_every_form() {
    for (config, tensors) in made() {
        let EncoderConfig::ResNet(resnet) = &config else { panic!("{config:?}") };
        let net = encoder(&config, tensors, None, &Device::Cpu).unwrap();
        let (batch, frames) = (3, 30);
        let values = noise(77, batch * frames * resnet.bins);
        let features = Tensor::from_slice(&values, (batch, frames, resnet.bins), &Device::Cpu).unwrap();
        let trained = (0..160).map(|_| net.forward(&features).unwrap()).last().unwrap();
        // Averages follow the unbiased variance: back to that of the batch.
        let weights = net.weights().unwrap();
        let [step, jump] = resnet.form.stem_stride();
        let biased = weights.iter().map(|(name, weight)| {
            let mut weight = weight.clone();
            if name.ends_with("running_var") {
                let stage = name.strip_prefix("stages.").map_or(0, |rest| rest[..1].parse::<u32>().unwrap());
                let left = |size: usize, stride: usize| size.div_ceil(stride).div_ceil(1 << stage);
                let n = (batch * left(frames, step) * left(resnet.bins, jump)) as f32;
                weight.values.iter_mut().for_each(|value| *value *= (n - 1.0) / n);
            }
            (name.to_owned(), weight)
        });
        let biased = Weights::new("made", &config, biased.collect()).unwrap();
        let plan = Plan::new(&config, &biased).unwrap();
        let rows: Vec<Array2<f32>> = values
            .chunks(frames * resnet.bins)
            .map(|row| Array2::from_shape_vec((frames, resnet.bins), row.to_vec()).unwrap())
            .collect();
        let views: Vec<_> = rows.iter().map(|row| row.view()).collect();
        let error = difference(plan.embed(&views).unwrap().as_slice().unwrap(), &numbers(&trained)).1;
        assert!(error < 2e-5, "{:?}: {error:.2e}", resnet.form);
    }
}

#[test]
fn features_that_do_not_fit_are_refused_and_what_is_no_number_is_not_lost() {
    for (config, tensors) in made() {
        let (bins, least) = (config.bins(), config.least_frames());
        assert_eq!(least, if config.embedding_size() == 7 { 5 } else { 4 }, "{config:?}");
        let weights = Weights::new("made", &config, tensors.clone()).unwrap();
        let plan = Plan::new(&config, &weights).unwrap();
        let net = encoder(&config, tensors.clone(), None, &Device::Cpu).unwrap();
        for (frames, columns) in [(0, bins), (least - 1, bins), (least, bins - 1), (least, bins + 1), (least, 0)] {
            let window = Array2::<f32>::zeros((frames, columns));
            let tensor = Tensor::zeros((2, frames, columns), DType::F32, &Device::Cpu).unwrap();
            for error in [
                plan.embed(&[window.view()]).unwrap_err(),
                reference::embed(&config, &weights, window.view()).unwrap_err(),
                net.forward(&tensor).unwrap_err(),
            ] {
                assert!(
                    matches!(error, ModelError::Features { frames: f, bins: b, .. } if (f, b) == (frames, columns)),
                    "{error}"
                );
            }
        }
        assert!(net.forward(&Tensor::zeros((0, least, bins), DType::F32, &Device::Cpu).unwrap()).is_err());
        let mut marred = Array2::<f32>::ones((12, bins));
        marred[(6, 3)] = f32::NAN;
        let embedded = plan.embed(&[marred.view()]).unwrap();
        assert!(embedded.iter().any(|value| value.is_nan()));
        let tensor = Tensor::from_vec(marred.iter().copied().collect::<Vec<_>>(), (1, 12, bins), &Device::Cpu).unwrap();
        let trained = net.forward(&tensor).unwrap();
        assert!(numbers(&trained).iter().any(|value| value.is_nan()), "a loss that training refuses");
        // Zeros around the features would not be zeros to folded weights.
        let standardisation = Standardisation { mean: vec![0.0; bins], deviation: vec![1.0; bins] };
        let refused = encoder(&config, tensors, Some(standardisation), &Device::Cpu).map(|_| ());
        assert!(matches!(refused, Err(ModelError::Config { key: "standardisation", .. })));
    }
}

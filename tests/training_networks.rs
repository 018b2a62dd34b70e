//! ECAPA-TDNN and x-vector in training mode against PyTorch: embedding, scores, loss, every gradient and the running averages
//! after one step's forward pass, on the kernels and on the portable path.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use common::data::{Tensors, reference_dir};
use sv_kernels::ops::composed_only;
use sv_losses::{AamSoftmaxOptions, Head, Labels, MarginSoftmax, Objective, Setting, Softmax, SoftmaxOptions};
use sv_models::EncoderConfig;
use sv_models::checkpoint::StateDict;
use sv_models::encoders::ecapa::{EcapaConfig, EcapaForm};
use sv_models::encoders::xvector::XVectorConfig;
use sv_models::train::{EcapaEncoder, Encoder, XVectorEncoder};
use sv_models::weights::{Weight, Weights};

/// Where a computation runs.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Route {
    Double,
    Kernels,
    Portable,
}

impl Route {
    const ALL: [Self; 3] = [Self::Double, Self::Kernels, Self::Portable];

    fn dtype(self) -> DType {
        if self == Self::Double { DType::F64 } else { DType::F32 }
    }

    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        if self == Self::Portable { composed_only(work) } else { work() }
    }
}

/// The reference of one network.
struct Case {
    file: Tensors,
    tolerances: serde_json::Value,
    name: &'static str,
    /// What is allowed in f64.
    double: f64,
}

impl Case {
    fn read(dir: &Path, name: &'static str, double: f64) -> Self {
        let tolerances = std::fs::read_to_string(dir.join("tolerances.json")).expect("tolerances.json");
        let tolerances: serde_json::Value = serde_json::from_str(&tolerances).expect("JSON");
        Self {
            file: Tensors::read(&dir.join(format!("{name}.safetensors"))),
            tolerances: tolerances[name].clone(),
            name,
            double,
        }
    }

    /// Fails unless `got` is `train.KEY` of the reference, relative to the largest magnitude: in f32 within a small multiple of
    /// what PyTorch's own f32 is off by.
    fn assert(&self, path: Route, key: &str, got: &Tensor) {
        let expected = self.file.get(&format!("train.{key}"));
        let got =
            got.to_dtype(DType::F64).and_then(|t| t.flatten_all()).and_then(|t| t.to_vec1::<f64>()).expect("numbers");
        assert_eq!(got.len(), expected.data.len(), "{} {key}", self.name);
        let group = key.split('.').next().expect("a first word");
        let stated = self.tolerances[format!("train.{group}")]["rel"].as_f64().expect("a tolerance");
        let limit = match path {
            Route::Double => self.double,
            Route::Kernels => stated * if group == "grad" { 4.5 } else { 3.0 },
            // PyTorch sums the statistics of a batch in f64 on the CPU, this path all in f32, as a GPU does.
            Route::Portable => 8.0 * stated,
        };
        // PyTorch's own loss may have come out better than its rounding lets one expect: eight units of its last place.
        let limit = if group == "loss" { limit.max(8.0 * f64::from(f32::EPSILON)) } else { limit };
        let largest = expected.data.iter().fold(1.0_f64, |m, v| m.max(v.abs()));
        let worst = got.iter().zip(&expected.data).map(|(g, e)| (g - e).abs() / largest);
        let worst = worst.fold(0.0, |a: f64, b| if b > a || b.is_nan() { b } else { a });
        eprintln!("{} {path:?} {key}: {worst:.2e} of {limit:.2e}", self.name);
        assert!(worst <= limit, "{} {path:?} {key}: off by {worst:.2e}, allowed {limit:.2e}", self.name);
    }

    fn input(&self, path: Route) -> (Var, Labels) {
        let input = self.file.get("train.input");
        let tensor =
            Tensor::from_slice(&input.data, &input.shape[..], &Device::Cpu).and_then(|t| t.to_dtype(path.dtype()));
        let labels = self.file.get("train.labels").data.iter().map(|&label| label as u32).collect();
        (Var::from_tensor(&tensor.expect("a tensor")).expect("a variable"), Labels::new(labels))
    }

    /// Embedding, loss, gradients and averages of a training step; `names` leads from our names to those of the reference.
    fn check(
        &self,
        path: Route,
        encoder: &dyn Encoder,
        objective: &dyn Objective,
        names: &dyn Fn(&str) -> String,
        objective_names: &dyn Fn(&str) -> String,
    ) {
        let (input, labels) = self.input(path);
        let (embedding, loss) = path.run(|| {
            let embedding = encoder.forward(&input).expect("an embedding");
            let loss = objective.loss(&embedding, &labels).expect("a loss");
            (embedding, loss)
        });
        self.assert(path, "embedding", &embedding);
        self.assert(path, "loss", &loss);
        let gradients = loss.backward().expect("gradients");
        let mut checked = 0;
        let mut gradient = |key: String, var: &Var| {
            self.assert(path, &key, of(&gradients, var, &key));
            checked += 1;
        };
        gradient("grad.input".to_owned(), &input);
        for (name, var) in encoder.variables() {
            gradient(format!("grad.embedding_model.{}", names(name)), var);
        }
        for parameter in objective.parameters() {
            gradient(format!("grad.classifier.{}", objective_names(&parameter.name)), &parameter.var);
        }
        for (name, var) in encoder.buffers() {
            self.assert(path, &format!("after.embedding_model.{}", names(name)), var);
        }
        for buffer in objective.buffers() {
            self.assert(path, &format!("after.classifier.{}", objective_names(&buffer.name)), &buffer.var);
        }
        let all = self.file.names().into_iter().filter(|name| name.starts_with("train.grad.")).count();
        assert_eq!(checked, all, "{}: every gradient of the reference", self.name);
    }
}

fn of<'a>(gradients: &'a GradStore, var: &Var, key: &str) -> &'a Tensor {
    gradients.get(var).unwrap_or_else(|| panic!("no {key}"))
}

/// The weights of a SpeechBrain file under our names.
fn weights(file: &Path, config: &EncoderConfig, names: &dyn Fn(&str) -> String) -> Weights {
    let state = StateDict::read(file).expect("a state dict");
    let mut tensors = BTreeMap::new();
    for (name, shape) in config.tensors() {
        let theirs = names(&name);
        let values = state.get(&theirs).unwrap_or_else(|| panic!("no {theirs}")).f32().expect("f32");
        tensors.insert(name, Weight { shape, values });
    }
    Weights::new("the reference", config, tensors).expect("all tensors")
}

/// Sets an objective's own tensors to those of a SpeechBrain classifier.
fn load_classifier(file: &Path, objective: &dyn Objective, names: &dyn Fn(&str) -> String) {
    let state = StateDict::read(file).expect("a state dict");
    for parameter in objective.parameters().into_iter().chain(objective.buffers()) {
        let theirs = names(&parameter.name);
        let values = state.get(&theirs).unwrap_or_else(|| panic!("no {theirs}")).f32().expect("f32");
        let values = Tensor::from_slice(&values, parameter.var.shape(), &Device::Cpu);
        let values = values.and_then(|values| values.to_dtype(parameter.var.dtype())).expect("values");
        parameter.var.set(&values).expect("of one shape");
    }
}

/// An objective for `dimension` values and the references' five classes.
fn built<O>(dimension: usize, dtype: DType, build: impl FnOnce(&mut Setting<'_>) -> O) -> O {
    let device = Device::Cpu;
    build(&mut Setting { dimension, classes: 5, dtype, device: &device, uniform: &mut || 0.5 })
}

/// SpeechBrain's name of one of our ECAPA tensors.
fn ecapa_name(name: &str) -> String {
    let (layer, kind) = name.rsplit_once('.').expect("a layer and a kind");
    let layer = match layer.split('.').collect::<Vec<_>>()[..] {
        ["stem", part] => format!("blocks.0.{part}.{part}"),
        ["blocks", block, "res2", piece, part] => {
            format!("blocks.{}.res2net_block.blocks.{piece}.{part}.{part}", up(block, 1))
        }
        ["blocks", block, "se", "down"] => format!("blocks.{}.se_block.conv1.conv", up(block, 1)),
        ["blocks", block, "se", "up"] => format!("blocks.{}.se_block.conv2.conv", up(block, 1)),
        ["blocks", block, tdnn, part] => format!("blocks.{}.{tdnn}.{part}.{part}", up(block, 1)),
        ["mfa", part] => format!("mfa.{part}.{part}"),
        ["attention", "tdnn", part] => format!("asp.tdnn.{part}.{part}"),
        ["attention", "conv"] => "asp.conv.conv".to_owned(),
        ["pool", "norm"] => "asp_bn.norm".to_owned(),
        ["embedding"] => "fc.conv".to_owned(),
        _ => panic!("{name}"),
    };
    format!("{layer}.{kind}")
}

fn up(number: &str, by: usize) -> usize {
    number.parse::<usize>().expect("a number") + by
}

/// SpeechBrain's name of one of our x-vector tensors.
fn xvector_name(name: &str) -> String {
    let (layer, kind) = name.rsplit_once('.').expect("a layer and a kind");
    match layer.split('.').collect::<Vec<_>>()[..] {
        ["blocks", block, "conv"] => format!("blocks.{}.conv.{kind}", 3 * up(block, 0)),
        ["blocks", block, "norm"] => format!("blocks.{}.norm.{kind}", 3 * up(block, 0) + 2),
        ["embedding"] => format!("blocks.16.w.{kind}"),
        _ => panic!("{name}"),
    }
}

/// SpeechBrain's name of a tensor of the x-vector's classifier.
fn classifier_name(name: &str) -> String {
    let (layer, kind) = name.rsplit_once('.').expect("a layer and a kind");
    let layer = match layer {
        "classes" => "out.w",
        "head.0.norm" => "norm.norm",
        "head.1" => "DNN.block_0.linear.w",
        "head.1.norm" => "DNN.block_0.norm.norm",
        other => panic!("{other}"),
    };
    format!("{layer}.{kind}")
}

#[test]
fn ecapa_in_training_is_the_reference_on_every_path() {
    let Some(dir) = reference_dir() else { return };
    // SpeechBrain divides by the number of frames in f32 whatever the type: 1/40 is off by 1.5e-8 in its own f64.
    let case = Case::read(&dir, "ecapa_tiny", 1e-7);
    let config = EcapaConfig {
        form: EcapaForm::SpeechBrain,
        bins: 80,
        channels: 16,
        mfa: 48,
        attention: 8,
        scale: 4,
        squeeze: 8,
        size: 12,
        kernels: vec![5, 3, 3, 3],
        dilations: vec![1, 2, 3, 4],
    };
    let folder = dir.join("ecapa_tiny");
    let weights = weights(&folder.join("embedding_model.ckpt"), &EncoderConfig::Ecapa(config.clone()), &ecapa_name);
    for path in Route::ALL {
        let dtype = path.dtype();
        let encoder = EcapaEncoder::new(&config, &weights, None, dtype, &Device::Cpu).expect("a network");
        let objective = built(12, dtype, |setting| {
            MarginSoftmax::additive_angular(&AamSoftmaxOptions::default(), setting).expect("valid options")
        });
        let names = |_: &str| "weight".to_owned();
        load_classifier(&folder.join("classifier.ckpt"), &objective, &names);
        let (input, _) = case.input(path);
        let fresh = EcapaEncoder::new(&config, &weights, None, dtype, &Device::Cpu).expect("a network");
        let scores = path.run(|| objective.cosines(&fresh.forward(&input).expect("an embedding"))).expect("scores");
        case.assert(path, "scores", &scores);
        case.check(path, &encoder, &objective, &ecapa_name, &names);
    }
}

#[test]
fn the_x_vector_in_training_is_the_reference_on_every_path() {
    let Some(dir) = reference_dir() else { return };
    let case = Case::read(&dir, "xvector_tiny", 1e-9);
    let config = XVectorConfig {
        bins: 24,
        channels: vec![16, 16, 16, 16, 40],
        kernels: vec![5, 3, 3, 1, 1],
        dilations: vec![1, 2, 3, 1, 1],
        size: 16,
    };
    let folder = dir.join("xvector_tiny");
    let weights = weights(&folder.join("embedding_model.ckpt"), &EncoderConfig::XVector(config.clone()), &xvector_name);
    for path in Route::ALL {
        let dtype = path.dtype();
        let options = SoftmaxOptions { head: Head::Layers { sizes: vec![16] } };
        // Twice: a pass moves the averages.
        let [(encoder, objective), (fresh, classifier)] = [(); 2].map(|()| {
            let encoder = XVectorEncoder::new(&config, &weights, None, dtype, &Device::Cpu).expect("a network");
            let objective = built(16, dtype, |setting| Softmax::new(&options, setting).expect("valid options"));
            load_classifier(&folder.join("classifier.ckpt"), &objective, &classifier_name);
            (encoder, objective)
        });
        let (input, _) = case.input(path);
        let logits = path.run(|| classifier.logits(&fresh.forward(&input).expect("an embedding"))).expect("logits");
        case.assert(path, "scores", &candle_nn::ops::log_softmax(&logits, 1).expect("log probabilities"));
        case.check(path, &encoder, &objective, &xvector_name, &classifier_name);
    }
}

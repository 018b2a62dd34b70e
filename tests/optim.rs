//! Optimizers, clipping and schedules against PyTorch, TensorFlow's and Keras' formulas, SpeechBrain and WeSpeaker
//! (`optim.safetensors`).

use std::num::NonZeroU64;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use common::data::{Tensors, Values, reference_dir};
use sv_losses::Parameter;
use sv_train::optim::{
    AdamForm, Clip, CyclicShape, Growth, MarginSchedule, Method, Optimizer, OptimizerConfig, Schedule, WarmUpFrom,
};

const STEPS: usize = 5;
const NAMES: [&str; 2] = ["a", "b"];

fn file() -> Option<Tensors> {
    Some(Tensors::read(&reference_dir()?.join("optim.safetensors")))
}

fn tensor(values: &Values, dtype: DType) -> Tensor {
    let wide = Tensor::from_slice(&values.data, &values.shape[..], &Device::Cpu).expect("a tensor");
    wide.to_dtype(dtype).expect("a float type")
}

fn parameters(file: &Tensors, dtype: DType) -> Vec<Parameter> {
    let var = |name: &str| Var::from_tensor(&tensor(&file.get(&format!("start.{name}")), dtype)).expect("a variable");
    NAMES.map(|name| Parameter::new(name, var(name))).to_vec()
}

/// A store of gradients with these and no others.
fn gradients(of: &[(&Parameter, Tensor)]) -> GradStore {
    let scalar = Var::from_tensor(&Tensor::new(0.0_f32, &Device::Cpu).expect("a scalar")).expect("a variable");
    let mut store = scalar.backward().expect("a store");
    for (parameter, gradient) in of {
        store.insert(&parameter.var, gradient.clone());
    }
    store
}

fn stored(file: &Tensors, key: &str, parameters: &[Parameter]) -> GradStore {
    let of = |parameter: &Parameter| tensor(&file.get(&format!("{key}.{}", parameter.name)), parameter.var.dtype());
    gradients(&parameters.iter().map(|parameter| (parameter, of(parameter))).collect::<Vec<_>>())
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).and_then(|t| t.flatten_all()).and_then(|t| t.to_vec1()).expect("numbers")
}

#[track_caller]
fn assert_near(what: &str, got: &[f64], expected: &[f64], limit: f64) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (index, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!((g - e).abs() <= limit, "{what}[{index}]: {g} instead of {e}");
    }
}

fn adam(form: AdamForm, betas: [f64; 2], weight_decay: f64) -> Method {
    Method::Adam { form, beta1: betas[0], beta2: betas[1], epsilon: None, weight_decay }
}

fn sgd(momentum: f64, nesterov: bool, weight_decay: f64) -> Method {
    Method::Sgd { momentum, nesterov, weight_decay }
}

/// Every optimizer of the reference, with its rate.
fn methods() -> [(&'static str, Method, [f64; STEPS]); 10] {
    let pytorch = [0.9, 0.999];
    [
        ("sgd", sgd(0.0, false, 0.0), [0.05; STEPS]),
        ("sgd_momentum", sgd(0.9, false, 0.0), [0.05; STEPS]),
        ("sgd_nesterov_decay", sgd(0.9, true, 1e-2), [0.05; STEPS]),
        ("sgd_nesterov_decay_lr", sgd(0.9, true, 1e-2), [0.05, 0.04, 0.03, 0.02, 0.01]),
        ("adam", adam(AdamForm::Pytorch, pytorch, 0.0), [0.02; STEPS]),
        ("adam_l2", adam(AdamForm::Pytorch, pytorch, 1e-2), [0.02; STEPS]),
        ("adamw", Method::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 1e-2 }, [0.02; STEPS]),
        ("rmsprop_tensorflow", Method::RmsProp { decay: 0.9, epsilon: 1e-10 }, [0.02; STEPS]),
        ("adam_tensorflow", adam(AdamForm::Tensorflow, [0.5, 0.9], 0.0), [0.02; STEPS]),
        ("adam_keras", adam(AdamForm::Keras, pytorch, 0.0), [0.02; STEPS]),
    ]
}

#[test]
fn every_optimizer_arrives_where_the_reference_does() {
    let Some(file) = file() else { return };
    for (key, method, rates) in methods() {
        for (dtype, limit) in [(DType::F64, 1e-12), (DType::F32, 2e-6)] {
            let parameters = parameters(&file, dtype);
            let mut optimizer =
                Optimizer::new(&OptimizerConfig::new(method), parameters.clone()).expect("an optimizer");
            for (index, rate) in rates.into_iter().enumerate() {
                let step = format!("{key}.step{}", index + 1);
                optimizer.step(&stored(&file, &format!("{step}.grad"), &parameters), rate).expect("a step");
            }
            // The file holds the parameters after the last step under every step's name (its generator kept references, not
            // copies); those between are held by the gradients at them, in the next test.
            for parameter in &parameters {
                let name = format!("{key}.step{STEPS}.{}", parameter.name);
                assert_near(&name, &values(&parameter.var), &file.get(&name).data, limit);
            }
        }
    }
}

/// The reference's loss, so that the gradients of a step depend on those before.
fn loss(file: &Tensors, parameters: &[Parameter]) -> Tensor {
    let compute = || {
        let mut sums = Vec::new();
        let mut total = Tensor::new(0.0_f64, &Device::Cpu)?;
        for parameter in parameters {
            let far =
                (parameter.var.as_tensor() - tensor(&file.get(&format!("target.{}", parameter.name)), DType::F64))?;
            let cosh = ((far.exp()? + far.neg()?.exp()?)? * 0.5)?;
            total = (total + (cosh.log()?.sum_all()? * 3.0)?)?;
            sums.push(parameter.var.sum_all()?);
        }
        total + ((&sums[0] * &sums[1])? * 0.5)?
    };
    compute().expect("a loss")
}

#[test]
fn every_step_of_a_run_has_the_gradients_of_the_reference_and_the_last_its_loss() {
    let Some(file) = file() else { return };
    for (key, method, rates) in methods() {
        let parameters = parameters(&file, DType::F64);
        let mut optimizer = Optimizer::new(&OptimizerConfig::new(method), parameters.clone()).expect("an optimizer");
        for (index, rate) in rates.into_iter().enumerate() {
            let gradients = loss(&file, &parameters).backward().expect("gradients");
            for parameter in &parameters {
                let name = format!("{key}.step{}.grad.{}", index + 1, parameter.name);
                let got = gradients.get(&parameter.var).expect("a gradient");
                assert_near(&name, &values(got), &file.get(&name).data, 1e-12);
            }
            optimizer.step(&gradients, rate).expect("a step");
        }
        let expected = file.get(&format!("{key}.final_loss")).data;
        assert_near(key, &values(&loss(&file, &parameters)), &expected, 1e-12);
    }
}

#[test]
fn saving_and_restoring_in_the_middle_gives_the_same_bits() {
    let Some(file) = file() else { return };
    for (key, method, rates) in methods() {
        let config = OptimizerConfig { clip: Clip::Torch { norm: 3.0 }, ..OptimizerConfig::new(method) };
        let run = |restart: Option<usize>| {
            let mut parameters = parameters(&file, DType::F64);
            let mut optimizer = Optimizer::new(&config, parameters.clone()).expect("an optimizer");
            for (index, rate) in rates.into_iter().enumerate() {
                if restart == Some(index) {
                    let state = optimizer.state().expect("a state");
                    let copy = |parameter: &Parameter| {
                        let var = parameter.var.copy().and_then(|copy| Var::from_tensor(&copy.detach()));
                        Parameter::new(parameter.name.clone(), var.expect("a variable"))
                    };
                    parameters = parameters.iter().map(copy).collect();
                    optimizer = Optimizer::new(&config, parameters.clone()).expect("an optimizer");
                    optimizer.restore(&state).expect("its own state");
                    assert_eq!(optimizer.steps(), index as u64);
                }
                optimizer.step(&loss(&file, &parameters).backward().expect("gradients"), rate).expect("a step");
            }
            let bits = |values: Vec<f64>| values.into_iter().map(f64::to_bits).collect::<Vec<_>>();
            let state = optimizer.state().expect("a state");
            let all = parameters.iter().map(|p| p.var.as_tensor()).chain(state.iter().map(|(_, tensor)| tensor));
            all.map(|tensor| bits(values(tensor))).collect::<Vec<_>>()
        };
        let whole = run(None);
        for restart in [0, 1, 3] {
            assert_eq!(run(Some(restart)), whole, "{key} restarted before step {restart}");
        }
    }
}

#[test]
fn clipping_is_that_of_the_reference() {
    let Some(file) = file() else { return };
    for (form, clip) in [("torch", Clip::Torch { norm: 3.0 }), ("tensorflow", Clip::Tensorflow { norm: 3.0 })] {
        for (case, clipped) in [("over", true), ("under", false)] {
            // Plain descent at rate 1 from zero arrives at minus the clipped gradient.
            let zero = |p: &Parameter| Var::from_tensor(&p.var.zeros_like().expect("zeros")).expect("a variable");
            let parameters: Vec<Parameter> =
                parameters(&file, DType::F64).iter().map(|p| Parameter::new(p.name.clone(), zero(p))).collect();
            let config = OptimizerConfig { clip, ..OptimizerConfig::new(sgd(0.0, false, 0.0)) };
            let mut optimizer = Optimizer::new(&config, parameters.clone()).expect("an optimizer");
            let gradients = stored(&file, &format!("clip.{case}.grad"), &parameters);
            let report = optimizer.step(&gradients, 1.0).expect("a step");
            assert_near(case, &[report.gradient_norm], &file.get(&format!("clip.{case}.norm")).data, 1e-12);
            assert_eq!(report.clipped, clipped);
            for parameter in &parameters {
                let name = format!("clip.{case}.{form}.{}", parameter.name);
                let got: Vec<f64> = values(&parameter.var).iter().map(|v| -v).collect();
                assert_near(&name, &got, &file.get(&name).data, 1e-12);
            }
        }
    }
}

fn steps(count: u64) -> NonZeroU64 {
    NonZeroU64::new(count).expect("not zero")
}

#[test]
fn every_schedule_is_the_reference() {
    let Some(file) = file() else { return };
    let cyclic = |shape| Schedule::Cyclic { base: 1e-8, max: 1e-3, half_cycle: steps(8), shape, first: Some(1e-3) };
    let decrease = |scale, warm_up_from| Schedule::ExponentialDecrease {
        initial: 0.1,
        last: 5e-5,
        steps: steps(50),
        warm_up: 20,
        scale,
        warm_up_from,
    };
    let schedules = [
        ("cyclic.triangular", cyclic(CyclicShape::Triangular {})),
        ("cyclic.triangular2", cyclic(CyclicShape::Triangular2 {})),
        ("cyclic.exp_range", cyclic(CyclicShape::ExpRange { gamma: 0.97 })),
        ("exponential_decrease.scale1", decrease(1.0, WarmUpFrom::Unscaled)),
        ("exponential_decrease.scale16", decrease(16.0, WarmUpFrom::Unscaled)),
        ("exponential_decrease.scale1_from_zero", decrease(1.0, WarmUpFrom::Zero)),
        ("exponential_decrease.scale16_from_zero", decrease(16.0, WarmUpFrom::Zero)),
        ("halving", Schedule::Halving { rate: 0.01, every: steps(10) }),
    ];
    for (key, schedule) in schedules {
        schedule.check().expect("a valid schedule");
        let rates: Vec<f64> = (0..50).map(|step| schedule.rate(step)).collect();
        assert_near(key, &rates, &file.get(key).data, 1e-12);
    }
}

#[test]
fn every_margin_is_the_reference() {
    let Some(file) = file() else { return };
    for (key, growth) in [("margin.exp", Growth::Exponential), ("margin.linear", Growth::Linear)] {
        let schedule = MarginSchedule { initial: 0.0, last: 0.2, start: 10, end: 30, growth };
        schedule.check().expect("a valid schedule");
        let margins: Vec<f64> = (0..50).map(|step| schedule.margin(step)).collect();
        assert_near(key, &margins, &file.get(key).data, 1e-12);
    }
}

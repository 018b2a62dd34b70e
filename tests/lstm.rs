//! The LSTM kernels, forward and backward, against PyTorch's LSTM and TensorFlow's cell: `lstm.safetensors`.

use common::data::{Tensors, difference, reference_dir};
use sv_kernels::lstm::{
    Batch, Gradients, Keep, LayerGradients, LayerSizes, LayerWeights, Lstm, LstmSlopes, LstmTraining, Threads,
    Workspace,
};
use sv_kernels::{Tier, reference};

const CASES: [&str; 7] =
    ["torch", "torch.start", "torch_proj", "torch_proj.start", "tensorflow", "tensorflow.start", "tensorflow_plain"];
const LAYERS: usize = 3;

/// The layers of a case, in f64.
fn layers(file: &Tensors, case: &str) -> Vec<LayerWeights<f64>> {
    let get = |name: String| file.get(&format!("{case}.weight.{name}"));
    let has = |name: String| file.names().contains(&format!("{case}.weight.{name}"));
    (0..LAYERS)
        .map(|l| {
            if case.starts_with("torch") {
                let (w_ih, w_hh) = (get(format!("weight_ih_l{l}")), get(format!("weight_hh_l{l}")));
                let w_hr = has(format!("weight_hr_l{l}")).then(|| get(format!("weight_hr_l{l}")));
                let sizes = LayerSizes {
                    input: w_ih.shape[1],
                    hidden: w_ih.shape[0] / 4,
                    projection: w_hr.as_ref().map(|w| w.shape[0]),
                };
                let (b_ih, b_hh) = (get(format!("bias_ih_l{l}")), get(format!("bias_hh_l{l}")));
                LayerWeights::from_torch(sizes, w_ih.data, w_hh.data, &b_ih.data, &b_hh.data, w_hr.map(|w| w.data))
            } else {
                let (kernel, bias) = (get(format!("cell_{l}/kernel")), get(format!("cell_{l}/bias")));
                let projection = has(format!("cell_{l}/projection")).then(|| get(format!("cell_{l}/projection")));
                let hidden = bias.shape[0] / 4;
                let size = projection.as_ref().map(|w| w.shape[1]);
                let sizes = LayerSizes { input: kernel.shape[0] - size.unwrap_or(hidden), hidden, projection: size };
                LayerWeights::from_tensorflow(sizes, &kernel.data, &bias.data, projection.as_ref().map(|w| &w.data[..]))
            }
            .expect("the reference's weights fit")
        })
        .collect()
}

fn f32_of(layer: &LayerWeights<f64>) -> LayerWeights {
    let narrow = |values: &[f64]| values.iter().map(|&v| v as f32).collect::<Vec<f32>>();
    let w_hr = layer.w_hr().map(narrow);
    LayerWeights::new(layer.sizes(), narrow(layer.w_ih()), narrow(layer.w_hh()), narrow(layer.bias()), w_hr)
        .expect("the same shapes")
}

#[test]
fn the_plain_definition_is_the_reference_in_f64() {
    let Some(dir) = reference_dir() else { return };
    let file = Tensors::read(&dir.join("lstm.safetensors"));
    for case in CASES {
        let input = file.get(&format!("{case}.input"));
        let start = case.ends_with(".start").then(|| ["h0", "c0"].map(|n| file.get(&format!("{case}.{n}")).data));
        let start = start.as_ref().map(|[h, c]| (&h[..], &c[..]));
        let out =
            reference::lstm(&layers(&file, case), input.shape[0], input.shape[1], &input.data, start).expect("fits");
        for (name, got) in [("outputs", &out.sequence), ("h_n", &out.h_n), ("c_n", &out.c_n)] {
            let expected = file.get(&format!("{case}.{name}")).data;
            assert_eq!(got.len(), expected.len());
            let worst = got.iter().zip(&expected).map(|(g, e)| (g - e).abs()).fold(0.0, f64::max);
            assert!(worst <= 1e-9, "{case}.{name}: {worst}");
        }
    }
}

#[test]
fn every_tier_is_the_reference_within_three_times_its_own_rounding() {
    let Some(dir) = reference_dir() else { return };
    let file = Tensors::read(&dir.join("lstm.safetensors"));
    let tolerances = std::fs::read_to_string(dir.join("tolerances.json")).expect("tolerances.json");
    let tolerances: serde_json::Value = serde_json::from_str(&tolerances).expect("JSON");
    for case in CASES {
        let limit = &tolerances["lstm"][format!("{case}.forward")]["rel"];
        let limit = 3.0 * limit.as_f64().expect("a tolerance");
        let layers: Vec<LayerWeights> = layers(&file, case).iter().map(f32_of).collect();
        let input = file.get(&format!("{case}.input"));
        let (b, t, values) = (input.shape[0], input.shape[1], input.f32());
        let start = case.ends_with(".start").then(|| ["h0", "c0"].map(|n| file.get(&format!("{case}.{n}")).f32()));
        for tier in Tier::available() {
            let lstm = Lstm::on_tier(tier, &layers).expect("the layers fit");
            let mut batch = Batch::new(&values, b, t);
            if let Some([h0, c0]) = &start {
                batch = batch.starting_from(h0, c0);
            }
            let mut workspace = Workspace::default();
            let out = lstm.forward(&batch, Keep::Sequence, Threads::One, &mut workspace).expect("the input fits");
            for (name, got) in [("outputs", out.sequence), ("h_n", out.h_n), ("c_n", out.c_n)] {
                let (_, relative) = difference(got, &file.get(&format!("{case}.{name}")).data);
                eprintln!("{tier:?} {case}.{name}: {relative:.2e} of {limit:.2e}");
                assert!(relative <= limit, "{tier:?} {case}.{name}: {relative:.2e}, allowed {limit:.2e}");
            }
        }
    }
}

/// Gradients of a case under the reference's names and in its shapes.
fn gradients_by_name(case: &str, sizes: &[LayerSizes], gradients: &Gradients<f64>) -> Vec<(String, Vec<f64>)> {
    let mut all = vec![("input".to_owned(), gradients.input.clone())];
    if case.ends_with(".start") {
        all.extend([("h0".to_owned(), gradients.h0.clone()), ("c0".to_owned(), gradients.c0.clone())]);
    }
    for (l, (sizes, gradients)) in sizes.iter().zip(&gradients.layers).enumerate() {
        let LayerGradients { w_ih, w_hh, bias, w_hr } = gradients.clone();
        if case.starts_with("torch") {
            all.extend([(format!("weight_ih_l{l}"), w_ih), (format!("weight_hh_l{l}"), w_hh)]);
            all.extend([(format!("bias_ih_l{l}"), bias.clone()), (format!("bias_hh_l{l}"), bias)]);
            if sizes.projection.is_some() {
                all.push((format!("weight_hr_l{l}"), w_hr));
            }
            continue;
        }
        // Columns i j f o of TensorFlow are the rows i f g o here: 0, 2, 1, 3.
        let (h, s) = (sizes.hidden, sizes.output());
        let row = |column: usize| [0, 2, 1, 3][column / h] * h + column % h;
        let (mut kernel, gates) = (Vec::new(), 4 * h);
        for (weights, inputs) in [(&w_ih, sizes.input), (&w_hh, s)] {
            for input in 0..inputs {
                kernel.extend((0..gates).map(|column| weights[row(column) * inputs + input]));
            }
        }
        all.push((format!("cell_{l}/kernel"), kernel));
        all.push((format!("cell_{l}/bias"), (0..gates).map(|column| bias[row(column)]).collect()));
        if sizes.projection.is_some() {
            all.push((format!("cell_{l}/projection"), (0..h * s).map(|n| w_hr[n % s * h + n / s]).collect()));
        }
    }
    all
}

fn wide(gradients: &Gradients) -> Gradients<f64> {
    let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
    let layer = |l: &LayerGradients| LayerGradients {
        w_ih: wide(&l.w_ih),
        w_hh: wide(&l.w_hh),
        bias: wide(&l.bias),
        w_hr: wide(&l.w_hr),
    };
    Gradients {
        layers: gradients.layers.iter().map(layer).collect(),
        h0: wide(&gradients.h0),
        c0: wide(&gradients.c0),
        input: wide(&gradients.input),
    }
}

#[test]
fn the_plain_backward_is_the_reference_in_f64() {
    let Some(dir) = reference_dir() else { return };
    let file = Tensors::read(&dir.join("lstm.safetensors"));
    for case in CASES {
        let layers = layers(&file, case);
        let input = file.get(&format!("{case}.input"));
        let start = case.ends_with(".start").then(|| ["h0", "c0"].map(|n| file.get(&format!("{case}.{n}")).data));
        let start = start.as_ref().map(|[h, c]| (&h[..], &c[..]));
        let [sequence, h_n, c_n] = ["outputs", "h_n", "c_n"].map(|n| file.get(&format!("{case}.coef.{n}")).data);
        let slopes = LstmSlopes { sequence: Some(&sequence), h_n: Some(&h_n), c_n: Some(&c_n), last: None };
        let (b, t) = (input.shape[0], input.shape[1]);
        let got = reference::lstm_backward(&layers, b, t, &input.data, start, &slopes).expect("fits");
        let sizes: Vec<LayerSizes> = layers.iter().map(LayerWeights::sizes).collect();
        for (name, got) in gradients_by_name(case, &sizes, &got) {
            let expected = file.get(&format!("{case}.grad.{name}")).data;
            assert_eq!(got.len(), expected.len());
            let worst = got.iter().zip(&expected).map(|(g, e)| (g - e).abs()).fold(0.0, f64::max);
            assert!(worst <= 1e-9, "{case}.grad.{name}: {worst}");
        }
    }
}

#[test]
fn every_tier_has_the_gradients_of_the_reference_within_three_times_its_own_rounding() {
    let Some(dir) = reference_dir() else { return };
    let file = Tensors::read(&dir.join("lstm.safetensors"));
    let tolerances = std::fs::read_to_string(dir.join("tolerances.json")).expect("tolerances.json");
    let tolerances: serde_json::Value = serde_json::from_str(&tolerances).expect("JSON");
    for case in CASES {
        let limit = |kind: &str| {
            let limit = &tolerances["lstm"][format!("{case}.{kind}")]["rel"];
            3.0 * limit.as_f64().expect("a tolerance")
        };
        let layers: Vec<LayerWeights> = layers(&file, case).iter().map(f32_of).collect();
        let sizes: Vec<LayerSizes> = layers.iter().map(LayerWeights::sizes).collect();
        let input = file.get(&format!("{case}.input"));
        let (b, t, values) = (input.shape[0], input.shape[1], input.f32());
        let start = case.ends_with(".start").then(|| ["h0", "c0"].map(|n| file.get(&format!("{case}.{n}")).f32()));
        let [sequence, h_n, c_n] = ["outputs", "h_n", "c_n"].map(|n| file.get(&format!("{case}.coef.{n}")).f32());
        for tier in Tier::available() {
            let mut batch = Batch::new(&values, b, t);
            if let Some([h0, c0]) = &start {
                batch = batch.starting_from(h0, c0);
            }
            let mut training = LstmTraining::on_tier(tier);
            let out = training.forward(&layers, &batch, Keep::Sequence, Threads::Pool).expect("the input fits");
            for (name, got) in [("outputs", out.sequence), ("h_n", out.h_n), ("c_n", out.c_n)] {
                let (_, relative) = difference(got, &file.get(&format!("{case}.{name}")).data);
                assert!(relative <= limit("forward"), "{tier:?} {case}.{name}: {relative:.2e}");
            }
            let slopes = LstmSlopes { sequence: Some(&sequence), h_n: Some(&h_n), c_n: Some(&c_n), last: None };
            let got = wide(training.backward(&slopes, true).expect("the slopes fit"));
            let limit = limit("grad");
            for (name, got) in gradients_by_name(case, &sizes, &got) {
                let got: Vec<f32> = got.iter().map(|&v| v as f32).collect();
                let (_, relative) = difference(&got, &file.get(&format!("{case}.grad.{name}")).data);
                eprintln!("{tier:?} {case}.grad.{name}: {relative:.2e} of {limit:.2e}");
                assert!(relative <= limit, "{tier:?} {case}.grad.{name}: {relative:.2e}, allowed {limit:.2e}");
            }
        }
    }
}

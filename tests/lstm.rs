//! The LSTM kernels against PyTorch's LSTM and TensorFlow's cell: `lstm.safetensors`.

use common::data::{Tensors, difference, reference_dir};
use sv_kernels::lstm::{Batch, Keep, LayerSizes, LayerWeights, Lstm, Threads, Workspace};
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

//! Operations on tensors against PyTorch's values and gradients: which of the 104 cases of `ops.safetensors` stock candle gets
//! right (the committed table, so that an upgrade shows what changed), and that ours are right.

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{BatchNorm, RNN, VarBuilder};
use common::data::{Tensors, Values, reference_dir};
use sv_kernels::ops;

const TABLE: &str = include_str!("golden/candle_ops.txt");

struct Case<'a> {
    file: &'a Tensors,
    index: usize,
    name: String,
    dtype: DType,
    inputs: Vec<Var>,
}

impl<'a> Case<'a> {
    fn all(file: &'a Tensors, cases: &serde_json::Value) -> Vec<Self> {
        let cases = cases.as_array().expect("an array of cases");
        let case = |(index, case): (usize, &serde_json::Value)| {
            let name = case["name"].as_str().expect("a name").to_owned();
            let dtype = if name.starts_with("f64") { DType::F64 } else { DType::F32 };
            let mut case = Case { file, index, name, dtype, inputs: Vec::new() };
            let count = cases[index]["inputs"].as_u64().expect("a count");
            for j in 0..count {
                let dtype = if case.has(&format!("g{j}")) { dtype } else { DType::U32 };
                let tensor = tensor(&case.get(&format!("in{j}")), dtype);
                case.inputs.push(Var::from_tensor(&tensor).expect("a variable"));
            }
            case
        };
        cases.iter().enumerate().map(case).collect()
    }

    fn get(&self, name: &str) -> Values {
        self.file.get(&format!("{}.{name}", self.index))
    }

    fn has(&self, name: &str) -> bool {
        self.file.names().contains(&format!("{}.{name}", self.index))
    }

    /// What is wrong with this way of computing the case, or "right".
    fn judge(&self, compute: impl FnOnce(&Self) -> Result<Tensor>) -> String {
        let out = match compute(self) {
            Ok(out) => out,
            Err(_) => return "error".into(),
        };
        if !agree(&out, &self.get("out")) {
            return "wrong values".into();
        }
        let factor = tensor(&self.get("go"), self.dtype);
        let grads = match (out * factor).and_then(|product| product.sum_all()).and_then(|sum| sum.backward()) {
            Ok(grads) => grads,
            Err(_) => return "error in the backward pass".into(),
        };
        for (j, input) in self.inputs.iter().enumerate().filter(|&(j, _)| self.has(&format!("g{j}"))) {
            let expected = self.get(&format!("g{j}"));
            match grads.get(input) {
                None if expected.data.iter().all(|&v| v == 0.0) => {}
                None => return format!("no gradient of input {j}"),
                Some(grad) if agree(grad, &expected) => {}
                Some(_) => return format!("wrong gradient of input {j}"),
            }
        }
        "right".into()
    }
}

fn tensor(values: &Values, dtype: DType) -> Tensor {
    let wide = Tensor::from_slice(&values.data, &values.shape[..], &Device::Cpu).expect("a tensor");
    wide.to_dtype(dtype).expect("a type that candle has")
}

/// Within 1e-5 of the largest magnitude, or of 1.
fn agree(got: &Tensor, expected: &Values) -> bool {
    let got = got.to_dtype(DType::F64).and_then(|t| t.flatten_all()).and_then(|t| t.to_vec1::<f64>()).expect("floats");
    let largest = expected.data.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
    got.len() == expected.data.len() && got.iter().zip(&expected.data).all(|(g, e)| (g - e).abs() <= 1e-5 * largest)
}

/// The case as a user of stock candle would write it.
#[expect(clippy::disallowed_methods, reason = "shows what the stock operations do")]
fn stock(case: &Case<'_>) -> Result<Tensor> {
    let input = |j: usize| case.inputs[j].as_tensor();
    let x = input(0);
    let numbers: Vec<usize> = case.name.split(' ').skip(1).map_while(|word| word.parse().ok()).collect();
    match case.name.split(' ').next().expect("a first word") {
        "conv2d" => x.conv2d(input(1), numbers[1], numbers[0], numbers[2], numbers[3]),
        "conv1d" => x.conv1d(input(1), numbers[1], numbers[0], numbers[2], numbers[3]),
        "f64conv" => x.conv2d(input(1), 1, 2, 1, 1),
        "bn" => {
            let (zeros, ones) = (input(1).zeros_like()?, input(1).ones_like()?);
            let norm = BatchNorm::new(5, zeros, ones, input(1).clone(), input(2).clone(), 1e-5)?;
            let out = norm.forward_train(x)?;
            for (name, got) in [("rm", norm.running_mean()), ("rv", norm.running_var())] {
                if !agree(got, &case.get(name)) {
                    candle_core::bail!("{name} is wrong")
                }
            }
            Ok(out)
        }
        "log_softmax" => candle_nn::ops::log_softmax(x, 1),
        "softmax" => candle_nn::ops::softmax(x, 1),
        "softmax_last" => candle_nn::ops::softmax_last_dim(x),
        "sigmoid" => candle_nn::ops::sigmoid(x),
        "tanh" => x.tanh(),
        "ce" | "ce_large" => candle_nn::loss::cross_entropy(x, input(1)),
        "relu" | "relu_zero" => x.relu(),
        "abs_zero" => x.abs(),
        "clamp" | "clamp_edge" => x.clamp(-0.5, 0.5),
        "leaky" => candle_nn::ops::leaky_relu(x, 0.1),
        "sqrt_zero_clampmin" => x.maximum(1e-9)?.sqrt(),
        "max" | "max_ties" => x.max(1),
        "topk" => x.sort_last_dim(false)?.0.narrow(1, 0, 3),
        "gather" => x.gather(input(1), 1),
        "index_select" => x.index_select(input(1), 1),
        "index_add" => x.index_add(input(1), input(2), 1),
        "scatter_add" => x.scatter_add(input(1), input(2), 1),
        "scatter" => x.scatter(input(1), input(2), 1),
        "maxpool2" | "maxpool2odd" => x.max_pool2d(2),
        "maxpool3s2" => x.max_pool2d_with_stride(3, 2),
        "avgpool2" | "avgpool2odd" => x.avg_pool2d(2),
        "matmul_bcast" => x.broadcast_matmul(input(1)),
        "matmul_t" => x.t()?.matmul(&input(1).t()?),
        "narrow_cat" => Tensor::cat(&[&x.narrow(1, 2, 3)?, input(1), &x.narrow(1, 0, 2)?], 1),
        "flip" => x.flip(&[1]),
        "cumsum" => x.cumsum(1),
        "var" => x.var(1),
        "lse" => x.log_sum_exp(1),
        "norm_div" => x.broadcast_div(&x.sqr()?.sum_keepdim(1)?.sqrt()?),
        "acos_like" => x.clamp(-0.9, 0.9)?.sqr()?.affine(-1.0, 1.0)?.sqrt(),
        "layer_norm" => candle_nn::ops::layer_norm(x, input(1), input(2), 1e-5),
        "upsample2" => x.upsample_nearest2d(10, 10),
        "upsample2_shared" => x.upsample_nearest2d(10, 10)?.sum((2, 3))? + x.sum((2, 3))?,
        "pow_frac" => x.abs()?.powf(0.3),
        "pow_neg" => x.powf(3.0),
        "gelu_erf" => x.gelu_erf(),
        "elu" => x.elu(1.0),
        "repl_pad" => x.pad_with_same(2, 2, 3),
        "lstm" => {
            let names = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"];
            let weights =
                names.iter().enumerate().map(|(j, name)| ((*name).to_owned(), input(j + 1).clone())).collect();
            let builder = VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu);
            let lstm = candle_nn::lstm(5, 7, candle_nn::LSTMConfig::default(), builder)?;
            lstm.states_to_tensor(&lstm.seq(x)?)
        }
        "maximum_tie" => x.maximum(input(1)),
        "where" => x.gt(&x.zeros_like()?)?.where_cond(x, input(1)),
        other => panic!("no such operation here: {other}"),
    }
}

/// The case by our operations, if they cover it.
fn ours(case: &Case<'_>) -> Option<Result<Tensor>> {
    let input = |j: usize| case.inputs[j].as_tensor();
    let x = input(0);
    Some(match &case.name[..] {
        "sigmoid" => ops::sigmoid(x),
        "tanh" => ops::tanh(x),
        "relu" | "relu_zero" => ops::relu(x),
        "matmul_bcast" => ops::matmul(x, input(1)),
        "matmul_t" => x.t().and_then(|x| ops::matmul(&x, &input(1).t()?)),
        "lstm" => (input(3) + input(4)).and_then(|bias| {
            let layer = ops::LstmLayer { w_ih: input(1).clone(), w_hh: input(2).clone(), bias, w_hr: None };
            Ok(ops::lstm(x, &[layer], None)?.sequence)
        }),
        _ => return None,
    })
}

fn load() -> Option<(Tensors, serde_json::Value)> {
    let dir = reference_dir()?;
    let names = std::fs::read_to_string(dir.join("ops.json")).expect("ops.json");
    Some((Tensors::read(&dir.join("ops.safetensors")), serde_json::from_str(&names).expect("JSON")))
}

#[test]
fn stock_candle_gets_right_what_the_table_says_and_nothing_else() {
    let Some((file, names)) = load() else { return };
    let cases = Case::all(&file, &names);
    assert_eq!(cases.len(), 104);
    let table: String = cases.iter().map(|case| format!("{}: {}\n", case.name, case.judge(stock))).collect();
    assert!(table == TABLE, "candle has changed; tests/golden/candle_ops.txt would now be\n{table}");
}

#[test]
fn our_operations_are_right_in_every_case_they_cover() {
    let Some((file, names)) = load() else { return };
    let mut covered = 0;
    for case in Case::all(&file, &names) {
        if ours(&case).is_none() {
            continue;
        }
        covered += 1;
        assert_eq!(case.judge(|case| ours(case).expect("covered")), "right", "{}", case.name);
    }
    assert_eq!(covered, 7);
}

#[test]
fn our_product_is_right_for_a_transposed_lhs_and_a_broadcast_rhs() {
    let Some((file, names)) = load() else { return };
    let case = Case::all(&file, &names).into_iter().find(|case| case.name == "matmul_bcast").expect("the case");
    // The same values, stored with the last two axes exchanged.
    let strided = |x: &Tensor| x.transpose(1, 2)?.contiguous()?.transpose(1, 2);
    let right = case.judge(|case| ops::matmul(&strided(case.inputs[0].as_tensor())?, case.inputs[1].as_tensor()));
    assert_eq!(right, "right");
    let weight = |case: &Case<'_>| case.inputs[1].as_tensor().t();
    let right = case.judge(|case| ops::linear(&strided(case.inputs[0].as_tensor())?, &weight(case)?, None));
    assert_eq!(right, "right");
}

use super::*;
use crate::gemm::tests::noise;
use crate::reference;
use proptest::prelude::*;

pub(super) fn layer(sizes: LayerSizes, seed: u64) -> LayerWeights {
    let LayerSizes { input, hidden, projection } = sizes;
    let scaled = |salt: u64, n: usize| noise(seed ^ salt, n).iter().map(|v| v * 0.5).collect::<Vec<f32>>();
    let w_hr = projection.map(|p| scaled(4, p * hidden));
    let s = sizes.output();
    LayerWeights::new(sizes, scaled(1, 4 * hidden * input), scaled(2, 4 * hidden * s), scaled(3, 4 * hidden), w_hr)
        .unwrap()
}

pub(super) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

pub(super) fn wide_layer(layer: &LayerWeights) -> LayerWeights<f64> {
    let w_hr = layer.w_hr().map(wide);
    LayerWeights::new(layer.sizes(), wide(layer.w_ih()), wide(layer.w_hh()), wide(layer.bias()), w_hr).unwrap()
}

/// Layers that fit each other: input size, and of each layer units and projection.
pub(super) fn some_layers() -> impl Strategy<Value = Vec<LayerWeights>> {
    let one = (1_usize..40, proptest::option::of(1_usize..20));
    (1_usize..12, prop::collection::vec(one, 1..4), any::<u64>()).prop_map(|(mut input, sizes, seed)| {
        let mut layers = Vec::new();
        for (index, (hidden, projection)) in sizes.into_iter().enumerate() {
            let sizes = LayerSizes { input, hidden, projection };
            layers.push(layer(sizes, seed.wrapping_add(index as u64 * 97)));
            input = sizes.output();
        }
        layers
    })
}

pub(super) fn totals(layers: &[LayerWeights]) -> (usize, usize) {
    (layers.iter().map(|l| l.sizes().output()).sum(), layers.iter().map(|l| l.sizes().hidden).sum())
}

pub(super) fn close(got: &[f32], expected: &[f64]) -> Result<(), TestCaseError> {
    prop_assert_eq!(got.len(), expected.len());
    for (&g, &e) in got.iter().zip(expected) {
        prop_assert!((f64::from(g) - e).abs() <= 3e-6, "{} is not {}", g, e);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 96 }))]

    #[test]
    fn every_tier_equals_the_plain_definition(
        layers in some_layers(), b in 0_usize..14, t in 0_usize..9, with_start: bool, seed: u64,
    ) {
        let input = noise(seed, b * t * layers[0].sizes().input);
        let (s, h) = totals(&layers);
        let (h0, c0) = (noise(seed ^ 8, s * b), noise(seed ^ 9, h * b));
        let (h0_wide, c0_wide) = (wide(&h0), wide(&c0));
        let start = with_start.then_some((&h0_wide[..], &c0_wide[..]));
        let plain_layers: Vec<_> = layers.iter().map(wide_layer).collect();
        let plain = reference::lstm(&plain_layers, b, t, &wide(&input), start).unwrap();
        let mut batch = Batch::new(&input, b, t);
        if with_start {
            batch = batch.starting_from(&h0, &c0);
        }
        for tier in Tier::available() {
            let lstm = Lstm::on_tier(tier, &layers).unwrap();
            let mut workspace = Workspace::default();
            let out = lstm.forward(&batch, Keep::Sequence, Threads::One, &mut workspace).unwrap();
            close(out.sequence, &plain.sequence)?;
            close(out.h_n, &plain.h_n)?;
            close(out.c_n, &plain.c_n)?;
            prop_assert_eq!(out.last().len(), b * layers[layers.len() - 1].sizes().output());
        }
    }

    #[test]
    fn an_utterance_has_the_same_bits_alone_as_in_a_ragged_batch(
        layers in some_layers(), lengths in prop::collection::vec(0_usize..9, 1..14), seed: u64,
    ) {
        let (b, t) = (lengths.len(), 9);
        let size = layers[0].sizes().input;
        let mut input = noise(seed, b * t * size);
        for (row, &length) in input.chunks_exact_mut(t * size).zip(&lengths) {
            row[length * size..].fill(f32::NAN);        // Behind a sequence's end nothing may be looked at.
        }
        for tier in Tier::available() {
            let lstm = Lstm::on_tier(tier, &layers).unwrap();
            let (mut all, mut one) = (Workspace::default(), Workspace::default());
            let batch = Batch::new(&input, b, t).with_lengths(&lengths);
            let out = lstm.forward(&batch, Keep::Sequence, Threads::One, &mut all).unwrap();
            let s = layers[layers.len() - 1].sizes().output();
            for (row, &length) in lengths.iter().enumerate() {
                let own = &input[row * t * size..][..length * size];
                let alone = lstm.forward(&Batch::new(own, 1, length), Keep::Sequence, Threads::One, &mut one).unwrap();
                prop_assert_eq!(alone.sequence, &out.sequence[row * t * s..][..length * s]);
                prop_assert!(out.sequence[(row * t + length) * s..(row + 1) * t * s].iter().all(|&v| v == 0.0));
                prop_assert_eq!(alone.last(), &out.last()[row * s..][..s]);
                let (mut h, mut c) = (0, 0);
                for layer in &layers {
                    let (s, n) = (layer.sizes().output(), layer.sizes().hidden);
                    prop_assert_eq!(&alone.h_n[h..][..s], &out.h_n[h * b + row * s..][..s]);
                    prop_assert_eq!(&alone.c_n[c..][..n], &out.c_n[c * b + row * n..][..n]);
                    h += s;
                    c += n;
                }
            }
        }
    }

    #[test]
    fn threads_and_a_used_workspace_change_no_bit(layers in some_layers(), b in 0_usize..14, t in 0_usize..9, seed: u64) {
        let size = layers[0].sizes().input;
        let (input, other) = (noise(seed, b * t * size), noise(seed ^ 5, 7 * 11 * size));
        let lstm = Lstm::new(&layers).unwrap();
        let (mut fresh, mut used) = (Workspace::default(), Workspace::default());
        lstm.forward(&Batch::new(&other, 7, 11), Keep::Sequence, Threads::Pool, &mut used).unwrap();
        for keep in [Keep::Sequence, Keep::Last] {
            let batch = Batch::new(&input, b, t);
            let one = lstm.forward(&batch, keep, Threads::One, &mut fresh).unwrap();
            let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
            let many = pool.install(|| lstm.forward(&batch, keep, Threads::Pool, &mut used)).unwrap();
            prop_assert_eq!(one, many);
        }
    }
}

/// One layer and a batch of more rows than a block holds.
fn several_blocks() -> (Vec<LayerWeights>, Vec<f32>) {
    let layers = vec![
        layer(LayerSizes { input: 3, hidden: 17, projection: None }, 1),
        layer(LayerSizes { input: 17, hidden: 9, projection: Some(5) }, 2),
    ];
    let input = noise(3, 7 * 200 * 3);
    (layers, input)
}

#[test]
fn a_sequence_of_many_blocks_equals_the_plain_definition() {
    let (layers, input) = several_blocks();
    let plain_layers: Vec<_> = layers.iter().map(wide_layer).collect();
    let plain = reference::lstm(&plain_layers, 7, 200, &wide(&input), None).unwrap();
    for tier in Tier::available() {
        let mut workspace = Workspace::default();
        let lstm = Lstm::on_tier(tier, &layers).unwrap();
        let out = lstm.forward(&Batch::new(&input, 7, 200), Keep::Sequence, Threads::One, &mut workspace).unwrap();
        close(out.sequence, &plain.sequence).unwrap();
        close(out.h_n, &plain.h_n).unwrap();
        close(out.c_n, &plain.c_n).unwrap();
    }
}

#[test]
fn two_halves_with_the_state_carried_over_give_the_bits_of_the_whole() {
    let (layers, input) = several_blocks();
    let lstm = Lstm::new(&layers).unwrap();
    let (mut a, mut b, mut c) = (Workspace::default(), Workspace::default(), Workspace::default());
    let row = &input[..200 * 3];
    let whole = lstm.forward(&Batch::new(row, 1, 200), Keep::Sequence, Threads::One, &mut a).unwrap();
    let first = lstm.forward(&Batch::new(&row[..70 * 3], 1, 70), Keep::Last, Threads::One, &mut b).unwrap();
    let rest = Batch::new(&row[70 * 3..], 1, 130).starting_from(first.h_n, first.c_n);
    let second = lstm.forward(&rest, Keep::Sequence, Threads::One, &mut c).unwrap();
    assert_eq!(second.sequence, &whole.sequence[70 * 5..]);
    assert_eq!((second.h_n, second.c_n), (whole.h_n, whole.c_n));
}

#[test]
fn not_a_number_stays_in_its_own_sequence_and_vanishing_inputs_are_zero() {
    let (layers, _) = several_blocks();
    for tier in Tier::available() {
        let lstm = Lstm::on_tier(tier, &layers).unwrap();
        let mut workspace = Workspace::default();
        let mut input = vec![1e-40_f32; 2 * 4 * 3];
        input[3] = f32::NAN;
        let out = lstm.forward(&Batch::new(&input, 2, 4), Keep::Sequence, Threads::One, &mut workspace).unwrap();
        assert!(out.sequence[..5].iter().all(|v| v.is_finite()));
        assert!(out.sequence[5..4 * 5].iter().all(|v| v.is_nan()));
        let second = out.sequence[4 * 5..].to_vec();
        let zeros =
            lstm.forward(&Batch::new(&[0.0; 4 * 3], 1, 4), Keep::Sequence, Threads::One, &mut workspace).unwrap();
        assert_eq!(second, zeros.sequence);
    }
}

#[test]
fn saturated_gates_keep_or_drop_the_cell_exactly() {
    // f = 1, i = 0: the cell is kept; f = 0: it is dropped. w_ih and w_hh are 0, the biases far out.
    let sizes = LayerSizes { input: 1, hidden: 2, projection: None };
    let bias = vec![-1e4, -1e4, 1e4, -1e4, 0.3, 0.3, 1e4, 1e4];
    let layers = [LayerWeights::new(sizes, vec![0.0; 8], vec![0.0; 16], bias, None).unwrap()];
    for tier in Tier::available() {
        let lstm = Lstm::on_tier(tier, &layers).unwrap();
        let mut workspace = Workspace::default();
        let batch = Batch::new(&[0.0; 5], 1, 5).starting_from(&[0.0; 2], &[0.75, 0.75]);
        let out = lstm.forward(&batch, Keep::Last, Threads::One, &mut workspace).unwrap();
        assert_eq!(out.c_n, [0.75, 0.0], "{tier:?}");
    }
}

#[test]
fn what_does_not_fit_is_refused_with_both_values() {
    let (layers, input) = several_blocks();
    let lstm = Lstm::new(&layers).unwrap();
    let mut workspace = Workspace::default();
    let mut refused = |batch: Batch<'_>| lstm.forward(&batch, Keep::Last, Threads::One, &mut workspace).unwrap_err();
    assert!(matches!(refused(Batch::new(&input, 7, 199)), KernelError::Length { expected: 4179, got: 4200, .. }));
    assert!(matches!(refused(Batch::new(&[], usize::MAX, 2)), KernelError::TooLarge { .. }));
    assert!(matches!(refused(Batch::new(&[], usize::MAX, 0)), KernelError::TooLarge { .. }));
    let long = [1, 2, 3, 201, 5, 6, 7];
    let error = refused(Batch::new(&input, 7, 200).with_lengths(&long));
    assert_eq!(error, KernelError::Frames { sequence: 3, got: 201, frames: 200 });
    assert!(error.to_string().contains("sequence 3 has 201 frames"), "{error}");
    assert!(matches!(refused(Batch::new(&input, 7, 200).with_lengths(&[1])), KernelError::Length { got: 1, .. }));
    assert!(matches!(refused(Batch::new(&input, 7, 200).starting_from(&[], &[])), KernelError::Length { .. }));
    assert_eq!(Lstm::new(&[]).unwrap_err(), KernelError::Zero { what: "number of LSTM layers" });
    let error = Lstm::new(&[layers[1].clone(), layers[1].clone()]).unwrap_err();
    assert_eq!(error, KernelError::Chain { layer: 1, takes: 17, gives: 5 });
    assert_eq!(error.to_string(), "layer 1 takes 17 values a frame, layer 0 gives 5");
}

#[test]
fn weights_that_do_not_fit_are_refused() {
    let sizes = LayerSizes { input: 1, hidden: 1, projection: None };
    let make = |sizes, w_hr| LayerWeights::new(sizes, vec![0.0; 4], vec![0.0; 4], vec![0.0; 4], w_hr);
    assert!(make(sizes, None).is_ok());
    assert_eq!(make(sizes, Some(vec![1.0])).unwrap_err(), KernelError::Projection { size: None, got: 1 });
    let projected = LayerSizes { projection: Some(1), ..sizes };
    assert_eq!(make(projected, None).unwrap_err(), KernelError::Projection { size: Some(1), got: 0 });
    assert!(matches!(make(projected, Some(vec![1.0; 2])), Err(KernelError::Length { expected: 1, got: 2, .. })));
    assert!(matches!(make(LayerSizes { hidden: 0, ..sizes }, None), Err(KernelError::Zero { .. })));
    assert!(matches!(make(LayerSizes { projection: Some(0), ..sizes }, None), Err(KernelError::Zero { .. })));
    assert!(matches!(make(LayerSizes { hidden: 1 << 62, ..sizes }, None), Err(KernelError::TooLarge { .. })));
    let huge = LayerSizes { input: usize::MAX, hidden: usize::MAX, projection: None };
    assert!(LayerWeights::<f32>::from_tensorflow(huge, &[], &[], None).is_err());
    assert!(LayerWeights::<f32>::from_torch(huge, vec![], vec![], &[], &[], None).is_err());
    assert!(LayerWeights::<f32>::from_torch(sizes, vec![0.0; 4], vec![0.0; 4], &[0.0; 3], &[], None).is_err());
}

#[test]
fn tensorflow_and_torch_weights_of_one_layer_meet() {
    // Columns i j f o of one unit, rows input then state: i = (1, 5), j = (2, 6), f = (3, 7), o = (4, 8).
    let sizes = LayerSizes { input: 1, hidden: 1, projection: Some(1) };
    let kernel = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
    let tensorflow = LayerWeights::from_tensorflow(sizes, &kernel, &[0.1, 0.2, 0.3, 0.4], Some(&[9.0])).unwrap();
    let torch = LayerWeights::from_torch(
        sizes,
        vec![1.0, 3.0, 2.0, 4.0],
        vec![5.0, 7.0, 6.0, 8.0],
        &[0.1, 0.3, 0.2, 0.4],
        &[0.0, 1.0, 0.0, 0.0],
        Some(vec![9.0]),
    )
    .unwrap();
    assert_eq!(tensorflow, torch);
}

use super::*;
use crate::gemm::tests::noise;
use crate::lstm::tests::{close, some_layers, totals, wide, wide_layer};
use crate::{lstm::Lstm, lstm::Workspace, reference};
use proptest::prelude::*;

/// Gradients in one list, named.
fn named<T: Clone>(gradients: &Gradients<T>) -> Vec<(String, Vec<T>)> {
    let mut all = vec![
        ("h0".into(), gradients.h0.clone()),
        ("c0".into(), gradients.c0.clone()),
        ("input".into(), gradients.input.clone()),
    ];
    for (index, layer) in gradients.layers.iter().enumerate() {
        let own = [("w_ih", &layer.w_ih), ("w_hh", &layer.w_hh), ("bias", &layer.bias), ("w_hr", &layer.w_hr)];
        all.extend(own.map(|(name, values)| (format!("{name} of layer {index}"), values.clone())));
    }
    all
}

/// Within 3e-6 of the largest value, or of 1 where all are smaller.
fn agree(got: &Gradients, expected: &Gradients<f64>) -> Result<(), TestCaseError> {
    for ((name, got), (_, expected)) in named(got).iter().zip(named(expected)) {
        prop_assert_eq!(got.len(), expected.len(), "{}", name);
        let largest = expected.iter().fold(1.0_f64, |largest, value| largest.max(value.abs()));
        for (&g, e) in got.iter().zip(&expected) {
            prop_assert!((f64::from(g) - e).abs() <= 3e-6 * largest, "{}: {} is not {}", name, g, e);
        }
    }
    Ok(())
}

/// Starting states and the gradients of all outputs, in f32.
struct Around {
    h0: Vec<f32>,
    c0: Vec<f32>,
    sequence: Vec<f32>,
    last: Vec<f32>,
    h_n: Vec<f32>,
    c_n: Vec<f32>,
}

impl Around {
    fn new(layers: &[LayerWeights], b: usize, t: usize, seed: u64) -> Self {
        let (s, h) = totals(layers);
        let output = layers[layers.len() - 1].sizes().output();
        let sizes = [s * b, h * b, b * t * output, b * output, s * b, h * b];
        let mut salt = seed;
        let [h0, c0, sequence, last, h_n, c_n] = sizes.map(|size| {
            salt = salt.wrapping_add(1);
            noise(salt, size)
        });
        Self { h0, c0, sequence, last, h_n, c_n }
    }

    fn slopes(&self, which: u8) -> LstmSlopes<'_> {
        fn some(wanted: bool, values: &[f32]) -> Option<&[f32]> {
            wanted.then_some(values)
        }
        LstmSlopes {
            sequence: some(which & 1 != 0, &self.sequence),
            last: some(which & 2 != 0, &self.last),
            h_n: some(which & 4 != 0, &self.h_n),
            c_n: some(which & 8 != 0, &self.c_n),
        }
    }
}

fn plain(
    layers: &[LayerWeights],
    b: usize,
    t: usize,
    input: &[f32],
    around: &Around,
    with_start: bool,
    which: u8,
) -> Gradients<f64> {
    let layers: Vec<_> = layers.iter().map(wide_layer).collect();
    let [h0, c0, sequence, last, h_n, c_n] =
        [&around.h0, &around.c0, &around.sequence, &around.last, &around.h_n, &around.c_n].map(|values| wide(values));
    let slopes = LstmSlopes {
        sequence: (which & 1 != 0).then_some(&sequence[..]),
        last: (which & 2 != 0).then_some(&last[..]),
        h_n: (which & 4 != 0).then_some(&h_n[..]),
        c_n: (which & 8 != 0).then_some(&c_n[..]),
    };
    let start = with_start.then_some((&h0[..], &c0[..]));
    reference::lstm_backward(&layers, b, t, &wide(input), start, &slopes).unwrap()
}

fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 96 }))]

    #[test]
    fn every_tier_equals_the_plain_definition_on_one_thread_and_on_two(
        layers in some_layers(), b in 0_usize..14, t in 0_usize..9, with_start: bool, which in 0_u8..16, seed: u64,
    ) {
        let input = noise(seed, b * t * layers[0].sizes().input);
        let around = Around::new(&layers, b, t, seed);
        let expected = plain(&layers, b, t, &input, &around, with_start, which);
        let mut batch = Batch::new(&input, b, t);
        if with_start {
            batch = batch.starting_from(&around.h0, &around.c0);
        }
        for tier in Tier::available() {
            let lstm = Lstm::on_tier(tier, &layers).unwrap();
            let mut workspace = Workspace::default();
            let inferred = lstm.forward(&batch, Keep::Sequence, Threads::One, &mut workspace).unwrap();
            let mut training = LstmTraining::on_tier(tier);
            for threads in [1, 2] {
                pool(threads).install(|| {
                    let out = training.forward(&layers, &batch, Keep::Sequence, Threads::Pool).unwrap();
                    close(out.sequence, &wide(inferred.sequence))?;
                    close(out.h_n, &wide(inferred.h_n))?;
                    close(out.c_n, &wide(inferred.c_n))?;
                    prop_assert_eq!(out.last().len(), inferred.last().len());
                    agree(training.backward(&around.slopes(which), true).unwrap(), &expected)
                })?;
            }
        }
    }

    #[test]
    fn the_same_step_gives_the_same_bits_in_new_and_in_used_memory(
        layers in some_layers(), others in some_layers(), b in 1_usize..14, t in 1_usize..9, seed: u64,
    ) {
        let input = noise(seed, b * t * layers[0].sizes().input);
        let around = Around::new(&layers, b, t, seed);
        let batch = Batch::new(&input, b, t);
        pool(2).install(|| {
            let mut used = LstmTraining::default();
            let rows = vec![f32::NAN; 13 * 8 * others[0].sizes().input];
            used.forward(&others, &Batch::new(&rows, 13, 8), Keep::Sequence, Threads::Pool).unwrap();
            let last = vec![f32::NAN; 13 * others[others.len() - 1].sizes().output()];
            used.backward(&LstmSlopes { last: Some(&last), ..LstmSlopes::default() }, true).unwrap();
            let mut fresh = LstmTraining::default();
            let step = |training: &mut LstmTraining| {
                training.forward(&layers, &batch, Keep::Last, Threads::Pool).unwrap();
                training.backward(&around.slopes(2), true).unwrap().clone()
            };
            let first = step(&mut fresh);
            prop_assert_eq!(&step(&mut used), &first);
            prop_assert_eq!(&step(&mut used), &first);
            Ok(())
        })?;
    }
}

/// Two layers and more rows than several blocks hold.
fn several_blocks() -> (Vec<LayerWeights>, Vec<f32>) {
    let sizes = [
        LayerSizes { input: 3, hidden: 17, projection: Some(5) },
        LayerSizes { input: 5, hidden: 9, projection: None },
    ];
    (
        sizes.into_iter().zip(1..).map(|(sizes, seed)| crate::lstm::tests::layer(sizes, seed)).collect(),
        noise(3, 7 * 200 * 3),
    )
}

#[test]
fn a_sequence_of_many_blocks_equals_the_plain_definition() {
    let (layers, input) = several_blocks();
    let around = Around::new(&layers, 7, 200, 1);
    for which in [1, 2] {
        let expected = plain(&layers, 7, 200, &input, &around, true, which);
        for tier in Tier::available() {
            let mut training = LstmTraining::on_tier(tier);
            let batch = Batch::new(&input, 7, 200).starting_from(&around.h0, &around.c0);
            training.forward(&layers, &batch, Keep::Last, Threads::One).unwrap();
            agree(training.backward(&around.slopes(which), true).unwrap(), &expected).unwrap();
        }
    }
}

#[test]
fn a_gradient_that_vanishes_over_many_frames_becomes_zero_and_not_denormal() {
    let (layers, input) = several_blocks();
    let last = vec![1e-12_f32; 7 * 9];
    for tier in Tier::available() {
        let mut training = LstmTraining::on_tier(tier);
        training.forward(&layers, &Batch::new(&input, 7, 200), Keep::Last, Threads::One).unwrap();
        let slopes = LstmSlopes { last: Some(&last), ..LstmSlopes::default() };
        let gradients = training.backward(&slopes, true).unwrap();
        assert!(gradients.input[199 * 3..200 * 3].iter().all(|&v| v != 0.0), "{tier:?}");
        assert!(gradients.input[..3].iter().all(|&v| v == 0.0), "{tier:?}");
        for (name, values) in named(gradients) {
            assert!(values.iter().all(|v| *v == 0.0 || v.is_normal()), "{tier:?}: {name} has a denormal value");
        }
    }
}

#[test]
fn what_does_not_fit_and_a_spent_pass_are_refused() {
    let (layers, input) = several_blocks();
    let mut training = LstmTraining::default();
    assert_eq!(training.backward(&LstmSlopes::default(), false).unwrap_err(), KernelError::NothingKept);
    let mut refused = |layers: &[LayerWeights], batch: Batch<'_>| {
        training.forward(layers, &batch, Keep::Last, Threads::One).unwrap_err()
    };
    let batch = Batch::new(&input, 7, 200);
    assert_eq!(refused(&[], batch), KernelError::Zero { what: "number of LSTM layers" });
    assert!(matches!(refused(&layers, Batch::new(&input, 7, 199)), KernelError::Length { expected: 4179, .. }));
    assert!(matches!(refused(&layers, Batch::new(&[], usize::MAX, 0)), KernelError::TooLarge { .. }));
    // No sequence, so many frames that their number plus one is none.
    assert!(matches!(refused(&layers, Batch::new(&[], usize::MAX / 2, 0)), KernelError::TooLarge { .. }));
    assert!(matches!(refused(&layers, batch.starting_from(&[], &[])), KernelError::Length { got: 0, .. }));
    let lengths = [200; 7];
    assert_eq!(refused(&layers, batch.with_lengths(&lengths)), KernelError::Ragged);
    training.forward(&layers, &batch, Keep::Last, Threads::One).unwrap();
    let short = LstmSlopes { last: Some(&[1.0]), ..LstmSlopes::default() };
    assert!(matches!(training.backward(&short, false), Err(KernelError::Length { expected: 63, got: 1, .. })));
    let gradients = training.backward(&LstmSlopes::default(), false).unwrap();
    assert!(gradients.input.is_empty() && gradients.layers[0].w_ih.iter().all(|&v| v == 0.0));
    assert_eq!(training.backward(&LstmSlopes::default(), false).unwrap_err(), KernelError::NothingKept);
}

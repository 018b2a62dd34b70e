use super::*;
use proptest::prelude::*;

/// Repeatable values in [-1, 1).
pub(crate) fn noise(seed: u64, length: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32) / (1_u64 << 23) as f32 - 1.0
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 200 }))]

    #[test]
    fn every_tier_equals_the_plain_product(rows in 0_usize..20, inputs in 1_usize..70, outputs in 1_usize..150, seed: u64) {
        let (x, w, b) = (noise(seed, rows * inputs), noise(seed ^ 1, outputs * inputs), noise(seed ^ 2, outputs));
        let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
        let expected = crate::reference::linear(rows, inputs, outputs, &wide(&x), &wide(&w), &wide(&b));
        for tier in Tier::available() {
            let layer = PackedLinear::on_tier(tier, inputs, outputs, &w, &b).unwrap();
            let mut got = vec![f32::NAN; rows * outputs];
            layer.apply(rows, &x, &mut got).unwrap();
            for (g, e) in got.iter().zip(&expected) {
                prop_assert!((f64::from(*g) - e).abs() <= 1e-6 * (1.0 + inputs as f64).sqrt(), "{tier:?}: {g} {e}");
            }
        }
    }

    #[test]
    fn a_row_has_the_same_bits_alone_and_among_others(rows in 1_usize..20, inputs in 1_usize..40, outputs in 1_usize..80, seed: u64) {
        let (x, w) = (noise(seed, rows * inputs), noise(seed ^ 1, outputs * inputs));
        for tier in Tier::available() {
            let layer = PackedLinear::on_tier(tier, inputs, outputs, &w, &[]).unwrap();
            let mut together = vec![0.0; rows * outputs];
            layer.apply(rows, &x, &mut together).unwrap();
            for row in 0..rows {
                let mut alone = vec![0.0; outputs];
                layer.apply(1, &x[row * inputs..][..inputs], &mut alone).unwrap();
                prop_assert_eq!(&alone[..], &together[row * outputs..][..outputs]);
            }
        }
    }
}

#[test]
fn one_product_by_hand() {
    // (1, 2) . (3, 4) + 0.5 = 11.5; (1, 2) . (-1, 1) - 1 = 0.
    let layer = PackedLinear::new(2, 2, &[3.0, 4.0, -1.0, 1.0], &[0.5, -1.0]).unwrap();
    let mut out = [0.0; 2];
    layer.apply(1, &[1.0, 2.0], &mut out).unwrap();
    assert_eq!(out, [11.5, 0.0]);
    assert_eq!((layer.inputs(), layer.outputs()), (2, 2));
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    assert_eq!(
        PackedLinear::new(0, 2, &[], &[]).err(),
        Some(KernelError::Zero { what: "input size of a linear layer" })
    );
    assert!(matches!(PackedLinear::new(2, 2, &[1.0; 3], &[]), Err(KernelError::Length { expected: 4, got: 3, .. })));
    assert!(matches!(PackedLinear::new(1, 2, &[1.0; 2], &[1.0]), Err(KernelError::Length { expected: 2, got: 1, .. })));
    assert!(matches!(PackedLinear::new(usize::MAX, 2, &[1.0; 2], &[]), Err(KernelError::TooLarge { .. })));
    let layer = PackedLinear::new(1, 1, &[1.0], &[]).unwrap();
    assert!(layer.apply(2, &[1.0], &mut [0.0; 2]).is_err());
    assert!(layer.apply(2, &[1.0; 2], &mut [0.0]).is_err());
}

//! The two number types that spectra are computed in, and a logarithm of slices for each.

use std::ops::AddAssign;

use realfft::FftNum;

/// `f32` or `f64`.
pub trait Real: FftNum + PartialOrd + AddAssign + sealed::Sealed {
    /// 0.
    const ZERO: Self;
    /// Rounds to this type.
    fn of_f64(value: f64) -> Self;
    /// Rounds to this type.
    fn of_f32(value: f32) -> Self;
    /// Rounds to f32.
    fn into_f32(self) -> f32;
    /// Replaces each value by `factor` times its natural logarithm. Values must be positive, finite and normal.
    fn scaled_ln(values: &mut [Self], factor: Self);
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

impl Real for f32 {
    const ZERO: Self = 0.0;

    fn of_f64(value: f64) -> Self {
        value as Self
    }

    fn of_f32(value: f32) -> Self {
        value
    }

    fn into_f32(self) -> f32 {
        self
    }

    fn scaled_ln(values: &mut [Self], factor: Self) {
        for value in values {
            *value = factor * ln(*value);
        }
    }
}

impl Real for f64 {
    const ZERO: Self = 0.0;

    fn of_f64(value: f64) -> Self {
        value
    }

    fn of_f32(value: f32) -> Self {
        Self::from(value)
    }

    fn into_f32(self) -> f32 {
        self as f32
    }

    fn scaled_ln(values: &mut [Self], factor: Self) {
        for value in values {
            *value = factor * value.ln();
        }
    }
}

/// Natural logarithm of a positive, finite, normal number, without a branch or a call, so that a loop of it becomes vector code.
///
/// `x = 2^k m` with m from sqrt(1/2) to sqrt(2), and with `s = (m - 1) / (m + 1)`, `ln m = 2 atanh(s)`, a series in odd powers of
/// s, which is at most 0.1716: the first term left out is below 3e-9 of the result. Errs by at most 2e-7 of `max(|ln x|, 0.5)`,
/// and by as little of ln x itself near 1.
#[inline]
fn ln(x: f32) -> f32 {
    /// Bits of sqrt(1/2).
    const ROOT_HALF: u32 = 0x3f35_04f3;
    let bits = x.to_bits();
    let k = bits.wrapping_sub(ROOT_HALF).cast_signed() >> 23;
    let m = f32::from_bits(bits.wrapping_sub((k << 23).cast_unsigned()));
    let f = m - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let series = z * (2.0 / 3.0 + z * (2.0 / 5.0 + z * (2.0 / 7.0 + z * (2.0 / 9.0))));
    // 2 s = f - s f, and f is exact: what is rounded is small beside it.
    let ln_m = f - s * (f - series);
    // ln 2 in two parts, the first with so few bits that k times it is exact.
    let k = k as f32;
    k * 0.693_359_4 + (ln_m - k * 2.121_944_4e-4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(x: f32) -> f64 {
        let exact = f64::from(x).ln();
        (f64::from(ln(x)) - exact).abs() / exact.abs().max(f64::from(f32::MIN_POSITIVE))
    }

    #[test]
    fn the_logarithm_is_exact_at_one_and_right_at_the_ends() {
        assert_eq!(ln(1.0), 0.0);
        for x in [f32::MIN_POSITIVE, 1.192_092_9e-7, 0.5, 0.707, 0.708, 1.414, 1.415, 2.0, 1e10, f32::MAX] {
            assert!(error(x) < 2e-7, "ln {x}: {:e}", error(x));
        }
    }

    #[test]
    fn the_logarithm_errs_by_two_parts_in_ten_million_over_a_dense_sweep() {
        let bits = (f32::MIN_POSITIVE.to_bits()..f32::MAX.to_bits()).step_by(997);
        let worst = bits.map(|bits| error(f32::from_bits(bits))).fold(0.0, f64::max);
        assert!(worst < 2e-7, "{worst:e}");
    }

    proptest! {
        #[test]
        fn the_logarithm_is_right_around_one(x in 0.5_f32..2.0) {
            prop_assert!(error(x) < 2e-7);
        }
    }
}

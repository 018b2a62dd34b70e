//! exp, sigmoid and tanh on slices, each with a stated bound on its error, and the same on vectors for the kernels.
//!
//! The polynomials are least-maximum fits of the relative error, made with Lawson's reweighting in 40-digit arithmetic
//! on 120 Chebyshev nodes: `(e^r - 1 - r) / r^2` on `|r| <= ln 2 / 2`, error 1.3e-7 of a term that is at most 0.07 of the
//! whole; `tanh(x) / x` as a quotient of polynomials in `x^2` on `|x| <= 9.02`, error 2.2e-8.

use crate::lanes::{Job, Lanes};
use crate::tier::Tier;

/// What is smaller in magnitude becomes 0 in weights, inputs and states: `2^-63`.
///
/// Denormal numbers cost some CPUs a hundred cycles each. The usual remedy, a CPU flag, is undefined behaviour in Rust, so
/// values are flushed where they are packed or stored: the product of any two that are left is a normal number.
pub const FLUSHED: f32 = 1.084_202_2e-19;

/// Replaces each value by its exponential.
///
/// Relative error at most 3 units in the last place; below -87.33654 exactly 0 (never a denormal), from 88.72284
/// infinite; not-a-number stays.
pub fn exp(tier: Tier, values: &mut [f32]) {
    tier.run(Map(values, Exp));
}

/// Replaces each value x by `1 / (1 + e^-x)`.
///
/// Relative error at most 4 units in the last place; below -87.33654 exactly 0, above 17.4 exactly 1; not-a-number stays.
pub fn sigmoid(tier: Tier, values: &mut [f32]) {
    tier.run(Map(values, Sigmoid));
}

/// Replaces each value by its hyperbolic tangent.
///
/// Relative error at most 6 units in the last place, magnitude never above 1, odd; not-a-number stays.
pub fn tanh(tier: Tier, values: &mut [f32]) {
    tier.run(Map(values, Tanh));
}

/// Below this, e^x is denormal.
const LOWEST_EXPONENT: f32 = -87.336_54;
/// Beyond this, tanh rounds to 1.
const TANH_SATURATES: f32 = 9.02;

/// A function of a vector.
trait Function {
    fn of<L: Lanes>(&self, l: L, x: L::Vector) -> L::Vector;
}
struct Exp;
struct Sigmoid;
struct Tanh;

impl Function for Exp {
    #[inline(always)]
    fn of<L: Lanes>(&self, l: L, x: L::Vector) -> L::Vector {
        exp_vector(l, x)
    }
}
impl Function for Sigmoid {
    #[inline(always)]
    fn of<L: Lanes>(&self, l: L, x: L::Vector) -> L::Vector {
        let quotient = l.div(l.splat(1.0), one_plus_exp_minus(l, x));
        l.zero_where_less(x, l.splat(LOWEST_EXPONENT), quotient)
    }
}
impl Function for Tanh {
    #[inline(always)]
    fn of<L: Lanes>(&self, l: L, x: L::Vector) -> L::Vector {
        let (over, under) = tanh_quotient(l, x);
        let quotient = l.div(over, under);
        l.max(l.splat(-1.0), l.min(l.splat(1.0), quotient))
    }
}

/// A function put on each value of a slice.
struct Map<'a, F>(&'a mut [f32], F);

impl<F: Function> Job for Map<'_, F> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let mut chunks = self.0.chunks_exact_mut(L::WIDTH);
        for chunk in &mut chunks {
            map_vector(l, chunk, &self.1);
        }
        let rest = chunks.into_remainder();
        let mut padded = [0.0; crate::gemm::WIDEST];
        padded[..rest.len()].copy_from_slice(rest);
        map_vector(l, &mut padded[..L::WIDTH], &self.1);
        rest.copy_from_slice(&padded[..rest.len()]);
    }
}

#[inline(always)]
fn map_vector<L: Lanes>(l: L, chunk: &mut [f32], function: &impl Function) {
    assert_eq!(chunk.len(), L::WIDTH);
    // SAFETY: the chunk holds `WIDTH` values.
    unsafe { l.store(chunk.as_mut_ptr(), function.of(l, l.load(chunk.as_ptr()))) };
}

/// The polynomial with these coefficients, constant first.
#[inline(always)]
fn polynomial<L: Lanes, const N: usize>(l: L, x: L::Vector, coefficients: [f32; N]) -> L::Vector {
    let mut sum = l.splat(coefficients[N - 1]);
    for &coefficient in coefficients[..N - 1].iter().rev() {
        sum = l.mul_add(sum, x, l.splat(coefficient));
    }
    sum
}

/// The nearest whole number, ties to even, of a magnitude below 2^22.
#[inline(always)]
fn round<L: Lanes>(l: L, x: L::Vector) -> L::Vector {
    // 1.5 * 2^23: beside it the spacing of f32 is 1.
    let magic = l.splat(12_582_912.0);
    l.sub(l.add(x, magic), magic)
}

/// 2^n for whole n from -126 to 127.
#[inline(always)]
fn power_of_two<L: Lanes>(l: L, n: L::Vector) -> L::Vector {
    // The low bits of the fraction of 2^23 + 127 + n are n + 127, the exponent wanted; the shift drops all others.
    l.shift_to_exponent(l.add(n, l.splat(8_388_735.0)))
}

/// (e^r, n) with `x = n ln 2 + r`.
#[inline(always)]
fn exp_parts<L: Lanes>(l: L, x: L::Vector) -> (L::Vector, L::Vector) {
    let n = round(l, l.mul(x, l.splat(std::f32::consts::LOG2_E)));
    // ln 2 in two parts; the first has nine bits, so that n times it is exact.
    let r = l.mul_add(n, l.splat(-0.693_359_4), x);
    let r = l.mul_add(n, l.splat(2.121_944_4e-4), r);
    let tail = polynomial(l, r, [0.5, 0.166_665_77, 0.041_666_854, 0.008_363_2, 0.001_390_128_7]);
    (l.add(l.mul_add(l.mul(r, r), tail, r), l.splat(1.0)), n)
}

/// e^x with the error of [`exp`].
#[inline(always)]
pub(crate) fn exp_vector<L: Lanes>(l: L, x: L::Vector) -> L::Vector {
    l.zero_where_less(x, l.splat(LOWEST_EXPONENT), exp_any(l, x))
}

/// e^x, also where it overflows to infinity.
#[inline(always)]
fn exp_any<L: Lanes>(l: L, x: L::Vector) -> L::Vector {
    let clamped = l.min(l.splat(89.0), l.max(l.splat(-88.0), x));
    let (value, n) = exp_parts(l, clamped);
    // In two steps: 2^128 is no f32, the result may be one.
    let half = round(l, l.mul(n, l.splat(0.5)));
    l.mul(l.mul(value, power_of_two(l, half)), power_of_two(l, l.sub(n, half)))
}

/// 1 + e^-x, clamped where a sigmoid no longer sees a difference; from 1 to 6e37.
#[inline(always)]
pub(crate) fn one_plus_exp_minus<L: Lanes>(l: L, x: L::Vector) -> L::Vector {
    let minus = l.sub(l.splat(0.0), x);
    let (value, n) = exp_parts(l, l.min(l.splat(87.336_54), l.max(l.splat(-87.0), minus)));
    l.mul_add(value, power_of_two(l, n), l.splat(1.0))
}

/// tanh x as numerator and denominator, so that a caller who divides anyway divides once.
#[inline(always)]
pub(crate) fn tanh_quotient<L: Lanes>(l: L, x: L::Vector) -> (L::Vector, L::Vector) {
    let x = l.min(l.splat(TANH_SATURATES), l.max(l.splat(-TANH_SATURATES), x));
    let square = l.mul(x, x);
    let over = polynomial(l, square, [1.0, 0.133_796_53, 0.003_493_951_7, 2.058_189_3e-5, 1.331_645_3e-8]);
    let under = polynomial(l, square, [1.0, 0.467_129_68, 0.025_870_773, 3.282_947_7e-4, 7.761_036e-7]);
    (l.mul(x, over), under)
}

/// `x`, or 0 where its magnitude is below [`FLUSHED`].
#[inline(always)]
pub(crate) fn flush<L: Lanes>(l: L, x: L::Vector) -> L::Vector {
    l.zero_where_less(l.abs(x), l.splat(FLUSHED), x)
}

/// The same for one value.
#[inline(always)]
pub(crate) fn flush_one(x: f32) -> f32 {
    if x.abs() < FLUSHED { 0.0 } else { x }
}

#[cfg(test)]
mod tests;

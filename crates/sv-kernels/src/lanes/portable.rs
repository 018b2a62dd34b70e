//! Eight lanes in plain Rust: no instruction beyond what the target has, no pointer arithmetic that Miri cannot follow.

use super::Lanes;

/// The lanes of every machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Portable;

type V = [f32; 8];

#[inline(always)]
fn each(a: V, b: V, f: impl Fn(f32, f32) -> f32) -> V {
    let mut out = a;
    for (value, other) in out.iter_mut().zip(b) {
        *value = f(*value, other);
    }
    out
}

impl Lanes for Portable {
    type Vector = V;
    const WIDTH: usize = 8;
    // SSE2 has 16 registers of four: one row of 32 sums and its weights.
    const ROWS: usize = 1;

    #[inline(always)]
    fn splat(self, value: f32) -> V {
        [value; 8]
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> V {
        // SAFETY: the caller vouches for 8 values; a vector here asks for no more alignment than f32.
        unsafe { from.cast::<V>().read() }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, value: V) {
        // SAFETY: the caller vouches for 8 values; a vector here asks for no more alignment than f32.
        unsafe { to.cast::<V>().write(value) }
    }
    #[inline(always)]
    fn add(self, a: V, b: V) -> V {
        each(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: V, b: V) -> V {
        each(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: V, b: V) -> V {
        each(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: V, b: V) -> V {
        each(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn mul_add(self, a: V, b: V, c: V) -> V {
        // Two roundings: `f32::mul_add` is a library call where the target has no such instruction.
        self.add(self.mul(a, b), c)
    }
    #[inline(always)]
    fn max(self, a: V, b: V) -> V {
        each(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, a: V, b: V) -> V {
        each(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn abs(self, a: V) -> V {
        a.map(f32::abs)
    }
    #[inline(always)]
    fn zero_where_less(self, a: V, bound: V, value: V) -> V {
        let mut out = value;
        for ((value, a), bound) in out.iter_mut().zip(a).zip(bound) {
            *value = if a < bound { 0.0 } else { *value };
        }
        out
    }
    #[inline(always)]
    fn shift_to_exponent(self, a: V) -> V {
        a.map(|value| f32::from_bits(value.to_bits() << 23))
    }
    #[inline(always)]
    fn prefetch(self, _values: &[f32], _index: usize) {}
    #[inline(always)]
    fn prefetch_later(self, _values: &[f32], _index: usize) {}
}

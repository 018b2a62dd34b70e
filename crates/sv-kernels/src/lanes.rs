//! One vector of f32 as an abstraction: a kernel is written once over [`Lanes`], each tier says what its vectors do.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
mod portable;

pub(crate) use portable::Portable;

/// Work that runs on any lanes. `run` is `#[inline(always)]` wherever speed matters: only then is it compiled with the
/// instructions of the tier that calls it.
pub(crate) trait Job {
    /// What it gives.
    type Out;
    /// Does it.
    fn run<L: Lanes>(self, lanes: L) -> Self::Out;
}

/// Vectors of `WIDTH` f32. A value of the implementing type proves that the CPU has the instructions, so that all but
/// the memory operations are safe. Every operation works lane by lane: a lane's result never depends on its neighbours.
pub(crate) trait Lanes: Copy {
    /// One vector.
    type Vector: Copy;
    /// Values in a vector.
    const WIDTH: usize;
    /// Rows times four vectors of sums that the registers hold; at most [`crate::gemm::MOST_ROWS`].
    const ROWS: usize;

    /// The same value in each lane.
    fn splat(self, value: f32) -> Self::Vector;
    /// Reads a vector.
    ///
    /// # Safety
    /// `WIDTH` values can be read at `from`.
    unsafe fn load(self, from: *const f32) -> Self::Vector;
    /// Writes a vector.
    ///
    /// # Safety
    /// `WIDTH` values can be written at `to`.
    unsafe fn store(self, to: *mut f32, value: Self::Vector);
    /// a + b
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// a - b
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// a b
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// a / b
    fn div(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// a b + c, rounded once where the tier can.
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// The greater; `b` if either is not a number.
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The smaller; `b` if either is not a number.
    fn min(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// |a|
    fn abs(self, a: Self::Vector) -> Self::Vector;
    /// `value`, or 0 where `a < bound`; `value` where `a` is not a number.
    fn zero_where_less(self, a: Self::Vector, bound: Self::Vector, value: Self::Vector) -> Self::Vector;
    /// The bits of each lane moved up by 23, out of the fraction into the exponent.
    fn shift_to_exponent(self, a: Self::Vector) -> Self::Vector;
    /// Asks for the cache line of the value at `index`, if there is one: a hint, never a fault.
    fn prefetch(self, values: &[f32], index: usize);
    /// The same for the second-level cache.
    fn prefetch_later(self, values: &[f32], index: usize);
}

/// `N` vectors side by side: each operation is done to all of them before the next, so that of a long chain of dependent
/// operations, `N` are in flight.
#[derive(Clone, Copy)]
pub(crate) struct Abreast<L, const N: usize>(pub(crate) L);

impl<L: Lanes, const N: usize> Lanes for Abreast<L, N> {
    type Vector = [L::Vector; N];
    const WIDTH: usize = N * L::WIDTH;
    const ROWS: usize = 1;

    #[inline(always)]
    fn splat(self, value: f32) -> Self::Vector {
        [self.0.splat(value); N]
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::Vector {
        // SAFETY: the caller vouches for `N` vectors.
        std::array::from_fn(|i| unsafe { self.0.load(from.add(i * L::WIDTH)) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, value: Self::Vector) {
        for (i, vector) in value.into_iter().enumerate() {
            // SAFETY: the caller vouches for `N` vectors.
            unsafe { self.0.store(to.add(i * L::WIDTH), vector) };
        }
    }
    #[inline(always)]
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        std::array::from_fn(|i| self.0.add(a[i], b[i]))
    }
    #[inline(always)]
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        std::array::from_fn(|i| self.0.sub(a[i], b[i]))
    }
    #[inline(always)]
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        std::array::from_fn(|i| self.0.mul(a[i], b[i]))
    }
    #[inline(always)]
    fn div(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        std::array::from_fn(|i| self.0.div(a[i], b[i]))
    }
    #[inline(always)]
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        std::array::from_fn(|i| self.0.max(a[i], b[i]))
    }
    #[inline(always)]
    fn min(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        std::array::from_fn(|i| self.0.min(a[i], b[i]))
    }
    #[inline(always)]
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
        std::array::from_fn(|i| self.0.mul_add(a[i], b[i], c[i]))
    }
    #[inline(always)]
    fn abs(self, a: Self::Vector) -> Self::Vector {
        a.map(|a| self.0.abs(a))
    }
    #[inline(always)]
    fn zero_where_less(self, a: Self::Vector, bound: Self::Vector, value: Self::Vector) -> Self::Vector {
        std::array::from_fn(|i| self.0.zero_where_less(a[i], bound[i], value[i]))
    }
    #[inline(always)]
    fn shift_to_exponent(self, a: Self::Vector) -> Self::Vector {
        a.map(|a| self.0.shift_to_exponent(a))
    }
    #[inline(always)]
    fn prefetch(self, values: &[f32], index: usize) {
        self.0.prefetch(values, index);
    }
    #[inline(always)]
    fn prefetch_later(self, values: &[f32], index: usize) {
        self.0.prefetch_later(values, index);
    }
}

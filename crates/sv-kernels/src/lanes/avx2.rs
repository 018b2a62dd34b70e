//! Eight lanes: AVX2 with FMA.

use std::arch::x86_64::*;

use super::{Job, Lanes};
use crate::tier::Avx2;

/// Runs `job` compiled with this tier's instructions.
///
/// # Safety
/// The CPU has them; a `Avx2` is the proof.
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn enabled<J: Job>(tier: Avx2, job: J) -> J::Out {
    job.run(tier)
}

impl Lanes for Avx2 {
    type Vector = __m256;
    const WIDTH: usize = 8;
    // 12 of the 16 registers hold sums, the others one value of each row and a vector of weights.
    const ROWS: usize = 3;

    #[inline(always)]
    fn splat(self, value: f32) -> __m256 {
        // SAFETY: `self` proves that the CPU has the instruction.
        unsafe { _mm256_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m256 {
        // SAFETY: `self` proves the instruction, the caller vouches for 8 values.
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, value: __m256) {
        // SAFETY: `self` proves the instruction, the caller vouches for 8 values.
        unsafe { _mm256_storeu_ps(to, value) }
    }
    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves that the CPU has the instruction.
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves that the CPU has the instruction.
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves that the CPU has the instruction.
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves that the CPU has the instruction.
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves that the CPU has the instruction.
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves that the CPU has the instruction.
        unsafe { _mm256_min_ps(a, b) }
    }
    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: `self` proves that the CPU has the instruction.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn abs(self, a: __m256) -> __m256 {
        // SAFETY: `self` proves that the CPU has the instruction.
        unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), a) }
    }
    #[inline(always)]
    fn zero_where_less(self, a: __m256, bound: __m256, value: __m256) -> __m256 {
        // SAFETY: `self` proves that the CPU has the instructions; a comparison with what is no number is false, negated true.
        unsafe { _mm256_and_ps(_mm256_cmp_ps::<_CMP_NLT_UQ>(a, bound), value) }
    }
    #[inline(always)]
    fn shift_to_exponent(self, a: __m256) -> __m256 {
        // SAFETY: `self` proves that the CPU has the instructions.
        unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(a))) }
    }
    #[inline(always)]
    fn prefetch(self, values: &[f32], index: usize) {
        if index < values.len() {
            // SAFETY: the address is inside `values`; the hint reads nothing that Rust could see.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(values.as_ptr().add(index).cast()) };
        }
    }
    #[inline(always)]
    fn prefetch_later(self, values: &[f32], index: usize) {
        if index < values.len() {
            // SAFETY: the address is inside `values`; the hint reads nothing that Rust could see.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(values.as_ptr().add(index).cast()) };
        }
    }
}

//! Sixteen lanes: AVX-512.

use std::arch::x86_64::*;

use super::{Job, Lanes};
use crate::tier::Avx512;

/// Runs `job` compiled with this tier's instructions.
///
/// # Safety
/// The CPU has them; a `Avx512` is the proof.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
pub(crate) unsafe fn enabled<J: Job>(tier: Avx512, job: J) -> J::Out {
    job.run(tier)
}

impl Lanes for Avx512 {
    type Vector = __m512;
    const WIDTH: usize = 16;
    // 24 of the 32 registers hold sums, the others four vectors of weights and one value of the row.
    const ROWS: usize = 6;

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        // SAFETY: `self` proves that the CPU has the instruction.
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        // SAFETY: `self` proves the instruction, the caller vouches for 16 values.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, value: __m512) {
        // SAFETY: `self` proves the instruction, the caller vouches for 16 values.
        unsafe { _mm512_storeu_ps(to, value) }
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves that the CPU has the instruction.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves that the CPU has the instruction.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves that the CPU has the instruction.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves that the CPU has the instruction.
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves that the CPU has the instruction.
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves that the CPU has the instruction.
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: `self` proves that the CPU has the instruction.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn abs(self, a: __m512) -> __m512 {
        // SAFETY: `self` proves that the CPU has the instruction.
        unsafe { _mm512_abs_ps(a) }
    }
    #[inline(always)]
    fn zero_where_less(self, a: __m512, bound: __m512, value: __m512) -> __m512 {
        // SAFETY: `self` proves that the CPU has the instructions; a comparison with what is no number is false, negated true.
        unsafe { _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_NLT_UQ>(a, bound), value) }
    }
    #[inline(always)]
    fn shift_to_exponent(self, a: __m512) -> __m512 {
        // SAFETY: `self` proves that the CPU has the instructions.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(a))) }
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

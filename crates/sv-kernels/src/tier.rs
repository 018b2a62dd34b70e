//! What this CPU can do, as a value: only detection makes one, so holding it is the proof.

use crate::lanes::{Job, Portable};

/// 16 lanes: AVX-512 F, VL, BW and DQ, AVX2 and FMA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Avx512(());

/// 8 lanes: AVX2 and FMA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Avx2(());

impl Avx512 {
    /// The tier, if this CPU and its operating system have it.
    #[must_use]
    pub fn detect() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && Avx2::detect().is_some()
        {
            return Some(Self(()));
        }
        None
    }
}

impl Avx2 {
    /// The tier, if this CPU and its operating system have it.
    #[must_use]
    pub fn detect() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Some(Self(()));
        }
        None
    }
}

/// A set of instructions that a kernel is built on. Results of two tiers differ in their last bits; on one tier they do
/// not depend on batch, blocking or threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tier {
    /// 16 lanes.
    Avx512(Avx512),
    /// 8 lanes.
    Avx2(Avx2),
    /// Plain Rust, every machine.
    Portable,
}

impl Tier {
    /// The best tier of this machine.
    #[must_use]
    pub fn detect() -> Self {
        Avx512::detect().map(Self::Avx512).or_else(|| Avx2::detect().map(Self::Avx2)).unwrap_or(Self::Portable)
    }

    /// All tiers of this machine, best first; never empty. For tests and comparisons.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let mut tiers = Vec::new();
        tiers.extend(Avx512::detect().map(Self::Avx512));
        tiers.extend(Avx2::detect().map(Self::Avx2));
        tiers.push(Self::Portable);
        tiers
    }

    /// Runs `job` on the lanes of this tier.
    pub(crate) fn run<J: Job>(self, job: J) -> J::Out {
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an `Avx512` comes only from `Avx512::detect`, which saw every feature that the callee enables.
            Self::Avx512(tier) => unsafe { crate::lanes::avx512::enabled(tier, job) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an `Avx2` comes only from `Avx2::detect`, which saw every feature that the callee enables.
            Self::Avx2(tier) => unsafe { crate::lanes::avx2::enabled(tier, job) },
            // Elsewhere the other two cannot be made.
            _ => job.run(Portable),
        }
    }

    /// Values in one vector of this tier.
    pub(crate) fn width(self) -> usize {
        struct Width;
        impl Job for Width {
            type Out = usize;
            fn run<L: crate::lanes::Lanes>(self, _lanes: L) -> usize {
                L::WIDTH
            }
        }
        self.run(Width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_tier_is_the_first_available_and_portable_is_always_there() {
        let tiers = Tier::available();
        assert_eq!(tiers.first(), Some(&Tier::detect()));
        assert_eq!(tiers.last(), Some(&Tier::Portable));
    }

    #[test]
    fn a_tier_runs_on_lanes_of_its_own_width() {
        for tier in Tier::available() {
            let expected = match tier {
                Tier::Avx512(_) => 16,
                Tier::Avx2(_) | Tier::Portable => 8,
            };
            assert_eq!(tier.width(), expected, "{tier:?}");
        }
    }
}

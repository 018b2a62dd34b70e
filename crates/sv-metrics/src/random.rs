//! Random numbers that never change: a figure must not move with a version of somebody's generator.

use std::f64::consts::TAU;

/// SplitMix64: Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", OOPSLA.
pub(crate) struct SplitMix64(u64);

impl SplitMix64 {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Evenly from 0 to n - 1 (Lemire 2019, "Fast random integer generation in an interval"): the upper half of a product, drawn again
    /// where the lower half falls into the remainder that would favour some numbers.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        loop {
            let product = u128::from(self.next()) * u128::from(n);
            if product as u64 >= n.wrapping_neg() % n {
                return (product >> 64) as u64;
            }
        }
    }

    /// Two standard normal values (Box and Muller 1958, "A note on the generation of random normal deviates").
    pub(crate) fn normals(&mut self) -> [f64; 2] {
        let step = 1.0 / (1_u64 << 53) as f64;
        // In (0, 1], so that its logarithm is finite.
        let length = (-2.0 * (((self.next() >> 11) + 1) as f64 * step).ln()).sqrt();
        let angle = TAU * (self.next() >> 11) as f64 * step;
        [length * angle.cos(), length * angle.sin()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_has_the_published_values() {
        // First values of the reference implementation (Vigna, splitmix64.c) for the seed 1234567.
        let mut random = SplitMix64(1_234_567);
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!(expected.map(|_| random.next()), expected);
    }

    #[test]
    fn numbers_are_drawn_evenly() {
        let mut random = SplitMix64(1);
        let mut seen = [0_u32; 7];
        for _ in 0..70_000 {
            seen[random.below(7) as usize] += 1;
        }
        // Standard deviation of each count: sqrt(70000 x 1/7 x 6/7) = 93.
        assert!(seen.iter().all(|&n| n.abs_diff(10_000) < 400), "{seen:?}");
    }

    #[test]
    fn normal_values_have_the_moments_of_the_normal_distribution() {
        let mut random = SplitMix64(5);
        let values: Vec<f64> = (0..50_000).flat_map(|_| random.normals()).collect();
        let moment = |power: i32| values.iter().map(|value| value.powi(power)).sum::<f64>() / values.len() as f64;
        // Five standard deviations of each mean: sqrt((1, 2, 15, 96) / 100000) x 5.
        for (power, expected, near) in [(1, 0.0, 0.016), (2, 1.0, 0.023), (3, 0.0, 0.062), (4, 3.0, 0.155)] {
            assert!((moment(power) - expected).abs() < near, "{power}: {}", moment(power));
        }
        let across = values.chunks_exact(2).map(|pair| pair[0] * pair[1]).sum::<f64>() / 50_000.0;
        assert!(across.abs() < 0.023, "{across}");
    }
}

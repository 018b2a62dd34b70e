//! Rooms: a direct sound and a decaying tail of noise.

use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

use super::Reverberation;
use super::convolve::convolve;
use super::draw::uniform;

/// Time between the direct sound and the tail, in seconds: the first wall is a metre or so away.
const FIRST_WALL_S: f64 = 0.002;

/// The samples in a drawn room, at the level that they had.
///
/// # Source
/// Polack's model: white Gaussian noise under an exponential that falls by 60 dB in the decay time (Polack 1988, "La transmission de
/// l'energie sonore dans les salles").
pub(super) fn reverberated(samples: &[f32], room: &Reverberation, rate_hz: u32, generator: &mut impl Rng) -> Vec<f32> {
    let decay_s = uniform(room.decay_s, generator);
    let direct_db = uniform(room.direct_db, generator);
    at_the_level_of(samples, convolve(samples, &response(decay_s, direct_db, rate_hz, generator), 0))
}

/// 1, then the tail, whose energy is `direct_db` below.
fn response(decay_s: f64, direct_db: f64, rate_hz: u32, generator: &mut impl Rng) -> Vec<f32> {
    let rate_hz = f64::from(rate_hz);
    let (first, len) = ((FIRST_WALL_S * rate_hz).ceil() as usize, (decay_s * rate_hz).ceil() as usize);
    let mut tail = vec![0.0_f64; len.max(first + 1)];
    for (k, value) in tail.iter_mut().enumerate().skip(first.max(1)) {
        let normal: f64 = StandardNormal.sample(generator);
        *value = normal * 10_f64.powf(-3.0 * k as f64 / rate_hz / decay_s);
    }
    let energy: f64 = tail.iter().map(|value| value * value).sum();
    let gain = if energy > 0.0 { (10_f64.powf(-direct_db / 10.0) / energy).sqrt() } else { 0.0 };
    let mut response: Vec<f32> = tail.into_iter().map(|value| (value * gain) as f32).collect();
    response[0] = 1.0;
    response
}

/// `changed`, as loud as `samples` were.
pub(super) fn at_the_level_of(samples: &[f32], mut changed: Vec<f32>) -> Vec<f32> {
    let energy = |samples: &[f32]| samples.iter().map(|&sample| f64::from(sample).powi(2)).sum::<f64>();
    let (before, after) = (energy(samples), energy(&changed));
    if after > 0.0 {
        super::scale(&mut changed, (before / after).sqrt());
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn a_room_has_its_decay_and_its_share_of_direct_sound() {
        let mut generator = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let response = response(0.5, 3.0, 16_000, &mut generator);
        let energy = |range: std::ops::Range<usize>| response[range].iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
        let share_db = -10.0 * energy(1..response.len()).log10();
        assert!((share_db - 3.0).abs() < 1e-3, "{share_db}");
        assert_eq!(energy(1..32), 0.0);
        // 60 dB in 0.5 s: 24 dB in 0.2 s. Sums over 800 draws are within 1 dB.
        let fall_db = 10.0 * (energy(800..1_600) / energy(4_000..4_800)).log10();
        assert!((fall_db - 24.0).abs() < 1.0, "{fall_db}");
    }
}

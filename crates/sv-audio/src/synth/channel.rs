//! What lies between lips and file, new for each recording: a room, a microphone, noise and a level.

use std::f64::consts::TAU;

use realfft::RealFftPlanner;

use super::RATE_HZ;
use super::draw::{Purpose, Stream};
use super::speaker::Speaker;

const RATE: f64 = RATE_HZ as f64;
/// Root mean square of a recording of median level.
const LEVEL: f64 = 0.05;
/// Samples of one transform: a power of two with room for the longest tail (0.35 s) and more of speech.
const BLOCK: usize = 16_384;

/// Puts speech into a room and through a microphone. Same length; samples in `[-1, 1]`.
pub(crate) fn record(speaker: &Speaker, speech: Vec<f64>, utterance: u64) -> Vec<f64> {
    let config = &speaker.config;
    let mut draw = speaker.stream(Purpose::Room, utterance);
    let room_s = draw.uniform(0.1, 0.35);
    let direct_db = draw.uniform(config.direct_low_db, config.direct_high_db);
    let mut sound = reverberate(speech, &tail(room_s, direct_db, &mut draw));

    let mut draw = speaker.stream(Purpose::Microphone, utterance);
    let mut microphone =
        vec![Biquad::high_pass(draw.uniform(60.0, 350.0)), Biquad::low_pass(draw.uniform(3_300.0, 7_600.0))];
    for _ in 0..config.peaks.round() as usize {
        microphone.push(Biquad::random_peak(&mut draw, config.peak_db));
    }
    microphone.extend(tilt_pair(config.tilt_db * draw.normal()));
    let gain_db = config.level_db * draw.normal();
    microphone.iter_mut().for_each(|filter| filter.run(&mut sound));

    let mut draw = speaker.stream(Purpose::Noise, utterance);
    let ratio_db = draw.uniform(config.noise_low_db, config.noise_high_db);
    let mut colour: Vec<Biquad> = (0..3).map(|_| Biquad::random_peak(&mut draw, config.noise_peak_db)).collect();
    colour.extend(tilt_pair(config.noise_peak_db * draw.normal()));
    let mut noise: Vec<f64> = sound.iter().map(|_| draw.white()).collect();
    colour.iter_mut().for_each(|filter| filter.run(&mut noise));
    let share = (power(&sound) / power(&noise).max(1e-30)).sqrt() * decibels(-ratio_db);
    sound.iter_mut().zip(&noise).for_each(|(x, n)| *x += share * n);

    let gain = LEVEL * decibels(gain_db) / power(&sound).max(1e-30).sqrt();
    sound.iter_mut().for_each(|x| *x = (gain * *x).clamp(-1.0, 1.0));
    sound
}

fn power(samples: &[f64]) -> f64 {
    samples.iter().map(|x| x * x).sum::<f64>() / samples.len().max(1) as f64
}

/// A gain in dB as a factor on amplitudes.
fn decibels(db: f64) -> f64 {
    10.0_f64.powf(db / 20.0)
}

/// Response of a room: the direct sound, then white noise that falls by 60 dB in `room_s`.
fn tail(room_s: f64, direct_db: f64, draw: &mut Stream) -> Vec<f64> {
    let count = ((room_s * RATE) as usize).min(BLOCK / 2);
    let fall = 10.0_f64.powf(-3.0 / (room_s * RATE));
    let mut level = 1.0;
    let mut response = vec![1.0];
    response.extend((0..count).map(|_| {
        level *= fall;
        level * draw.white()
    }));
    let energy: f64 = response[1..].iter().map(|x| x * x).sum();
    let gain = decibels(-direct_db) / energy.max(1e-30).sqrt();
    response[1..].iter_mut().for_each(|x| *x *= gain);
    response
}

/// Convolution by overlapping blocks, cut to the length of the speech. In f64, so that the kind of transform that a
/// processor gets changes samples by less than a millionth of a 16-bit step.
fn reverberate(speech: Vec<f64>, response: &[f64]) -> Vec<f64> {
    let mut planner = RealFftPlanner::<f64>::new();
    let (forward, inverse) = (planner.plan_fft_forward(BLOCK), planner.plan_fft_inverse(BLOCK));
    let (mut time, mut spectrum) = (forward.make_input_vec(), forward.make_output_vec());
    let transform = "buffers come from the plan itself";

    time[..response.len()].copy_from_slice(response);
    forward.process(&mut time, &mut spectrum).expect(transform);
    let filter: Vec<_> = spectrum.iter().map(|bin| bin / BLOCK as f64).collect();

    let mut out = vec![0.0; speech.len()];
    let step = BLOCK - response.len() + 1;
    for (number, piece) in speech.chunks(step).enumerate() {
        time.fill(0.0);
        time[..piece.len()].copy_from_slice(piece);
        forward.process(&mut time, &mut spectrum).expect(transform);
        spectrum.iter_mut().zip(&filter).for_each(|(bin, factor)| *bin *= factor);
        // Their imaginary parts are zero but for rounding, and the inverse refuses any other.
        spectrum[0].im = 0.0;
        spectrum[BLOCK / 2].im = 0.0;
        inverse.process(&mut spectrum, &mut time).expect(transform);
        out[number * step..].iter_mut().zip(&time).for_each(|(sum, x)| *sum += x);
    }
    out
}

/// A second-order filter in transposed direct form II.
///
/// Coefficients: R. Bristow-Johnson, "Cookbook formulae for audio EQ biquad filter coefficients".
#[derive(Debug, Clone, Copy)]
struct Biquad {
    forward: [f64; 3],
    feedback: [f64; 2],
    state: [f64; 2],
}

impl Biquad {
    fn new(forward: [f64; 3], backward: [f64; 3]) -> Self {
        let [scale, first, second] = backward;
        Self { forward: forward.map(|b| b / scale), feedback: [first / scale, second / scale], state: [0.0; 2] }
    }

    fn high_pass(corner_hz: f64) -> Self {
        let (cosine, alpha) = angle(corner_hz, 0.7);
        let edge = 0.5 * (1.0 + cosine);
        Self::new([edge, -2.0 * edge, edge], [1.0 + alpha, -2.0 * cosine, 1.0 - alpha])
    }

    fn low_pass(corner_hz: f64) -> Self {
        let (cosine, alpha) = angle(corner_hz, 0.7);
        let edge = 0.5 * (1.0 - cosine);
        Self::new([edge, 2.0 * edge, edge], [1.0 + alpha, -2.0 * cosine, 1.0 - alpha])
    }

    fn peak(centre_hz: f64, gain_db: f64, quality: f64) -> Self {
        let (cosine, alpha) = angle(centre_hz, quality);
        let root = decibels(gain_db / 2.0);
        Self::new(
            [1.0 + alpha * root, -2.0 * cosine, 1.0 - alpha * root],
            [1.0 + alpha / root, -2.0 * cosine, 1.0 - alpha / root],
        )
    }

    fn random_peak(draw: &mut Stream, deviation_db: f64) -> Self {
        let centre_hz = draw.log_uniform(150.0, 6_500.0);
        let gain_db = deviation_db * draw.normal();
        Self::peak(centre_hz, gain_db, draw.log_uniform(0.7, 4.0))
    }

    fn run(&mut self, samples: &mut [f64]) {
        let ([b0, b1, b2], [a1, a2]) = (self.forward, self.feedback);
        let [mut first, mut second] = self.state;
        for sample in samples {
            let x = *sample;
            let y = b0 * x + first;
            first = b1 * x - a1 * y + second;
            second = b2 * x - a2 * y;
            *sample = y;
        }
        self.state = [first, second];
    }
}

/// Cosine of the angle of a frequency, and the cookbook's alpha.
fn angle(hz: f64, quality: f64) -> (f64, f64) {
    let turn = TAU * hz / RATE;
    (turn.cos(), turn.sin() / (2.0 * quality))
}

/// Two wide peaks, one up and one down: a spectrum leaning by `gain_db` at each end.
fn tilt_pair(gain_db: f64) -> [Biquad; 2] {
    [Biquad::peak(150.0, gain_db, 0.35), Biquad::peak(5_000.0, -gain_db, 0.35)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gain_of(mut filter: Biquad, hz: f64) -> f64 {
        let mut tone: Vec<f64> = (0..32_000).map(|n| (TAU * hz * f64::from(n) / RATE).sin()).collect();
        filter.run(&mut tone);
        (2.0 * power(&tone[16_000..])).sqrt()
    }

    #[test]
    fn filters_have_their_gains_where_they_say() {
        assert!((gain_of(Biquad::peak(1_000.0, 6.0, 2.0), 1_000.0) - decibels(6.0)).abs() < 1e-3);
        assert!((gain_of(Biquad::peak(1_000.0, 6.0, 4.0), 60.0) - 1.0).abs() < 0.02);
        assert!((gain_of(Biquad::high_pass(300.0), 300.0) - 0.7).abs() < 1e-3);
        assert!((gain_of(Biquad::low_pass(4_000.0), 4_000.0) - 0.7).abs() < 1e-3);
        assert!(gain_of(Biquad::high_pass(300.0), 30.0) < 0.02);
    }

    #[test]
    fn blocks_give_the_plain_convolution() {
        let mut draw = Stream::new(1, super::super::Corpus::TextDependent, Purpose::Room, 0, 0);
        let response = tail(0.2, 10.0, &mut draw);
        let speech: Vec<f64> = (0..30_000).map(|n| if n % 4_999 == 7 { 1.0 } else { 0.0 }).collect();
        let mut plain = vec![0.0; speech.len()];
        for (place, _) in speech.iter().enumerate().filter(|(_, x)| **x != 0.0) {
            plain[place..].iter_mut().zip(&response).for_each(|(sum, x)| *sum += x);
        }
        let fast = reverberate(speech, &response);
        for (a, b) in fast.iter().zip(&plain) {
            assert!((a - b).abs() < 1e-12);
        }
    }
}

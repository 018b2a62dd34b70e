//! The vocal tract: six resonators in a row for what starts at the glottis, one beside them for friction, and the lips.

use std::f64::consts::{PI, TAU};

use super::draw::Purpose;
use super::score::{Row, Score};
use super::source::{Glottis, Pulses};
use super::speaker::Speaker;
use super::{RATE_HZ, ROW};

const RATE: f64 = RATE_HZ as f64;
/// A resonance at or above this is moved down to it: it must stay below half the rate.
const HIGHEST_HZ: f64 = 7_700.0;

/// Samples between two settings of the resonators. A formant that jumps once a row (5 ms) can be heard as clicks.
const RETUNED: usize = 16;

/// Two poles, unit gain at 0 Hz.
#[derive(Debug, Clone, Copy, Default)]
struct Resonator {
    gain: f64,
    feedback: [f64; 2],
    past: [f64; 2],
}

impl Resonator {
    /// Moves the resonance; the state stays, so that the sound goes on without a click.
    fn tune(&mut self, centre_hz: f64, bandwidth_hz: f64) -> f64 {
        let radius = (-PI * bandwidth_hz / RATE).exp();
        self.feedback = [2.0 * radius * (TAU * centre_hz.min(HIGHEST_HZ) / RATE).cos(), -radius * radius];
        self.gain = 1.0 - self.feedback[0] - self.feedback[1];
        radius
    }

    fn next(&mut self, x: f64) -> f64 {
        let y = self.gain * x + self.feedback[0] * self.past[0] + self.feedback[1] * self.past[1];
        self.past = [y, self.past[0]];
        y
    }
}

/// Speaks a score: [`ROW`] samples for each of its rows, level and mean as they come.
pub(crate) fn speak(speaker: &Speaker, score: &Score, utterance: u64) -> Vec<f64> {
    let mut draw = speaker.stream(Purpose::Pulses, utterance);
    let open = (speaker.open + speaker.config.take_open * draw.normal()).clamp(0.3, 0.9);
    let tilt_hz = speaker.tilt_hz * draw.factor(speaker.config.take_tilt);
    let glottis = Glottis { open, skew: speaker.skew, jitter: speaker.jitter, shimmer: speaker.shimmer };
    let mut pulses = Pulses::new(glottis, draw);
    let mut breath_noise = speaker.stream(Purpose::Breath, utterance);
    let mut friction_noise = speaker.stream(Purpose::Friction, utterance);

    // The folds do not meet at once: a low-pass stands for the return phase.
    let return_weight = 1.0 - (-TAU * tilt_hz.min(HIGHEST_HZ) / RATE).exp();
    let mut returned = 0.0;
    let mut cascade = [Resonator::default(); 6];
    let mut narrowing = Resonator::default();
    let mut narrowing_past = [0.0; 2];
    let mut lips_past = 0.0;
    let quiet = Row { voice: 0.0, breath: 0.0, friction: 0.0, ..score.rows.first().cloned().unwrap_or_default() };
    let mut before = quiet;
    let mut speech = Vec::with_capacity(score.rows.len() * ROW);
    for row in &score.rows {
        let radius = narrowing.tune(row.friction_hz, row.friction_width_hz);
        narrowing.gain = 1.2 * (1.0 - radius);
        for step in 0..ROW {
            if step % RETUNED == 0 {
                let along = (step + RETUNED / 2) as f64 / ROW as f64;
                for (k, resonator) in cascade.iter_mut().enumerate() {
                    let between = |from_hz: f64, to_hz: f64| from_hz + along * (to_hz - from_hz);
                    let centre_hz = between(before.formants_hz[k], row.formants_hz[k]);
                    resonator.tune(centre_hz, between(before.bandwidth_hz[k], row.bandwidth_hz[k]));
                }
            }
            // Levels go in a straight line from row to row: a jump would click.
            let along = (step as f64 + 0.5) / ROW as f64;
            let between = |from: f64, to: f64| from + along * (to - from);
            let voice = between(before.voice, row.voice);
            let flow = pulses.next(row.pitch_hz / RATE);
            returned += return_weight * (voice * flow.slope - returned);
            let gate = if flow.open { 1.0 } else { 0.25 };
            let breath = between(before.breath, row.breath) + voice * speaker.breath;
            let mut sound = returned + gate * breath * breath_noise.white();
            for resonator in &mut cascade {
                sound = resonator.next(sound);
            }
            let hiss = narrowing.next(between(before.friction, row.friction) * friction_noise.white());
            sound += hiss - narrowing_past[1];
            narrowing_past = [hiss, narrowing_past[0]];
            speech.push(0.5 * sound + 0.5 * (sound - lips_past));
            lips_past = sound;
        }
        before = row.clone();
    }
    speech
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resonator_has_unit_gain_at_0_hz_and_its_peak_at_the_centre() {
        let mut resonator = Resonator::default();
        resonator.tune(1_000.0, 80.0);
        let impulse: Vec<f64> = (0..8_000).map(|n| resonator.next(if n == 0 { 1.0 } else { 0.0 })).collect();
        assert!((impulse.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        let gain_at = |hz: f64| {
            let (mut re, mut im) = (0.0, 0.0);
            for (n, x) in impulse.iter().enumerate() {
                let turn = TAU * hz * n as f64 / RATE;
                re += x * turn.cos();
                im += x * turn.sin();
            }
            re.hypot(im)
        };
        assert!(gain_at(1_000.0) > gain_at(950.0) && gain_at(1_000.0) > gain_at(1_050.0));
        // Half the power, or 0.71 of the gain, half a bandwidth away.
        let edge = gain_at(1_040.0) / gain_at(1_000.0);
        assert!((edge - std::f64::consts::FRAC_1_SQRT_2).abs() < 0.03, "{edge}");
    }
}

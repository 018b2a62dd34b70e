//! The voice box: pulses of air as the derivative of the flow through the glottis, one at a time.

use super::draw::Stream;

/// Shape of the pulses of one recording.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Glottis {
    /// Share of the period during which air flows.
    pub(crate) open: f64,
    /// Share of that time until the flow is greatest.
    pub(crate) skew: f64,
    pub(crate) jitter: f64,
    pub(crate) shimmer: f64,
}

/// The pulse train.
#[derive(Debug)]
pub(crate) struct Pulses {
    glottis: Glottis,
    draw: Stream,
    phase: f64,
    /// Factors on period and amplitude of the current pulse.
    stretch: f64,
    level: f64,
    flow: f64,
}

/// One sample of the pulse train.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flow {
    /// Derivative of the flow by the share of the open time: about -1 just before the folds meet.
    pub(crate) slope: f64,
    /// Whether air flows.
    pub(crate) open: bool,
}

impl Pulses {
    pub(crate) fn new(glottis: Glottis, draw: Stream) -> Self {
        Self { glottis, draw, phase: 1.0, stretch: 1.0, level: 1.0, flow: 0.0 }
    }

    /// The next sample, at `pitch` periods a sample.
    pub(crate) fn next(&mut self, pitch: f64) -> Flow {
        if self.phase >= 1.0 {
            self.phase -= 1.0;
            self.stretch = (1.0 + self.glottis.jitter * self.draw.normal()).clamp(0.5, 2.0);
            self.level = (1.0 + self.glottis.shimmer * self.draw.normal()).clamp(0.0, 2.0);
        }
        let place = self.phase / self.glottis.open;
        let step = pitch / self.stretch;
        self.phase += step;
        // The difference of the flow, not its derivative at a point: the folds meet between two samples, and a jump
        // that is sampled where it happens to fall makes some pulses louder than others.
        let flow = self.level * flow(place, self.glottis.skew);
        let slope = (flow - self.flow) * self.glottis.open / step;
        self.flow = flow;
        Flow { slope, open: place < 1.0 }
    }
}

/// Flow at a place of the open time (0 to 1; none after): half a cosine up to `skew`, a quarter of one down. The scale is
/// such that the slope ends at -1.
fn flow(place: f64, skew: f64) -> f64 {
    use std::f64::consts::{FRAC_1_PI, FRAC_PI_2, PI};
    let half_peak = (1.0 - skew) * FRAC_1_PI;
    if place < skew {
        half_peak * (1.0 - (PI * place / skew).cos())
    } else if place < 1.0 {
        2.0 * half_peak * (FRAC_PI_2 * (place - skew) / (1.0 - skew)).cos()
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::Corpus;
    use super::super::draw::Purpose;
    use super::*;

    #[test]
    fn the_flow_returns_to_zero_after_each_pulse() {
        let glottis = Glottis { open: 0.6, skew: 0.7, jitter: 0.0, shimmer: 0.0 };
        let mut pulses = Pulses::new(glottis, Stream::new(1, Corpus::TextDependent, Purpose::Pulses, 0, 0));
        let period = 10_000;
        let slopes: Vec<f64> = (0..period).map(|_| pulses.next(1.0 / f64::from(period)).slope).collect();
        let area: f64 = slopes.iter().sum();
        assert!(area.abs() < 1.0, "{area} of {period} samples");
        let least = slopes.iter().copied().fold(0.0, f64::min);
        assert!((least + 1.0).abs() < 1e-2, "{least}");
    }

    #[test]
    fn pulses_come_at_the_pitch() {
        let glottis = Glottis { open: 0.6, skew: 0.7, jitter: 0.01, shimmer: 0.05 };
        let mut pulses = Pulses::new(glottis, Stream::new(1, Corpus::TextDependent, Purpose::Pulses, 0, 0));
        let open: Vec<bool> = (0..160_000).map(|_| pulses.next(100.0 / 16_000.0).open).collect();
        let starts = open.windows(2).filter(|pair| !pair[0] && pair[1]).count();
        assert!((990..=1_010).contains(&starts), "{starts} pulses in 10 s at 100 Hz");
    }
}

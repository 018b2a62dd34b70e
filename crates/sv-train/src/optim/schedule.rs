//! Learning rates and margins as functions of the step: no state, so a resumed run needs none.

use std::f64::consts::PI;
use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use super::OptimizerError;
use super::config::{not_negative, positive};

/// The learning rate of each step. Steps are counted from 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields, rename_all = "kebab-case")]
pub enum Schedule {
    /// Always the same.
    Constant {
        /// That rate.
        rate: f64,
    },
    /// `rate` halved after every so many steps (Wan et al. 2018: 0.01, every 30 million).
    Halving {
        /// Of the first steps.
        rate: f64,
        /// Steps between two halvings.
        every: NonZeroU64,
    },
    /// Up and down between two rates (Smith 2017), as SpeechBrain steps it.
    Cyclic {
        /// The lower rate, that of step 0.
        base: f64,
        /// The upper rate, reached at `half_cycle`.
        max: f64,
        /// Steps from one to the other.
        half_cycle: NonZeroU64,
        /// What becomes of the height over time.
        shape: CyclicShape,
        /// Rate of step 0 alone: SpeechBrain runs it at the rate that its optimizer was made with. If not given, `base`.
        #[serde(default)]
        first: Option<f64>,
    },
    /// `k initial (last / initial)^(t / steps)`, where k rises over the warm-up, as WeSpeaker has it.
    ExponentialDecrease {
        /// Rate at the start, above 0.
        initial: f64,
        /// Rate at the end, above 0.
        last: f64,
        /// From the start to the end; later steps keep the last rate.
        steps: NonZeroU64,
        /// Steps in which k rises to `scale`; 0 for none.
        #[serde(default)]
        warm_up: u64,
        /// k after the warm-up (the batch of all workers over 64, where a recipe scales by it).
        #[serde(default = "one")]
        scale: f64,
        /// Where k starts.
        #[serde(default)]
        warm_up_from: WarmUpFrom,
    },
    /// Rises evenly to `rate` over the warm-up, then falls along half a cosine to a share of it.
    Cosine {
        /// The highest rate, that of the last step of the warm-up and of the first after it.
        rate: f64,
        /// Steps of the warm-up, fewer than `steps`; step t of them runs at `rate (t + 1) / warm_up`.
        #[serde(default)]
        warm_up: u64,
        /// Where the share is reached, and kept.
        steps: NonZeroU64,
        /// In `[0, 1]`.
        #[serde(default)]
        share: f64,
    },
    /// Evenly from one rate to another, which is then kept.
    Linear {
        /// Rate of step 0.
        from: f64,
        /// Rate at `steps`.
        to: f64,
        /// From one to the other.
        steps: NonZeroU64,
    },
}

/// What becomes of a cycle's height.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields, rename_all = "kebab-case")]
pub enum CyclicShape {
    /// It stays.
    Triangular {},
    /// It is halved with each cycle.
    Triangular2 {},
    /// At step t it is `gamma^t` of the first.
    ExpRange {
        /// In `(0, 1]`.
        gamma: f64,
    },
}

/// Where a warm-up starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WarmUpFrom {
    /// At the unscaled rate; a scale of 1 or less then has no warm-up.
    #[default]
    Unscaled,
    /// At 0.
    Zero,
}

impl Schedule {
    /// The rate that step `step`, counted from 0, runs at.
    #[must_use]
    pub fn rate(&self, step: u64) -> f64 {
        let t = step as f64;
        match *self {
            Self::Constant { rate } => rate,
            Self::Halving { rate, every } => rate * 0.5_f64.powf((step / every) as f64),
            Self::Cyclic { first: Some(first), .. } if step == 0 => first,
            Self::Cyclic { base, max, half_cycle, ref shape, .. } => {
                let half = half_cycle.get() as f64;
                let cycle = (1.0 + t / (2.0 * half)).floor();
                let height = (1.0 - (t / half - 2.0 * cycle + 1.0).abs()).max(0.0);
                let share = match *shape {
                    CyclicShape::Triangular {} => 1.0,
                    CyclicShape::Triangular2 {} => 0.5_f64.powf(cycle - 1.0),
                    CyclicShape::ExpRange { gamma } => gamma.powf(t),
                };
                base + (max - base) * height * share
            }
            Self::ExponentialDecrease { initial, last, steps, warm_up, scale, warm_up_from } => {
                let rising = t / warm_up as f64;
                let factor = match warm_up_from {
                    _ if step >= warm_up => scale,
                    WarmUpFrom::Zero => scale * rising,
                    WarmUpFrom::Unscaled if scale > 1.0 => 1.0 + (scale - 1.0) * rising,
                    WarmUpFrom::Unscaled => scale,
                };
                factor * initial * (along(step, steps) * (last / initial).ln()).exp()
            }
            Self::Cosine { rate, warm_up, .. } if step < warm_up => rate * (t + 1.0) / warm_up as f64,
            Self::Cosine { rate, warm_up, steps, share } => {
                let falling = steps.get().saturating_sub(warm_up).max(1) as f64;
                let place = ((t - warm_up as f64) / falling).min(1.0);
                rate * (share + (1.0 - share) * 0.5 * (1.0 + (PI * place).cos()))
            }
            Self::Linear { from, to, steps } => from + (to - from) * along(step, steps),
        }
    }

    /// Checks every number.
    ///
    /// # Errors
    /// [`OptimizerError::Option`] for the first that is out of range.
    pub fn check(&self) -> Result<(), OptimizerError> {
        match *self {
            Self::Constant { rate } | Self::Halving { rate, .. } => not_negative("rate", rate),
            Self::Cyclic { base, max, ref shape, first, .. } => {
                not_negative("base", base)?;
                not_negative("max", max)?;
                not_negative("first", first.unwrap_or(base))?;
                match *shape {
                    CyclicShape::ExpRange { gamma } if !(gamma > 0.0 && gamma <= 1.0) => {
                        Err(OptimizerError::Option { option: "gamma", got: gamma, need: "in (0, 1]" })
                    }
                    _ => Ok(()),
                }
            }
            Self::ExponentialDecrease { initial, last, scale, .. } => {
                positive("initial", initial)?;
                positive("last", last)?;
                positive("scale", scale)
            }
            Self::Cosine { rate, warm_up, steps, share } => {
                not_negative("rate", rate)?;
                if warm_up >= steps.get() {
                    return Err(OptimizerError::Option {
                        option: "warm_up",
                        got: warm_up as f64,
                        need: "below `steps`",
                    });
                }
                let fits = (0.0..=1.0).contains(&share);
                fits.then_some(()).ok_or(OptimizerError::Option { option: "share", got: share, need: "in [0, 1]" })
            }
            Self::Linear { from, to, .. } => not_negative("from", from).and_then(|()| not_negative("to", to)),
        }
    }
}

/// The margin of an angular loss at each step: grows from one value to another, as WeSpeaker has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarginSchedule {
    /// Up to the step `start`.
    pub initial: f64,
    /// From the step `end` on.
    pub last: f64,
    /// First step of the growth, counted from 0.
    pub start: u64,
    /// First step after it.
    pub end: u64,
    /// The course between them.
    #[serde(default)]
    pub growth: Growth,
}

/// How a margin grows; x runs from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Growth {
    /// By `1 - (1e-3 / (1 + 1e-6))^x` of the way: fast at first, a thousandth is left for the last step.
    #[default]
    Exponential,
    /// By x of the way.
    Linear,
}

impl MarginSchedule {
    /// The margin of step `step`, counted from 0.
    #[must_use]
    pub fn margin(&self, step: u64) -> f64 {
        if step >= self.end {
            return self.last;
        }
        if step <= self.start {
            return self.initial;
        }
        let x = (step - self.start) as f64 / (self.end - self.start) as f64;
        let way = match self.growth {
            Growth::Exponential => 1.0 - (x * (1e-3_f64 / (1.0 + 1e-6)).ln()).exp(),
            Growth::Linear => x,
        };
        self.initial + (self.last - self.initial) * way
    }

    /// Checks every number.
    ///
    /// # Errors
    /// [`OptimizerError::Option`] for the first that is out of range.
    pub fn check(&self) -> Result<(), OptimizerError> {
        not_negative("initial", self.initial)?;
        not_negative("last", self.last)?;
        let fits = self.start <= self.end;
        fits.then_some(()).ok_or(OptimizerError::Option {
            option: "start",
            got: self.start as f64,
            need: "no later than `end`",
        })
    }
}

/// Share of the way to `steps`, at most 1.
fn along(step: u64, steps: NonZeroU64) -> f64 {
    (step as f64 / steps.get() as f64).min(1.0)
}

fn one() -> f64 {
    1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(got: f64, expected: f64) {
        assert!((got - expected).abs() <= 1e-15, "{got} {expected}");
    }

    #[test]
    fn cosine_rises_to_the_rate_and_falls_to_the_share() {
        let schedule: Schedule =
            toml::from_str("kind = 'cosine'\nrate = 0.4\nwarm_up = 4\nsteps = 12\nshare = 0.1").unwrap();
        schedule.check().unwrap();
        // 0.4 / 4, 2 * 0.4 / 4, ..; then 0.04 + 0.36 * (1 + cos(pi x)) / 2 at x = (t - 4) / 8.
        for (step, rate) in [(0, 0.1), (1, 0.2), (3, 0.4), (4, 0.4), (8, 0.22), (12, 0.04), (1000, 0.04)] {
            near(schedule.rate(step), rate);
        }
    }

    #[test]
    fn linear_and_constant_rates_end_where_they_say() {
        let linear = Schedule::Linear { from: 0.3, to: 0.1, steps: NonZeroU64::new(4).unwrap() };
        for (step, rate) in [(0, 0.3), (1, 0.25), (4, 0.1), (9, 0.1)] {
            near(linear.rate(step), rate);
        }
        near(Schedule::Constant { rate: 0.2 }.rate(u64::MAX), 0.2);
    }

    #[test]
    fn a_misspelt_or_impossible_schedule_is_refused() {
        for (text, word) in [
            ("kind = 'constant'\nrate = 0.1\nsteps = 3", "steps"),
            ("kind = 'halving'\nrate = 0.1\nevery = 0", "nonzero"),
            (
                "kind = 'cyclic'\nbase = 0\nmax = 1\nhalf_cycle = 3\nshape = { kind = 'triangular', gamma = 0.9 }",
                "gamma",
            ),
        ] {
            let error = toml::from_str::<Schedule>(text).expect_err("no schedule").to_string();
            assert!(error.contains(word), "{error}");
        }
        let steps = NonZeroU64::MIN;
        let bad = [
            Schedule::Constant { rate: f64::NAN },
            Schedule::Linear { from: -0.1, to: 0.1, steps },
            Schedule::Cosine { rate: 0.1, warm_up: 1, steps, share: 0.0 },
            Schedule::Cosine { rate: 0.1, warm_up: 0, steps, share: 1.5 },
            Schedule::Cyclic {
                base: 0.0,
                max: 1.0,
                half_cycle: steps,
                shape: CyclicShape::ExpRange { gamma: 0.0 },
                first: None,
            },
        ];
        for schedule in bad {
            assert!(matches!(schedule.check(), Err(OptimizerError::Option { .. })), "{schedule:?}");
        }
        let margin = MarginSchedule { initial: 0.0, last: 0.2, start: 5, end: 4, growth: Growth::Linear };
        assert!(matches!(margin.check(), Err(OptimizerError::Option { option: "start", .. })));
    }
}

//! From values to places along an axis, and the values worth a tick.

use sv_metrics::rates::probit;

/// Larger values than this are drawn here: sums and differences of what is drawn stay finite.
const LARGEST: f64 = 1e36;

/// Where a probit axis puts the rates 0 and 1, far beyond its ends and equally far: a line from one to the other passes 50 %.
const EDGE: f64 = 8.0;

/// Ticks of rates on a probit axis.
const RATES: [f64; 13] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95];

/// An axis: `low < high`, both finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scale {
    /// Equal steps.
    Linear { low: f64, high: f64 },
    /// Equal ratios; both ends positive.
    Log { low: f64, high: f64 },
    /// Rates by the normal distribution; both ends in (0, 1).
    Probit { low: f64, high: f64 },
}

impl Scale {
    /// A linear axis over all finite values, with some air at both ends where it shows, and never empty.
    pub(super) fn over(values: impl IntoIterator<Item = f64>) -> Self {
        let (low, high) = range(values);
        let air = (high - low) * 0.04;
        Self::Linear { low: low - air, high: high + air }
    }

    /// A linear axis from 0 over all finite values.
    pub(super) fn from_zero(values: impl IntoIterator<Item = f64>) -> Self {
        let (_, high) = range(values);
        Self::Linear { low: 0.0, high: if high > 0.0 { high * 1.06 } else { 1.0 } }
    }

    /// A logarithmic axis if all finite values are positive and they span more than a factor of 30, else a linear one.
    pub(super) fn fitting(values: &[f64]) -> Self {
        let (low, high) = range(values.iter().copied());
        let positive = values.iter().filter(|value| value.is_finite()).all(|&value| value > 0.0);
        if positive && low > 0.0 && high / low > 30.0 {
            return Self::Log { low: low / 1.15, high: high * 1.15 };
        }
        Self::over(values.iter().copied())
    }

    /// Where a value lies between the ends, 0 to 1; beyond them for values beyond, within ±1e6.
    pub(super) fn share(&self, value: f64) -> f64 {
        let (at, low, high) = match *self {
            Self::Linear { low, high } => (value, low, high),
            Self::Log { low, high } => (value.max(f64::MIN_POSITIVE).ln(), low.ln(), high.ln()),
            Self::Probit { low, high } => (probit(value).clamp(-EDGE, EDGE), probit(low), probit(high)),
        };
        ((at - low) / (high - low)).clamp(-1e6, 1e6)
    }

    /// Ticks within the ends, and their labels.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        match *self {
            Self::Linear { low, high } => linear_ticks(low, high),
            Self::Log { low, high } => log_ticks(low, high),
            Self::Probit { low, high } => RATES
                .into_iter()
                .filter(|rate| (low..=high).contains(rate))
                // Its label would touch its neighbour's where the axis is long.
                .filter(|&rate| high <= 0.5 || rate != 0.002)
                .map(|rate| (rate, format!("{}", (rate * 1000.0).round() / 10.0)))
                .collect(),
        }
    }

    /// Whether labels stand for powers rather than steps, for the axis' title.
    pub(super) fn is_log(&self) -> bool {
        matches!(self, Self::Log { .. })
    }
}

/// Least and largest of the finite values, apart by something.
fn range(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    let finite = values.into_iter().filter(|value| value.is_finite()).map(|value| value.clamp(-LARGEST, LARGEST));
    let (low, high) =
        finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if low > high {
        return (0.0, 1.0);
    }
    // Values that differ in their last bits only cannot be told apart on paper.
    let least = (low.abs().max(high.abs()) * 1e-9).max(1e-30);
    if high - low > least {
        return (low, high);
    }
    let half = if low == 0.0 { 0.5 } else { low.abs() * 0.1 };
    (low - half, high + half)
}

fn linear_ticks(low: f64, high: f64) -> Vec<(f64, String)> {
    let rough = (high - low) / 6.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = power * [1.0, 2.0, 5.0, 10.0].into_iter().find(|times| times * power >= rough).unwrap_or(10.0);
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    let (first, last) = ((low / step).ceil(), (high / step).floor());
    (0..=(last - first).clamp(0.0, 20.0) as usize)
        .map(|index| {
            let value = (first + index as f64) * step;
            (value, number(value, decimals))
        })
        .collect()
}

fn log_ticks(low: f64, high: f64) -> Vec<(f64, String)> {
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let decades = last - first;
    let digits: &[f64] = if (high / low).log10() <= 3.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let every = (decades / 8).max(1);
    (first..=last)
        .filter(|power| (power - first) % every == 0)
        .flat_map(|power| digits.iter().map(move |digit| (digit * 10_f64.powi(power), power)))
        .filter(|(value, _)| (low..=high).contains(value))
        .map(|(value, power)| (value, number(value, (-power).max(0) as usize)))
        .collect()
}

/// A number with thousands apart; very large and very small ones by their power.
pub(crate) fn number(value: f64, decimals: usize) -> String {
    if decimals > 5 || value.abs() >= 1e8 {
        return format!("{value:.1e}");
    }
    // No minus before nothing.
    let value = if value == 0.0 { 0.0 } else { value };
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), String::new()), |(w, r)| (w, format!(".{r}")));
    grouped(whole) + &rest
}

/// Digits in threes.
pub(crate) fn grouped(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    let mut out = sign.to_string();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(scale: Scale) -> Vec<String> {
        scale.ticks().into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(
            labels(Scale::Linear { low: 0.0, high: 10_000.0 }),
            ["0", "2,000", "4,000", "6,000", "8,000", "10,000"]
        );
        assert_eq!(labels(Scale::Linear { low: -0.5, high: 0.55 }), ["-0.4", "-0.2", "0.0", "0.2", "0.4"]);
        assert_eq!(labels(Scale::Log { low: 0.4, high: 30.0 }), ["0.5", "1", "2", "5", "10", "20"]);
        assert_eq!(
            labels(Scale::Probit { low: 0.0005, high: 0.5 }),
            ["0.1", "0.2", "0.5", "1", "2", "5", "10", "20", "40"]
        );
    }

    #[test]
    fn an_axis_over_nothing_or_one_value_has_two_ends() {
        for values in [vec![], vec![f64::NAN], vec![0.0], vec![3.0; 4], vec![1e300, -1e300], vec![1e-310]] {
            for scale in [Scale::over(values.clone()), Scale::from_zero(values.clone()), Scale::fitting(&values)] {
                let (low, high) = match scale {
                    Scale::Linear { low, high } | Scale::Log { low, high } | Scale::Probit { low, high } => (low, high),
                };
                assert!(low < high && low.is_finite() && high.is_finite(), "{values:?}: {scale:?}");
                assert!(!scale.ticks().is_empty(), "{values:?}: {scale:?}");
            }
        }
    }

    #[test]
    fn half_of_all_is_the_middle_of_a_probit_axis() {
        let scale = Scale::Probit { low: 0.1, high: 0.9 };
        assert!((scale.share(0.5) - 0.5).abs() < 1e-12);
        let (nothing, all) = (scale.share(0.0), scale.share(1.0));
        assert!(nothing < -1.0 && all > 2.0 && (nothing + all - 1.0).abs() < 1e-12, "{nothing} {all}");
        assert!(scale.share(f64::NAN).is_nan());
    }

    proptest! {
        #[test]
        fn ticks_lie_on_the_axis_and_are_few(values in prop::collection::vec(prop::num::f64::ANY, 0..20)) {
            for scale in [Scale::over(values.clone()), Scale::fitting(&values)] {
                let ticks = scale.ticks();
                prop_assert!(ticks.len() <= 21);
                for (value, _) in ticks {
                    prop_assert!((-0.01..=1.01).contains(&scale.share(value)), "{scale:?} {value}");
                }
            }
        }
    }
}

//! Which rules apply to which parameters.

use super::{GroupRule, OptimizerError};

/// The product of all rules that match a parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Factors {
    pub(super) rate: f64,
    pub(super) weight_decay: f64,
    pub(super) before_clip: f64,
    pub(super) after_clip: f64,
    pub(super) frozen: bool,
}

/// The factors of each name, in order.
///
/// # Errors
/// [`OptimizerError::Rule`] for a rule that matches nothing.
pub(super) fn factors(rules: &[GroupRule], names: &[&str]) -> Result<Vec<Factors>, OptimizerError> {
    let plain = Factors { rate: 1.0, weight_decay: 1.0, before_clip: 1.0, after_clip: 1.0, frozen: false };
    let mut all = vec![plain; names.len()];
    for rule in rules {
        let mut matched = false;
        for (factors, _) in all.iter_mut().zip(names).filter(|(_, name)| matches(&rule.names, name)) {
            matched = true;
            factors.rate *= rule.rate;
            factors.weight_decay *= rule.weight_decay;
            factors.before_clip *= rule.gradient_scale;
            factors.after_clip *= rule.clipped_gradient_scale;
            factors.frozen |= rule.frozen;
        }
        if !matched {
            let names = names.iter().map(ToString::to_string).collect();
            return Err(OptimizerError::Rule { pattern: rule.names.clone(), names });
        }
    }
    Ok(all)
}

/// Whether `pattern`, in which `*` stands for any run of characters, covers the whole of `name`.
fn matches(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    // The first piece has to start the name, the last to end it; those between are found from left to right.
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = pieces.next_back() else { return rest.is_empty() };
    for piece in pieces {
        let Some(place) = rest.find(piece) else { return false };
        rest = &rest[place + piece.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        let yes = [("a.b", "a.b"), ("*", ""), ("*", "a.b"), ("a.*", "a.b.c"), ("*.c", "a.b.c"), ("a*c", "ac")];
        let also = [("lstm.*.weight_hr", "lstm.0.weight_hr"), ("*b*b*", "abcb"), ("a**c", "abc"), ("*ab", "aab")];
        for (pattern, name) in yes.into_iter().chain(also) {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("a", "ab"), ("a", "ba"), ("a*a", "a"), ("*b", "ba"), ("*b*b*", "abc"), ("", "a")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn factors_of_all_matching_rules_are_multiplied() {
        let halved = GroupRule { gradient_scale: 0.5, ..GroupRule::new("lstm.*.weight_hr") };
        let slow = GroupRule { rate: 0.1, weight_decay: 0.0, gradient_scale: 0.5, ..GroupRule::new("lstm.*") };
        let still = GroupRule { frozen: true, ..GroupRule::new("*.bias") };
        let factors = factors(&[halved, slow, still], &["lstm.0.weight_hr", "lstm.0.bias", "ge2e.w"]).unwrap();
        assert_eq!((factors[0].before_clip, factors[0].rate, factors[0].frozen), (0.25, 0.1, false));
        assert_eq!((factors[1].before_clip, factors[1].weight_decay, factors[1].frozen), (0.5, 0.0, true));
        assert_eq!((factors[2].before_clip, factors[2].rate, factors[2].after_clip), (1.0, 1.0, 1.0));
    }
}

//! Flags of a detector, smoothed and widened as Resemblyzer does.

/// Majority of `width` flags around each one: true where more than half of them are.
///
/// The window reaches `(width - 1) / 2` flags back and `width / 2` ahead; beyond the ends are silent ones. Exactly half
/// is not enough: the original rounds the mean half to even, and 0.5 becomes 0. A width of 0 counts as 1.
///
/// # Source
/// Resemblyzer, `audio.py: trim_long_silences`, width 8.
#[must_use]
pub fn majority(flags: &[bool], width: usize) -> Vec<bool> {
    let width = width.max(1);
    let mut voiced = around(flags, (width - 1) / 2, width / 2);
    flags.iter().map(|_| voiced.next().is_some_and(|count| count > width / 2)).collect()
}

/// Widens each true stretch: a flag becomes true if one of the `dilate + 1` flags around it is.
///
/// An even `dilate` widens by half of it on both sides; an odd one by one more at the front than at the end.
///
/// # Source
/// Resemblyzer, as above: `scipy.ndimage.binary_dilation` with `max_silence_length + 1` ones, 6 + 1.
#[must_use]
pub fn widen(flags: &[bool], dilate: usize) -> Vec<bool> {
    around(flags, dilate / 2, dilate - dilate / 2).map(|count| count > 0).collect()
}

/// For each flag, how many are true from `back` before it to `ahead` after it.
fn around(flags: &[bool], back: usize, ahead: usize) -> impl Iterator<Item = usize> {
    let mut before = Vec::with_capacity(flags.len() + 1);
    before.push(0);
    for &flag in flags {
        before.push(before[before.len() - 1] + usize::from(flag));
    }
    let n = flags.len();
    (0..n).map(move |i| before[i.saturating_add(ahead).saturating_add(1).min(n)] - before[i.saturating_sub(back)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(text: &str) -> Vec<bool> {
        text.chars().map(|c| c == '1').collect()
    }

    #[test]
    fn exactly_half_of_the_window_is_silence() {
        // Eight flags around index i are i-3 ..= i+4. Four ones in a row never make five of eight.
        assert_eq!(majority(&flags("0000111100000"), 8), flags("0000000000000"));
        // Five ones at 4..9: windows that hold all five start at 1..=4, so i is 4..=7... and 9 - 4 - 1 = 4 is the first.
        assert_eq!(majority(&flags("0000111110000"), 8), flags("0000111100000"));
    }

    #[test]
    fn widening_by_six_reaches_three_on_both_sides() {
        assert_eq!(widen(&flags("00000100000"), 6), flags("00111111100"));
        assert_eq!(widen(&flags("100000000"), 6), flags("111100000"));
    }

    #[test]
    fn widening_by_an_odd_number_reaches_further_to_the_front() {
        assert_eq!(widen(&flags("000010000"), 1), flags("000110000"));
        assert_eq!(widen(&flags("000010000"), 3), flags("001111000"));
    }

    #[test]
    fn widths_beyond_all_flags_are_no_overflow() {
        assert_eq!(widen(&flags("0010"), usize::MAX), flags("1111"));
        assert_eq!(majority(&flags("1111"), usize::MAX), flags("0000"));
        assert_eq!(majority(&flags("101"), 0), flags("101"));
        assert!(majority(&[], 8).is_empty() && widen(&[], 6).is_empty());
    }
}

//! librosa's `effects.split` and `effects.trim`: what is less than `top_db` below the loudest frame.
//!
//! Equal to librosa 0.11 at its defaults: RMS of 2,048 samples every 512, centred, zeros beyond both ends.

use std::ops::Range;

/// Samples of which one level is taken.
pub const FRAME: usize = 2048;
/// Samples from one frame to the next.
pub const HOP: usize = 512;
/// Smallest amplitude that is told from silence; everything below counts as this.
const SMALLEST: f64 = 1e-5;

/// Level of each frame in dB relative to the loudest frame: at most 0, one value per [`HOP`] samples and one more.
///
/// Digital silence gives zeros, as in librosa: every frame is as loud as the loudest.
#[must_use]
pub fn rms_db(samples: &[f32]) -> Vec<f64> {
    // A frame is four hops long and centred on the start of a hop: two hops before, two after.
    const HOPS: usize = FRAME / HOP;
    let energies: Vec<f64> =
        samples.chunks(HOP).map(|hop| hop.iter().map(|&x| f64::from(x) * f64::from(x)).sum()).collect();
    let frames = 1 + samples.len() / HOP;
    let power = |frame: usize| {
        let hops = frame.saturating_sub(HOPS / 2)..(frame + HOPS / 2).min(energies.len());
        let mean = energies[hops].iter().sum::<f64>() / FRAME as f64;
        10.0 * mean.max(SMALLEST * SMALLEST).log10()
    };
    let mut levels: Vec<f64> = (0..frames).map(power).collect();
    let loudest = levels.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    for level in &mut levels {
        *level -= loudest;
    }
    levels
}

/// The stretches of `samples` whose frames are less than `top_db` below the loudest: sorted, disjoint, never empty.
///
/// Bounds are multiples of [`HOP`], clipped to the number of samples. Nothing is left out of digital silence (see
/// [`rms_db`]); a `top_db` of zero or less, or NaN, keeps nothing.
///
/// # Source
/// librosa 0.11, `effects.split` with its defaults, but for intervals of no samples, which librosa may list at the end.
#[must_use]
pub fn split(samples: &[f32], top_db: f64) -> Vec<Range<usize>> {
    let levels = rms_db(samples);
    super::runs(levels.iter().map(|&level| level > -top_db))
        .map(|frames| (frames.start * HOP).min(samples.len())..(frames.end * HOP).min(samples.len()))
        .filter(|range| !range.is_empty())
        .collect()
}

/// From the first to the last stretch of [`split`]; `0..0` if there is none.
///
/// # Source
/// librosa 0.11, `effects.trim` with its defaults.
#[must_use]
pub fn trim(samples: &[f32], top_db: f64) -> Range<usize> {
    let stretches = split(samples, top_db);
    match (stretches.first(), stretches.last()) {
        (Some(first), Some(last)) => first.start..last.end,
        _ => 0..0,
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "lists of one range are what is expected")]
mod tests {
    use super::*;

    #[test]
    fn the_loud_middle_is_kept_with_the_frames_that_touch_it() {
        // Samples 5120..7680 are 1. Frame k covers 512k - 1024 .. 512k + 1024, so frames 9 to 16 hold at least a
        // quarter of it, 6 dB below the whole ones; frames 8 and 17 only touch it.
        let mut samples = vec![0.0; 20_000];
        samples[5120..7680].fill(1.0);
        assert_eq!(split(&samples, 20.0), [9 * 512..17 * 512]);
        assert_eq!(trim(&samples, 20.0), 9 * 512..17 * 512);
        // At 3 dB only frames with more than half: k from 11 to 14.
        assert_eq!(split(&samples, 3.0), [11 * 512..15 * 512]);
    }

    #[test]
    fn digital_silence_is_kept_whole_as_librosa_does() {
        assert_eq!(split(&[0.0; 1000], 20.0), [0..1000]);
        assert_eq!(rms_db(&[0.0; 1000]), [0.0, 0.0]);
    }

    #[test]
    fn no_samples_give_no_stretch() {
        assert!(split(&[], 20.0).is_empty());
        assert_eq!(trim(&[], 20.0), 0..0);
    }

    #[test]
    fn a_threshold_of_zero_or_nan_keeps_nothing() {
        for top_db in [0.0, -3.0, f64::NAN] {
            assert!(split(&[0.5; 3000], top_db).is_empty());
            assert_eq!(trim(&[0.5; 3000], top_db), 0..0);
        }
    }
}

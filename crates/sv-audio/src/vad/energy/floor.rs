//! The noise floor: a low percentile of the levels around each cell.

use crate::vad::smoothing::widen;

/// Share of cells that are taken to be noise only: speech leaves more gaps than that within a few seconds.
const QUIET_SHARE: f64 = 0.1;
/// Cells from one estimate to the next.
const EVERY: usize = 10;
/// Of the cells at or below the silent level, those within so many of a louder one are counted. Enough that the gaps of
/// gated or synthesised speech are gaps, too few to hide the noise of a recording that was padded with zeros.
const BESIDE: usize = 20;
/// Levels are counted in bins of half a decibel from -120 dBFS to +40.
const BINS: usize = 320;

/// The tenth percentile, in dBFS, of the levels within `span` cells, centred on each cell.
///
/// Long stretches at or below `silent_db` are left out: what an editor put there says nothing about a recording's noise.
/// Where there is nothing else, the floor is `silent_db`.
pub(super) fn around(levels_db: &[f64], silent_db: f64, span: usize) -> impl Iterator<Item = f64> {
    let half = (span / 2).max(1);
    let n = levels_db.len();
    let heard: Vec<bool> = levels_db.iter().map(|&level| level > silent_db).collect();
    let counted = widen(&heard, 2 * BESIDE);
    let mut counts = Counts::default();
    let (mut from, mut to) = (0, 0);
    let mut floors = Vec::with_capacity(n.div_ceil(EVERY));
    for centre in (EVERY / 2..n.saturating_add(EVERY / 2)).step_by(EVERY) {
        // At the ends the span moves inward: the first cells deserve as many neighbours as the others.
        let start = centre.saturating_sub(half).min(n.saturating_sub(2 * half));
        let stop = (start + 2 * half).min(n);
        (to..stop).filter(|&cell| counted[cell]).for_each(|cell| counts.add(levels_db[cell]));
        (from..start).filter(|&cell| counted[cell]).for_each(|cell| counts.remove(levels_db[cell]));
        (from, to) = (start, stop);
        floors.push(counts.quiet().map_or(silent_db, |db| db.max(silent_db)));
    }
    (0..n).map(move |cell| floors[cell / EVERY])
}

struct Counts {
    bins: [u32; BINS],
    total: u32,
}

impl Default for Counts {
    fn default() -> Self {
        Self { bins: [0; BINS], total: 0 }
    }
}

impl Counts {
    fn bin(level_db: f64) -> usize {
        // The cast saturates: whatever is below the first bin counts there.
        (((level_db + 120.0) * 2.0) as usize).min(BINS - 1)
    }

    fn add(&mut self, level_db: f64) {
        self.bins[Self::bin(level_db)] += 1;
        self.total += 1;
    }

    fn remove(&mut self, level_db: f64) {
        self.bins[Self::bin(level_db)] -= 1;
        self.total -= 1;
    }

    /// The tenth percentile: the middle of its bin, `None` if nothing was counted.
    fn quiet(&self) -> Option<f64> {
        let rank = (f64::from(self.total) * QUIET_SHARE) as u32;
        let mut below = 0;
        let bin = self.bins.iter().position(|&count| {
            below += count;
            below > rank
        });
        bin.map(|bin| (bin as f64 + 0.5) / 2.0 - 120.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_level_is_its_own_floor() {
        let floors: Vec<f64> = around(&[-40.0; 1000], -75.0, 400).collect();
        assert_eq!(floors.len(), 1000);
        assert!(floors.iter().all(|floor| (floor + 40.0).abs() <= 0.5), "{floors:?}");
    }

    #[test]
    fn a_tenth_of_quiet_cells_sets_the_floor() {
        // Every seventh cell at -60, the others at -20: a seventh is more than a tenth.
        let levels: Vec<f64> = (0..700).map(|i| if i % 7 == 0 { -60.0 } else { -20.0 }).collect();
        assert!(around(&levels, -75.0, 400).all(|floor| (floor + 60.0).abs() <= 0.5));
    }

    #[test]
    fn long_digital_silence_is_no_noise_floor_unless_it_is_all_there_is() {
        let levels: Vec<f64> = (0..600).map(|i| if i < 300 { -120.0 } else { -50.0 }).collect();
        assert!(around(&levels, -75.0, 400).skip(300).all(|floor| (floor + 50.0).abs() <= 0.5));
        assert!(around(&[-120.0; 30], -75.0, 400).all(|floor| floor == -75.0));
        assert_eq!(around(&[], -75.0, 400).count(), 0);
    }

    #[test]
    fn short_digital_silence_is_the_gap_of_gated_speech() {
        let levels: Vec<f64> = (0..400).map(|i| if i % 40 < 20 { -120.0 } else { -20.0 }).collect();
        assert!(around(&levels, -75.0, 400).all(|floor| floor == -75.0));
        // A word in the middle of nothing is no noise either.
        let levels: Vec<f64> = (0..400).map(|i| if (200..240).contains(&i) { -20.0 } else { -120.0 }).collect();
        assert!(around(&levels, -75.0, 400).all(|floor| floor == -75.0));
    }

    #[test]
    fn the_floor_follows_noise_that_grows() {
        let levels: Vec<f64> = (0..2000).map(|i| if i < 1000 { -60.0 } else { -30.0 }).collect();
        let floors: Vec<f64> = around(&levels, -75.0, 400).collect();
        assert!((floors[0] + 60.0).abs() <= 0.5 && (floors[1999] + 30.0).abs() <= 0.5);
    }
}

//! Our detector: speech is what stands out, in the band of voices, from the noise around it.
//!
//! Per cell of 10 ms the level of the band 150 to 4,000 Hz, over three cells. A cell is speech if it is `margin_db`
//! above the noise floor of the seconds around it, no more than `range_db` below the loudest part of the recording, and
//! above `floor_dbfs`. Runs that are too short are dropped, pauses that are too short closed, what remains is widened.
//!
//! What never varies is not speech: a constant offset has no level in the band, and steady hum, tones or noise are their
//! own noise floor. The price: a sound that holds one level throughout, such as a lone sustained vowel, is not found.
//! `docs/vad.md` has what it finds and misses on recordings, beside WebRTC's.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{runs, setting};
use crate::{AudioError, Waveform};

mod band;
mod floor;

/// Cells per second; a cell is the resolution of the answer.
const CELLS_PER_SECOND: u32 = 100;
const CELL_MS: u32 = 1000 / CELLS_PER_SECOND;
/// Longest time that a constant may span.
const MAX_MS: u32 = 60_000;

/// The constants of our detector.
///
/// Chosen on clean and noisy speech as `docs/vad.md` describes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnergyVad {
    /// Speech is at least so many dB above the noise floor around it.
    pub margin_db: f64,
    /// Speech is at most so many dB below the loudest 50 ms of the recording.
    pub range_db: f64,
    /// Speech is louder than this in any case: dither and faint electrical noise are below.
    pub floor_dbfs: f64,
    /// Stretch of recording around a cell whose quiet tenth is the noise floor there.
    pub noise_ms: u32,
    /// Shorter runs are clicks and knocks.
    pub min_speech_ms: u32,
    /// Shorter pauses are part of speech.
    pub min_pause_ms: u32,
    /// By how much each stretch of speech is widened on both sides, for the faint beginnings and ends of words.
    pub hangover_ms: u32,
}

impl Default for EnergyVad {
    fn default() -> Self {
        Self {
            margin_db: 5.0,
            range_db: 40.0,
            floor_dbfs: -75.0,
            noise_ms: 4000,
            min_speech_ms: 60,
            min_pause_ms: 200,
            hangover_ms: 100,
        }
    }
}

impl EnergyVad {
    /// Checks the constants.
    ///
    /// # Errors
    /// [`AudioError::Setting`] names the first that is out of its range.
    pub fn validate(&self) -> Result<(), AudioError> {
        let Self { margin_db, range_db, floor_dbfs, noise_ms, min_speech_ms, min_pause_ms, hangover_ms } = *self;
        // Ranges are tested so that NaN fails.
        if !(1.0..=60.0).contains(&margin_db) {
            return Err(setting("vad.margin_db", margin_db, "from 1 to 60 dB"));
        }
        if !(1.0..=200.0).contains(&range_db) {
            return Err(setting("vad.range_db", range_db, "from 1 to 200 dB"));
        }
        if !(-120.0..=0.0).contains(&floor_dbfs) {
            return Err(setting("vad.floor_dbfs", floor_dbfs, "from -120 to 0 dBFS"));
        }
        if !(100..=MAX_MS).contains(&noise_ms) {
            return Err(setting("vad.noise_ms", noise_ms, "from 100 to 60000 ms"));
        }
        let times = [
            ("vad.min_speech_ms", min_speech_ms),
            ("vad.min_pause_ms", min_pause_ms),
            ("vad.hangover_ms", hangover_ms),
        ];
        match times.into_iter().find(|&(_, ms)| ms > MAX_MS) {
            Some((name, ms)) => Err(setting(name, ms, "at most 60000 ms")),
            None => Ok(()),
        }
    }

    /// The stretches of speech, in samples: sorted, disjoint, never empty, within the recording.
    ///
    /// # Errors
    /// As [`Self::validate`].
    pub fn segments(&self, wave: &Waveform) -> Result<Vec<Range<usize>>, AudioError> {
        self.validate()?;
        let cell = (wave.rate_hz() / CELLS_PER_SECOND) as usize;
        let flags = self.flags(&band::levels_db(wave.samples(), wave.rate_hz(), cell));
        let stretches = runs(flags.into_iter());
        Ok(stretches.map(|run| run.start * cell..(run.end * cell).min(wave.len())).collect())
    }

    /// Speech or not, for each cell of these levels.
    fn flags(&self, levels_db: &[f64]) -> Vec<bool> {
        let mut flags = vec![false; levels_db.len()];
        let least = (loudest_db(levels_db) - self.range_db).max(self.floor_dbfs);
        let floors = floor::around(levels_db, self.floor_dbfs, cells(self.noise_ms));
        let raw: Vec<bool> =
            levels_db.iter().zip(floors).map(|(&level, floor)| level > least.max(floor + self.margin_db)).collect();
        // A click of one cell raises the level of three: a run of those is as short as one cell.
        let shortest = cells(self.min_speech_ms);
        let mut last_end: Option<usize> = None;
        for run in runs(raw.into_iter()).filter(|run| run.len() >= shortest) {
            let from = match last_end {
                Some(end) if run.start - end < cells(self.min_pause_ms) => end,
                _ => run.start.saturating_sub(cells(self.hangover_ms)),
            };
            let to = (run.end + cells(self.hangover_ms)).min(flags.len());
            flags[from..to].fill(true);
            last_end = Some(run.end);
        }
        flags
    }
}

fn cells(ms: u32) -> usize {
    ms.div_ceil(CELL_MS) as usize
}

/// Level of the loudest five cells: the highest of the medians of five, so that a click is not taken for it.
fn loudest_db(levels_db: &[f64]) -> f64 {
    let medians = levels_db.windows(5).map(|five| {
        let mut five: [f64; 5] = std::array::from_fn(|i| five[i]);
        five.sort_by(f64::total_cmp);
        five[2]
    });
    medians.fold(f64::NEG_INFINITY, f64::max)
}

#[cfg(test)]
mod tests;

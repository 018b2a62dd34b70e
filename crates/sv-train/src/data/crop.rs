//! Which frames of a piece make a row.

use std::ops::Range;

use super::{CropConfig, TakeFrom};
use crate::{Purpose, Stream};

/// Item of the stream that a step's rows share.
const ALL_ROWS: u64 = 1 << 32;

impl CropConfig {
    /// Frames of all rows of a step.
    pub(super) fn length(&self, seed: u64, step: u64) -> usize {
        let [least, most] = self.frames;
        least + Stream::new(seed, Purpose::Crop, step, ALL_ROWS).below(most - least + 1)
    }

    /// The frames that a row takes of a piece of `have`: `length` of them, or all if there are fewer.
    pub(super) fn place(&self, seed: u64, step: u64, row: usize, have: usize, length: usize) -> Range<usize> {
        let spare = have.saturating_sub(length);
        let start = match self.from {
            TakeFrom::Start => 0,
            TakeFrom::End => spare,
            TakeFrom::Random => Stream::new(seed, Purpose::Crop, step, row as u64).below(spare + 1),
        };
        start..(start + length).min(have)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::CropEdges;
    use std::collections::BTreeSet;

    #[test]
    fn lengths_reach_both_bounds_and_places_both_ends() {
        let crop = CropConfig { frames: [3, 5], from: TakeFrom::Random, edges: CropEdges::Recording };
        let lengths: BTreeSet<usize> = (0..100).map(|step| crop.length(1, step)).collect();
        assert_eq!(lengths, BTreeSet::from([3, 4, 5]));
        let starts: BTreeSet<usize> = (0..100).map(|row| crop.place(1, 0, row, 6, 4).start).collect();
        assert_eq!(starts, BTreeSet::from([0, 1, 2]));
    }

    #[test]
    fn crops_start_or_end_with_the_piece_and_never_leave_it() {
        let [start, end] = [TakeFrom::Start, TakeFrom::End].map(|from| CropConfig {
            frames: [4, 4],
            from,
            edges: CropEdges::Recording,
        });
        assert_eq!((start.place(1, 0, 0, 9, 4), end.place(1, 0, 0, 9, 4)), (0..4, 5..9));
        assert_eq!((start.place(1, 0, 0, 3, 4), end.place(1, 0, 0, 3, 4)), (0..3, 0..3));
    }
}

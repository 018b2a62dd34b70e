//! Some lines of an image and the zeros around them.

use crate::buffer::Buffer;

/// Lines without gaps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strip<'a> {
    pub(super) values: &'a [f32],
    /// Values of a line.
    pub(super) line: usize,
}

/// `lines` lines of `columns` bins of `image` (frames, bins, channels) from the frame and bin `from` on; zeros where they lie
/// outside of it, and `slack` values of any kind behind them. Copied into `buffer`, unless they stand together as they are.
pub(super) fn strip<'a>(
    buffer: &'a mut Buffer,
    (image, [frames, bins, channels]): (&'a [f32], [usize; 3]),
    [first, left]: [isize; 2],
    [lines, columns]: [usize; 2],
    slack: usize,
) -> Strip<'a> {
    let line = bins * channels;
    let (start, needed) = (first.max(0) as usize * line, lines.saturating_sub(1) * line + columns * channels + slack);
    let inside = |from: isize, count: usize, size: usize| from >= 0 && from as usize + count <= size;
    if left == 0 && inside(first, lines, frames) && columns <= bins && start + needed <= image.len() {
        return Strip { values: &image[start..], line };
    }
    let wide = columns * channels;
    // Zeros before the line, values of the line, and where they begin in it.
    let before = ((-left).max(0) as usize).min(columns);
    let skipped = left.max(0) as usize;
    let copied = (columns - before).min(bins.saturating_sub(skipped));
    let values = buffer.at_least(lines * wide + slack);
    for (index, to) in values[..lines * wide].chunks_exact_mut(wide).enumerate() {
        let frame = first + index as isize;
        if frame < 0 || frame as usize >= frames {
            to.fill(0.0);
            continue;
        }
        let (zeros, rest) = to.split_at_mut(before * channels);
        let (own, after) = rest.split_at_mut(copied * channels);
        zeros.fill(0.0);
        own.copy_from_slice(&image[frame as usize * line + skipped * channels..][..copied * channels]);
        after.fill(0.0);
    }
    Strip { values, line: wide }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_outside_is_zero_and_what_lies_inside_is_not_copied() {
        // Two frames of three bins.
        let image = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let mut buffer = Buffer::default();
        let around = strip(&mut buffer, (&image, [2, 3, 1]), [-1, -1], [4, 5], 0);
        assert_eq!(around.line, 5);
        #[rustfmt::skip]
        assert_eq!(around.values, [
            0.0, 0.0, 0.0, 0.0, 0.0,
            0.0, 1.0, 2.0, 3.0, 0.0,
            0.0, 4.0, 5.0, 6.0, 0.0,
            0.0, 0.0, 0.0, 0.0, 0.0,
        ]);
        let inside = strip(&mut buffer, (&image, [2, 3, 1]), [1, 0], [1, 2], 0);
        assert_eq!((inside.line, inside.values), (3, &image[3..]));
        // Not with values behind that are not there.
        let copied = strip(&mut buffer, (&image, [2, 3, 1]), [1, 1], [1, 1], 4);
        assert_eq!((copied.line, copied.values[0]), (1, 5.0));
        let beyond = strip(&mut buffer, (&image, [2, 3, 1]), [0, 4], [1, 2], 0);
        assert_eq!(beyond.values[..2], [0.0, 0.0]);
    }
}

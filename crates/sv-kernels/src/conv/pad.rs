//! Padding of a signal in time, written around it where it stands.

use crate::error::KernelError;

use super::RowsMut;

/// What stands before the first and after the last frame of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// Zeros.
    Zero,
    /// The signal mirrored at its first and last frame, which are not repeated.
    Reflect,
}

/// Writes `before` and `after` frames of padding around `frames` frames of `columns` values, which stand behind the first
/// `before` rows of `signal`.
///
/// # Errors
/// [`KernelError::Rows`] if `signal` does not hold `before + frames + after` rows, [`KernelError::Reflection`] if there are
/// not more frames than are mirrored.
pub fn pad(
    padding: Padding,
    signal: RowsMut<'_>,
    columns: usize,
    [before, frames, after]: [usize; 3],
) -> Result<(), KernelError> {
    let rows = before.saturating_add(frames).saturating_add(after);
    signal.check("signal with its padding", rows, columns)?;
    let RowsMut { values, stride } = signal;
    match padding {
        Padding::Zero => {
            for row in (0..before).chain(before + frames..rows) {
                values[row * stride..][..columns].fill(0.0);
            }
        }
        Padding::Reflect => {
            if before.max(after) >= frames && before.max(after) > 0 {
                return Err(KernelError::Reflection { frames, padding: before.max(after) });
            }
            let mut copy =
                |from: usize, to: usize| values.copy_within(from * stride..from * stride + columns, to * stride);
            for distance in 1..=before {
                copy(before + distance, before - distance);
            }
            for distance in 1..=after {
                copy(before + frames - 1 - distance, before + frames - 1 + distance);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_mirrored_at_its_ends_without_repeating_them() {
        let mut signal = [9.0, 9.0, 1.0, 2.0, 3.0, 9.0];
        pad(Padding::Reflect, RowsMut::new(&mut signal, 1), 1, [2, 3, 1]).unwrap();
        assert_eq!(signal, [3.0, 2.0, 1.0, 2.0, 3.0, 2.0]);
        pad(Padding::Zero, RowsMut::new(&mut signal, 1), 1, [2, 3, 1]).unwrap();
        assert_eq!(signal, [0.0, 0.0, 1.0, 2.0, 3.0, 0.0]);
    }

    #[test]
    fn a_signal_no_longer_than_its_reflection_is_refused() {
        let mut signal = [0.0; 6];
        let short = pad(Padding::Reflect, RowsMut::new(&mut signal, 1), 1, [2, 2, 2]);
        assert_eq!(short, Err(KernelError::Reflection { frames: 2, padding: 2 }));
        assert!(pad(Padding::Zero, RowsMut::new(&mut signal, 1), 1, [2, 3, 2]).is_err());
        assert!(pad(Padding::Reflect, RowsMut::new(&mut signal, 1), 1, [0, 0, 0]).is_ok());
    }
}

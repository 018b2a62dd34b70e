//! Hard negatives among all speakers: the bases most alike an embedding, found without sorting.

use std::cmp::Ordering;

use candle_core::{DType, Tensor};
use sv_kernels::ops;

use crate::{Labels, LossError};

/// `sum_i sum_{h in H_i} ln(1 + exp(cos(W_h, e_i) - cos(W_{y_i}, e_i)))`, a scalar, of unit rows `embeddings` (B, D) and
/// `bases` (S, D); labels, and that `negatives` is in 1..S, are checked by the caller.
pub(super) fn of_unit(
    embeddings: &Tensor,
    bases: &Tensor,
    labels: &Labels,
    negatives: usize,
) -> Result<Tensor, LossError> {
    // All cosines are needed to choose, but only the chosen ones carry a gradient: those are taken again from their bases, so
    // that the backward pass costs B H D, not B S D.
    let cosines = ops::linear(&embeddings.detach(), &bases.detach(), None)?;
    let chosen = hardest(&cosines, labels, negatives)?;
    let own_first = labels.speakers().iter().zip(chosen.chunks(negatives));
    let places: Vec<u32> =
        own_first.flat_map(|(&own, others)| std::iter::once(own).chain(others.iter().copied())).collect();
    let cosines = ops::chosen_products(embeddings, bases, &places)?;
    let (own, others) = (cosines.narrow(1, 0, 1)?, cosines.narrow(1, 1, negatives)?);
    // The exponent is in [-2, 2].
    Ok((others.broadcast_sub(&own)?.exp()? + 1.0)?.log()?.sum_all()?)
}

/// For each row of `cosines` (B, S) the `count` classes other than its own with the largest entries, in ascending order, row
/// after row; of equal entries the lower class.
fn hardest(cosines: &Tensor, labels: &Labels, count: usize) -> Result<Vec<u32>, LossError> {
    let (_, classes) = cosines.dims2()?;
    let values = cosines.flatten_all()?;
    let owns = labels.speakers().iter();
    Ok(match values.dtype() {
        DType::F64 => {
            let values = values.to_vec1::<f64>()?;
            values.chunks(classes).zip(owns).flat_map(|(row, &own)| largest(row, own, count)).collect()
        }
        _ => {
            let values = values.to_dtype(DType::F32)?.to_vec1::<f32>()?;
            values.chunks(classes).zip(owns).flat_map(|(row, &own)| largest(row, own, count)).collect()
        }
    })
}

/// The `count` places of the largest values but `own`, ascending; of equal values the earlier. What is not a number is larger
/// than all: it must reach the loss.
fn largest<T: Copy + PartialOrd>(values: &[T], own: u32, count: usize) -> Vec<u32> {
    let before = |a: &(T, u32), b: &(T, u32)| {
        let not_a_number = |value: T| value.partial_cmp(&value).is_none();
        let unordered = || not_a_number(b.0).cmp(&not_a_number(a.0));
        b.0.partial_cmp(&a.0).unwrap_or_else(unordered).then(a.1.cmp(&b.1))
    };
    // Values that could still be among the largest: of twice the number wanted the better half is kept, whose last value then
    // bars the way. Most values meet the bar alone.
    let mut kept: Vec<(T, u32)> = Vec::with_capacity(2 * count);
    let mut bar = None;
    for (place, &value) in values.iter().enumerate() {
        let place = place as u32;
        // An equal value further on comes after: strictly larger ones only.
        if place == own || bar.is_some_and(|bar| value.partial_cmp(&bar).is_some_and(Ordering::is_le)) {
            continue;
        }
        kept.push((value, place));
        if kept.len() == 2 * count {
            kept.select_nth_unstable_by(count - 1, before);
            kept.truncate(count);
            bar = kept.last().map(|last| last.0);
        }
    }
    if kept.len() > count {
        kept.select_nth_unstable_by(count - 1, before);
        kept.truncate(count);
    }
    let mut places: Vec<u32> = kept.into_iter().map(|(_, place)| place).collect();
    places.sort_unstable();
    places
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_largest_but_ones_own_are_taken_and_of_equal_ones_the_first() {
        let values = [0.5, 0.9, 0.5, 0.1, 0.9, 0.5_f32];
        assert_eq!(largest(&values, 1, 1), [4]);
        assert_eq!(largest(&values, 3, 3), [0, 1, 4]);
        assert_eq!(largest(&values, 0, 3), [1, 2, 4]);
        assert_eq!(largest(&values, 0, 5), [1, 2, 3, 4, 5]);
        assert_eq!(largest(&[0.0, -0.0, 0.0_f32], 2, 1), [0]);
        assert_eq!(largest(&[0.3, f32::NAN, 0.2, f32::NAN], 0, 1), [1]);
        assert_eq!(largest(&[0.3, 0.1, 0.4, f32::NAN], 0, 1), [3]);
    }

    proptest! {
        #[test]
        fn the_bar_keeps_what_a_full_sort_keeps(
            values in prop::collection::vec(0_u8..20, 2..300), own in 0_u32..300, count in 1_usize..40,
        ) {
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let own = own % values.len() as u32;
            let count = count.min(values.len() - 1);
            let mut sorted: Vec<u32> = (0..values.len() as u32).filter(|&place| place != own).collect();
            sorted.sort_by(|&a, &b| values[b as usize].total_cmp(&values[a as usize]).then(a.cmp(&b)));
            sorted.truncate(count);
            sorted.sort_unstable();
            prop_assert_eq!(largest(&values, own, count), sorted);
        }
    }
}

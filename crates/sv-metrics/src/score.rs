//! Two embeddings in, one score out; higher is more alike, everywhere.

use crate::{MetricsError, Side};

/// Partial sums kept side by side, so that the additions of one do not wait for another's.
const LANES: usize = 8;

/// Cosine of the angle between two embeddings, in [-1, 1]: not mapped to [0, 1], not a distance.
///
/// `left`, `right`: (D), any length but zero, only directions count. Products and sums are taken in f64; rounding beyond the range is cut off.
///
/// # Errors
/// [`MetricsError::Dimensions`] if the lengths differ, [`MetricsError::EmbeddingNotFinite`] on a NaN or an infinity,
/// [`MetricsError::ZeroEmbedding`] if one is empty or all zeros: a silent 0 or NaN would look like a score.
///
/// ```
/// # use sv_metrics::score::cosine;
/// assert_eq!(cosine(&[3.0, 4.0], &[4.0, 3.0])?, 0.96);
/// # Ok::<(), sv_metrics::MetricsError>(())
/// ```
pub fn cosine(left: &[f32], right: &[f32]) -> Result<f64, MetricsError> {
    if left.len() != right.len() {
        return Err(MetricsError::Dimensions { left: left.len(), right: right.len() });
    }
    let [across, of_left, of_right] = products(left, right);
    for (side, values, square) in [(Side::Left, left, of_left), (Side::Right, right, of_right)] {
        // A sum of squares of finite f32 stays far below the largest f64, so it is finite exactly where all values are.
        if let Some(index) = (!square.is_finite()).then(|| values.iter().position(|v| !v.is_finite())).flatten() {
            return Err(MetricsError::EmbeddingNotFinite { side, index, value: values[index] });
        }
        if square == 0.0 {
            return Err(MetricsError::ZeroEmbedding { side, dimension: values.len() });
        }
    }
    Ok((across / (of_left * of_right).sqrt()).clamp(-1.0, 1.0))
}

/// Sums of left x right, left x left, right x right.
fn products(left: &[f32], right: &[f32]) -> [f64; 3] {
    let mut lanes = [[0.0_f64; LANES]; 3];
    let mut add = |lane: usize, a: f32, b: f32| {
        let (a, b) = (f64::from(a), f64::from(b));
        lanes[0][lane] += a * b;
        lanes[1][lane] += a * a;
        lanes[2][lane] += b * b;
    };
    let (left_blocks, left_rest) = left.as_chunks::<LANES>();
    let (right_blocks, right_rest) = right.as_chunks::<LANES>();
    for (a, b) in left_blocks.iter().zip(right_blocks) {
        for lane in 0..LANES {
            add(lane, a[lane], b[lane]);
        }
    }
    for (lane, (&a, &b)) in left_rest.iter().zip(right_rest).enumerate() {
        add(lane, a, b);
    }
    lanes.map(|sums| sums.iter().sum())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_vector_and_itself_its_opposite_and_its_normal() {
        assert_eq!(cosine(&[0.3, -0.7, 0.2], &[0.3, -0.7, 0.2]), Ok(1.0));
        assert_eq!(cosine(&[0.3, -0.7], &[-0.3, 0.7]), Ok(-1.0));
        assert_eq!(cosine(&[2.0, 0.0], &[0.0, 5.0]), Ok(0.0));
    }

    #[test]
    fn the_smallest_and_largest_f32_have_a_direction() {
        let (tiny, huge) = (f32::from_bits(1), f32::MAX);
        assert_eq!(cosine(&[tiny, 0.0], &[huge, 0.0]), Ok(1.0));
        assert_eq!(cosine(&[tiny; 5], &[tiny; 5]), Ok(1.0));
        assert_eq!(cosine(&[huge; 5], &[-huge; 5]), Ok(-1.0));
    }

    #[test]
    fn what_has_no_cosine_is_an_error() {
        assert_eq!(cosine(&[1.0], &[1.0, 2.0]), Err(MetricsError::Dimensions { left: 1, right: 2 }));
        assert_eq!(cosine(&[], &[]), Err(MetricsError::ZeroEmbedding { side: Side::Left, dimension: 0 }));
        assert_eq!(
            cosine(&[1.0, 1.0], &[0.0, -0.0]),
            Err(MetricsError::ZeroEmbedding { side: Side::Right, dimension: 2 })
        );
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let error = cosine(&[1.0, 2.0], &[0.0, bad]).expect_err("not finite");
            assert!(matches!(error, MetricsError::EmbeddingNotFinite { side: Side::Right, index: 1, .. }), "{error}");
        }
    }

    proptest! {
        #[test]
        fn lanes_give_the_plain_sum(pair in prop::collection::vec((-1.0_f32..1.0, -1.0_f32..1.0), 1..40)) {
            let (left, right): (Vec<f32>, Vec<f32>) = pair.into_iter().unzip();
            prop_assume!(left.iter().any(|&v| v != 0.0) && right.iter().any(|&v| v != 0.0));
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
            let plain = dot(&left, &right) / (dot(&left, &left).sqrt() * dot(&right, &right).sqrt());
            let got = cosine(&left, &right).expect("directions");
            prop_assert!((got - plain).abs() <= 1e-14);
            prop_assert_eq!(got, cosine(&right, &left).expect("directions"));
        }
    }
}

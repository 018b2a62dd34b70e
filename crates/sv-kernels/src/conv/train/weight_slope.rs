//! The gradient of a convolution's weights: for each tap in time the product of the output's gradient with what that tap sees,
//! the taps in frequency side by side, as they stand in memory; or in points of tiles ([`super::point_slope`]).

use rayon::prelude::*;

use super::super::winograd;
use super::products::{Products, SLACK};
use super::{Sizes, point_slope};
use crate::buffer::Buffer;
use crate::tier::Tier;

/// `y` (B, T', F', O) and the input `x` (B, T, F, I): the gradient of the weights, (O, I, K, L).
///
/// Sums are taken in f32 over an image, and in f64 over the images; as many parts of the images as there are threads.
pub(crate) fn weight_slope(tier: Tier, sizes: Sizes, y: &[f32], x: &[f32]) -> Vec<f32> {
    let Sizes { batch, inputs, outputs, kernel: [k, l], given: [frames, _], .. } = sizes;
    let tiled = winograd::pays_for_slopes(sizes.form());
    let size = outputs * inputs * if tiled { winograd::POINTS } else { k * l };
    // Whole tiles.
    let lines = sizes.lines().next_multiple_of(winograd::TILE);
    let strips: Vec<(usize, usize)> =
        (0..batch).flat_map(|image| (0..frames).step_by(lines).map(move |first| (image, first))).collect();
    let share = strips.len().div_ceil(rayon::current_num_threads()).max(1);
    let parts: Vec<Vec<f64>> = strips
        .par_chunks(share)
        .map(|strips| {
            let (mut total, mut sums) = (vec![0.0; size], vec![0.0; size]);
            let (mut buffer, mut memory) = (Buffer::default(), Buffer::default());
            for of_image in strips.chunk_by(|(a, _), (b, _)| a == b) {
                sums.fill(0.0);
                for &(image, first) in of_image {
                    let count = lines.min(frames - first);
                    let seen = &x[image * sizes.image()..][..sizes.image()];
                    let strip = sizes.strip(&mut buffer, seen, first, count, SLACK);
                    let y = &y[(image * frames + first) * sizes.line()..][..count * sizes.line()];
                    if tiled {
                        point_slope::add(tier, sizes, strip, y, &mut sums, &mut memory);
                    } else {
                        tier.run(Products { sizes, x: strip.values, line: strip.line, y, sums: &mut sums });
                    }
                }
                total.iter_mut().zip(&sums).for_each(|(total, &sum)| *total += f64::from(sum));
            }
            total
        })
        .collect();
    if tiled {
        let sum = |at: usize| parts.iter().map(|part| part[at]).sum();
        return winograd::weights_of(&(0..size).map(sum).collect::<Vec<f64>>());
    }
    let mut out = vec![0.0; size];
    let taps = k * l;
    // (O, K, L, I) as (O, I, K, L).
    for (output, to) in out.chunks_exact_mut(taps * inputs).enumerate() {
        for (index, to) in to.iter_mut().enumerate() {
            let from = (output * taps + index % taps) * inputs + index / taps;
            *to = parts.iter().map(|part| part[from]).sum::<f64>() as f32;
        }
    }
    out
}

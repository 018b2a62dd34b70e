use std::f64::consts::TAU;

use proptest::prelude::*;

use super::*;

fn framing(n_fft: usize, win_length: usize, hop: usize, padding: Padding) -> Framing {
    Framing { n_fft, win_length, hop, window: Window::HannPeriodic, padding }
}

/// The definition: samples fetched one by one, each frame through a sum of n_fft terms a bin.
fn plain(samples: &[f32], framing: Framing) -> Vec<Vec<f64>> {
    let Framing { n_fft, win_length, hop, window, padding } = framing;
    let (half, n) = ((n_fft / 2) as i64, samples.len() as i64);
    let at = |index: i64| match padding {
        _ if (0..n).contains(&index) => f64::from(samples[index as usize]),
        Padding::CentreZeros => 0.0,
        Padding::CentreReflect if index < 0 => f64::from(samples[-index as usize]),
        Padding::CentreReflect => f64::from(samples[(2 * (n - 1) - index) as usize]),
        Padding::SnipEdges => panic!("sample {index} of {n}"),
        Padding::KeepEdges => {
            let mut index = index;
            while !(0..n).contains(&index) {
                index = if index < 0 { -1 - index } else { 2 * n - 1 - index };
            }
            f64::from(samples[index as usize])
        }
    };
    // Where the window of frame 0 begins, and how many frames there are.
    let (centred, hop, win) = ((n_fft - win_length) as i64 / 2 - half, hop as i64, win_length as i64);
    let (first, frames) = match padding {
        Padding::CentreZeros | Padding::CentreReflect => (centred, 1 + (n + 2 * half - n_fft as i64) / hop),
        Padding::SnipEdges => (0, 1 + (n - win) / hop),
        Padding::KeepEdges => (hop / 2 - win / 2, (n + hop / 2) / hop),
    };
    let weights = window.values(win_length);
    let bin = |start: i64, k: usize| {
        let (mut re, mut im) = (0.0, 0.0);
        for (n, weight) in weights.iter().enumerate() {
            let (sin, cos) = (TAU * ((k * n) % n_fft) as f64 / n_fft as f64).sin_cos();
            let x = at(start + n as i64);
            (re, im) = (re + x * weight * cos, im - x * weight * sin);
        }
        re * re + im * im
    };
    (0..frames).map(|t| (0..=n_fft / 2).map(|k| bin(first + t * hop, k)).collect()).collect()
}

#[test]
fn windows_are_those_of_their_definitions() {
    let close = |window: Window, expected: &[f64]| {
        let values = window.values(expected.len());
        assert!(values.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{window:?}: {values:?}");
    };
    // N = 4: cosines 1, 0, -1, 0. N = 5, symmetric: the same, and 1 at the end.
    close(Window::HammingPeriodic, &[0.08, 0.54, 1.0, 0.54]);
    close(Window::HammingSymmetric, &[0.08, 0.54, 1.0, 0.54, 0.08]);
    close(Window::Povey, &[0.0, 0.5_f64.powf(0.85), 1.0, 0.5_f64.powf(0.85), 0.0]);
    close(Window::Povey, &[1.0]);
    close(Window::HammingSymmetric, &[]);
}

#[test]
fn conditioning_scales_takes_the_mean_away_and_then_emphasises() {
    // Samples 1, 2, 6 times 2 are 2, 4, 12; less their mean, 6: -4, -2, 6. Squares: 56. Less half the one before, the first its
    // own: -2, 0, 7; the hann window of 3 is 0, 3/4, 3/4.
    let conditioning = Conditioning { scale: 2.0, remove_dc: true, pre_emphasis: 0.5, energy: true };
    let stft = Stft::<f64>::conditioned(framing(8, 3, 1, Padding::SnipEdges), conditioning).unwrap();
    let mut work = stft.workspace();
    let power = stft.power(&[1.0, 2.0, 6.0], 0, &mut work).to_vec();
    assert!(power.iter().all(|p| (p - (0.75 * 7.0_f64).powi(2)).abs() < 1e-12), "{power:?}");
    assert!((work.energy() - 56.0).abs() < 1e-12);
}

#[test]
fn a_periodic_hann_window_begins_at_zero_and_does_not_end_there() {
    // N = 4: 0.5 - 0.5 cos(0, pi/2, pi, 3pi/2).
    let values = Window::HannPeriodic.values(4);
    assert!(values.iter().zip([0.0, 0.5, 1.0, 0.5]).all(|(a, b): (&f64, f64)| (a - b).abs() < 1e-15));
}

#[test]
fn an_impulse_under_the_centre_of_a_frame_has_a_flat_spectrum() {
    // Frame 1 is centred on sample 2, where the window of 4 is 1.
    let stft = Stft::<f64>::new(framing(8, 4, 2, Padding::CentreZeros)).unwrap();
    let power = stft.power(&[0.0, 0.0, 3.0], 1, &mut stft.workspace()).to_vec();
    assert_eq!(power.len(), 5);
    assert!(power.iter().all(|p| (p - 9.0).abs() < 1e-12));
}

#[test]
fn sizes_out_of_range_are_named() {
    let refused = |framing| match Stft::<f64>::new(framing) {
        Err(AudioError::Setting { name, .. }) => name,
        other => panic!("{other:?}"),
    };
    let zeros = Padding::CentreZeros;
    assert_eq!(refused(framing(1, 1, 1, zeros)), "n_fft");
    assert_eq!(refused(framing(usize::MAX, 1, 1, zeros)), "n_fft");
    assert_eq!(refused(framing(8, 0, 1, zeros)), "win_length");
    assert_eq!(refused(framing(8, 9, 1, zeros)), "win_length");
    assert_eq!(refused(framing(8, 8, 0, zeros)), "hop");
}

#[test]
fn too_few_samples_give_no_frame() {
    let zeros = Stft::<f64>::new(framing(8, 8, 4, Padding::CentreZeros)).unwrap();
    assert_eq!((zeros.frames(0), zeros.frames(1), zeros.frames(3), zeros.frames(4)), (0, 1, 1, 2));
    let reflect = Stft::<f64>::new(framing(8, 8, 4, Padding::CentreReflect)).unwrap();
    assert_eq!((reflect.min_samples(), reflect.frames(4), reflect.frames(5)), (5, 0, 2));
    let snip = Stft::<f64>::new(framing(8, 6, 4, Padding::SnipEdges)).unwrap();
    assert_eq!((snip.frames(0), snip.frames(5), snip.frames(6), snip.frames(9), snip.frames(10)), (0, 0, 1, 1, 2));
    let keep = Stft::<f64>::new(framing(8, 6, 4, Padding::KeepEdges)).unwrap();
    assert_eq!((keep.frames(0), keep.frames(1), keep.frames(2), keep.frames(5), keep.frames(6)), (0, 0, 1, 1, 2));
}

proptest! {
    #[test]
    fn the_fast_spectrum_equals_the_plain_sum(
        samples in prop::collection::vec(-1.0_f32..1.0, 1..150),
        (n_fft, win_length) in (2_usize..50).prop_flat_map(|n_fft| (Just(n_fft), 1..=n_fft)),
        hop in 1_usize..30,
        padding in prop::sample::select(vec![
            Padding::CentreZeros, Padding::CentreReflect, Padding::SnipEdges, Padding::KeepEdges
        ]),
    ) {
        let framing = framing(n_fft, win_length, hop, padding);
        let stft = Stft::<f64>::new(framing).unwrap();
        prop_assume!(samples.len() >= stft.min_samples());
        let expected = plain(&samples, framing);
        prop_assert_eq!(stft.frames(samples.len()), expected.len());
        let mut work = stft.workspace();
        for (frame, expected) in expected.iter().enumerate() {
            let power = stft.power(&samples, frame, &mut work);
            prop_assert!(power.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1e-10), "frame {}", frame);
            let mut lanes = vec![[0.0; 2]; stft.bins()];
            stft.power_lane(&samples, frame, &mut work, 1, &mut lanes);
            prop_assert!(lanes.iter().zip(expected).all(|(a, b)| a[0] == 0.0 && (a[1] - b).abs() <= 1e-10));
        }
    }
}

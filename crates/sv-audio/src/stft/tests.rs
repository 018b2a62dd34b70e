use std::f64::consts::TAU;

use proptest::prelude::*;

use super::*;

fn framing(n_fft: usize, win_length: usize, hop: usize, padding: Padding) -> Framing {
    Framing { n_fft, win_length, hop, window: Window::HannPeriodic, padding }
}

/// The definition: the padded recording cut up, each frame through a sum of n_fft terms a bin.
fn plain(samples: &[f32], framing: Framing) -> Vec<Vec<f64>> {
    let Framing { n_fft, win_length, hop, window, padding } = framing;
    let (half, n) = ((n_fft / 2) as i64, samples.len() as i64);
    let at = |index: i64| match padding {
        _ if (0..n).contains(&index) => f64::from(samples[index as usize]),
        Padding::CentreZeros => 0.0,
        Padding::CentreReflect if index < 0 => f64::from(samples[-index as usize]),
        Padding::CentreReflect => f64::from(samples[(2 * (n - 1) - index) as usize]),
    };
    let padded: Vec<f64> = (-half..n + half).map(at).collect();
    let mut weights = vec![0.0; (n_fft - win_length) / 2];
    weights.extend(window.values(win_length));
    weights.resize(n_fft, 0.0);
    let bin = |frame: &[f64], k: usize| {
        let (mut re, mut im) = (0.0, 0.0);
        for (n, (x, weight)) in frame.iter().zip(&weights).enumerate() {
            let (sin, cos) = (TAU * ((k * n) % n_fft) as f64 / n_fft as f64).sin_cos();
            (re, im) = (re + x * weight * cos, im - x * weight * sin);
        }
        re * re + im * im
    };
    padded.windows(n_fft).step_by(hop).map(|frame| (0..=n_fft / 2).map(|k| bin(frame, k)).collect()).collect()
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
}

proptest! {
    #[test]
    fn the_fast_spectrum_equals_the_plain_sum(
        samples in prop::collection::vec(-1.0_f32..1.0, 1..150),
        (n_fft, win_length) in (2_usize..50).prop_flat_map(|n_fft| (Just(n_fft), 1..=n_fft)),
        hop in 1_usize..30,
        reflect in any::<bool>(),
    ) {
        let framing = framing(n_fft, win_length, hop, if reflect { Padding::CentreReflect } else { Padding::CentreZeros });
        let stft = Stft::<f64>::new(framing).unwrap();
        prop_assume!(samples.len() >= stft.min_samples());
        let expected = plain(&samples, framing);
        prop_assert_eq!(stft.frames(samples.len()), expected.len());
        let mut work = stft.workspace();
        for (frame, expected) in expected.iter().enumerate() {
            let power = stft.power(&samples, frame, &mut work);
            prop_assert!(power.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1e-10), "frame {}", frame);
        }
    }
}

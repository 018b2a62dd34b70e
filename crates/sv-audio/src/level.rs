//! The level of a recording, in dB relative to full scale (dBFS): a sine between -1 and 1 has -3 dBFS.

use crate::AudioError;

/// Raises the RMS level of `samples` to `target_dbfs`; never lowers it. Returns the gain in dB, 0 or more.
///
/// The samples may exceed 1 afterwards: nothing is clipped here.
///
/// # Errors
/// [`AudioError::DigitalSilence`] if no sample differs from zero (or there is none), [`AudioError::Setting`] if the
/// target is not a number from -200 to 0.
///
/// # Source
/// Resemblyzer, `audio.py: normalize_volume` with `increase_only`, which gives NaN for digital silence. Computed in
/// f64 there where the original works in f32; the samples differ by less than 1e-6.
pub fn raise_to_dbfs(samples: &mut [f32], target_dbfs: f64) -> Result<f64, AudioError> {
    // Written so that NaN fails too.
    if !(-200.0..=0.0).contains(&target_dbfs) {
        let value = target_dbfs.to_string();
        return Err(AudioError::Setting { name: "level", value, allowed: "from -200 to 0 dBFS" });
    }
    let energy: f64 = samples.iter().map(|&sample| f64::from(sample).powi(2)).sum();
    if energy == 0.0 {
        return Err(AudioError::DigitalSilence { samples: samples.len() });
    }
    let gain_db = target_dbfs - 10.0 * (energy / samples.len() as f64).log10();
    if gain_db <= 0.0 {
        return Ok(0.0);
    }
    // In f64: the gain of a recording near the smallest f32 exceeds the largest.
    let gain = 10f64.powf(gain_db / 20.0);
    for sample in samples {
        *sample = (f64::from(*sample) * gain) as f32;
    }
    Ok(gain_db)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_recording_is_raised_to_the_target() {
        // RMS 0.001 is -60 dBFS: 30 dB up, a factor of 10^1.5.
        let mut samples = vec![0.001, -0.001, 0.001, -0.001];
        let gain = raise_to_dbfs(&mut samples, -30.0).unwrap();
        assert!((gain - 30.0).abs() < 1e-6, "{gain}");
        assert!((samples[0] - 0.031_622_78).abs() < 1e-8 && samples[1] == -samples[0], "{samples:?}");
    }

    #[test]
    fn a_loud_recording_stays_as_it_is() {
        let mut samples = vec![0.5, -0.5];
        assert_eq!(raise_to_dbfs(&mut samples, -30.0).unwrap(), 0.0);
        assert_eq!(samples, [0.5, -0.5]);
    }

    #[test]
    fn digital_silence_is_an_error_with_its_length() {
        let silence = raise_to_dbfs(&mut [0.0; 7], -30.0);
        assert!(matches!(silence, Err(AudioError::DigitalSilence { samples: 7 })));
        assert!(matches!(raise_to_dbfs(&mut [], -30.0), Err(AudioError::DigitalSilence { samples: 0 })));
    }

    #[test]
    fn the_smallest_samples_become_finite_ones() {
        let mut samples = vec![f32::from_bits(1); 3];
        raise_to_dbfs(&mut samples, -30.0).unwrap();
        assert!((samples[0] - 0.031_622_78).abs() < 1e-8, "{samples:?}");
    }

    #[test]
    fn a_target_that_is_no_level_is_refused() {
        for target in [f64::NAN, f64::INFINITY, 1.0, -1000.0] {
            assert!(matches!(raise_to_dbfs(&mut [0.1], target), Err(AudioError::Setting { name: "level", .. })));
        }
    }
}

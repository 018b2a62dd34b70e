//! WebRTC's voice activity detector, by its own fixed-point C (feature `vad-webrtc`, crate `webrtc-vad`).
//!
//! A mixture of two Gaussians for noise and two for speech in each of six bands, adapting from window to window: what
//! it says of a window depends on all windows before. Modes 0 to 3 ask for ever more certainty.

use webrtc_vad::{SampleRate, Vad, VadMode};

use crate::{AudioError, Waveform};

/// One flag, speech or not, for each whole window of `window_ms`; the samples after the last whole window have none.
///
/// Samples become 16-bit by rounding `x * 32767` half to even. Beyond full scale they saturate, where Resemblyzer lets
/// them wrap around. The detector starts anew with each call and carries its state from window to window.
///
/// # Errors
/// [`AudioError::VadRate`] unless the rate is 8000, 16000, 32000 or 48000 Hz, [`AudioError::Setting`] for a mode above 3
/// or a window other than 10, 20 or 30 ms.
pub fn flags(wave: &Waveform, mode: u8, window_ms: u32) -> Result<Vec<bool>, AudioError> {
    super::check_webrtc(mode, window_ms)?;
    let rate_hz = wave.rate_hz();
    let rate = i32::try_from(rate_hz).ok().and_then(|rate| SampleRate::try_from(rate).ok());
    let rate = rate.ok_or(AudioError::VadRate { rate_hz })?;
    let mode = match mode {
        0 => VadMode::Quality,
        1 => VadMode::LowBitrate,
        2 => VadMode::Aggressive,
        _ => VadMode::VeryAggressive,
    };
    // `Vad` holds a pointer and may not cross threads: it lives in this call only.
    let mut vad = Vad::new_with_rate_and_mode(rate, mode);
    let window = super::window_samples(rate_hz, window_ms);
    let mut pcm = vec![0i16; window];
    let windows = wave.samples().chunks_exact(window);
    Ok(windows
        .map(|samples| {
            for (to, from) in pcm.iter_mut().zip(samples) {
                // A cast from float to integer saturates.
                *to = (from * 32767.0).round_ties_even() as i16;
            }
            vad.is_voice_segment(&pcm).expect("the window's length fits the rate, both were checked")
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A buzz of 120 Hz with a moving formant, loud for the middle third: enough to be taken for speech.
    fn buzz(rate_hz: u32) -> Waveform {
        let n = rate_hz as usize * 3;
        let sample = |i: usize| {
            let t = i as f32 / rate_hz as f32;
            let loud = if (1.0..2.0).contains(&t) { 0.1 } else { 0.0 };
            loud * (1..25).map(|h| (std::f32::consts::TAU * 120.0 * h as f32 * t).sin() / h as f32).sum::<f32>()
        };
        Waveform::new((0..n).map(sample).collect(), rate_hz).unwrap()
    }

    #[test]
    fn a_buzz_is_speech_and_silence_is_not_at_every_rate_window_and_mode() {
        for rate_hz in [8_000, 16_000, 32_000, 48_000] {
            for window_ms in [10, 20, 30] {
                for mode in 0..4 {
                    let flags = flags(&buzz(rate_hz), mode, window_ms).unwrap();
                    assert_eq!(flags.len(), 3000 / window_ms as usize);
                    let spoken = flags.iter().filter(|&&flag| flag).count() as f64 / flags.len() as f64;
                    assert!((0.2..0.6).contains(&spoken), "{rate_hz} Hz {window_ms} ms mode {mode}: {spoken}");
                    assert!(!flags[0] && !flags[flags.len() - 1]);
                }
            }
        }
    }

    #[test]
    fn what_is_less_than_a_window_has_no_flag() {
        assert!(flags(&Waveform::new(vec![0.1; 479], 16_000).unwrap(), 3, 30).unwrap().is_empty());
        assert_eq!(flags(&Waveform::new(vec![0.1; 959], 16_000).unwrap(), 3, 30).unwrap().len(), 1);
    }

    #[test]
    fn a_rate_that_webrtc_does_not_know_is_named() {
        let wave = Waveform::new(vec![0.1; 44_100], 44_100).unwrap();
        assert!(matches!(flags(&wave, 0, 30), Err(AudioError::VadRate { rate_hz: 44_100 })));
    }

    #[test]
    fn modes_and_windows_that_do_not_exist_are_refused() {
        let wave = Waveform::new(vec![0.1; 16_000], 16_000).unwrap();
        assert!(matches!(flags(&wave, 4, 30), Err(AudioError::Setting { name: "vad.mode", .. })));
        assert!(matches!(flags(&wave, 0, 25), Err(AudioError::Setting { name: "vad.window_ms", .. })));
    }

    #[test]
    fn samples_beyond_full_scale_saturate() {
        // Wrapped around, 1.5 would be -0.5 and change the flags of a clipped recording.
        let over = buzz(16_000);
        let clipped = over.samples().iter().map(|x| (x * 40.0).clamp(-32_768.0 / 32_767.0, 1.0)).collect();
        let over = Waveform::new(over.samples().iter().map(|x| x * 40.0).collect(), 16_000).unwrap();
        let clipped = Waveform::new(clipped, 16_000).unwrap();
        assert_eq!(flags(&over, 3, 30).unwrap(), flags(&clipped, 3, 30).unwrap());
    }
}

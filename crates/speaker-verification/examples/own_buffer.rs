//! Samples from an application's own buffer: `cargo run --release --features pth,vad-webrtc --example own_buffer -- MODEL`
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "an example prints its answer")]

use speaker_verification::audio::vad::VadChoice;
use speaker_verification::{SpeakerRecognition, Waveform};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [_, model] = std::env::args().collect::<Vec<_>>().try_into().map_err(|_| "usage: MODEL")?;
    // The application knows that what it recorded is speech, so no VAD is asked.
    let recognition = SpeakerRecognition::load(model)?.with_vad(VadChoice::None)?;
    // Any rate; it is resampled to the model's. Here: two hums that stand for what a sound card gave.
    let first = Waveform::new(hum(118.0, 44_100), 44_100)?;
    let second = Waveform::new(hum(205.0, 48_000), 48_000)?;
    let answer = recognition.verify(&first, &second)?;
    println!("score {:.4}, {}", answer.score, answer.verdict);
    Ok(())
}

/// Two seconds of a buzz with the overtones of `pitch_hz`.
fn hum(pitch_hz: f32, rate_hz: u32) -> Vec<f32> {
    let radians = std::f32::consts::TAU * pitch_hz / rate_hz as f32;
    (0..2 * rate_hz).map(|n| (1..20).map(|k| 0.1 * (radians * (k * n) as f32).sin() / k as f32).sum()).collect()
}

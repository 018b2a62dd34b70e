//! Is it the same person? `cargo run --release --features pth,opus,vad-webrtc --example verify_two_files -- MODEL A B`
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "an example prints its answer")]

use speaker_verification::SpeakerRecognition;
use speaker_verification::metrics::{Acceptance, Threshold, ThresholdOrigin};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [_, model, a, b] = std::env::args().collect::<Vec<_>>().try_into().map_err(|_| "usage: MODEL A B")?;
    let mut recognition = SpeakerRecognition::load(model)?;
    if recognition.description().threshold.is_none() {
        // A model without a threshold gives a score but no verdict. Calibrate one on recordings like yours: `sv eval`.
        let threshold = Threshold::new(0.68, Acceptance::AtLeast, ThresholdOrigin::Caller)?;
        recognition = recognition.with_threshold(Some(threshold));
    }
    let answer = recognition.verify_files(a, b)?;
    println!("{}  score {:.4}", answer.verdict, answer.score);
    Ok(())
}

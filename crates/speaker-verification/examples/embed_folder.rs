//! All recordings of a folder on all cores: `cargo run --release --features pth,opus,vad-webrtc --example embed_folder -- MODEL FOLDER`
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "an example prints its answer")]

use std::path::Path;

use speaker_verification::{SpeakerRecognition, recordings_in};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [_, model, folder] = std::env::args().collect::<Vec<_>>().try_into().map_err(|_| "usage: MODEL FOLDER")?;
    let recognition = SpeakerRecognition::load(model)?;
    let files = recordings_in(Path::new(&folder))?;
    // One result a file, in order; a file that fails takes no other with it.
    for (file, result) in files.iter().zip(recognition.embed_files(&files, |_| ())) {
        match result {
            Ok(utterance) => println!(
                "{}: {} values from {:.1} s of speech",
                file.display(),
                utterance.embedding.values().len(),
                utterance.seconds_of_speech
            ),
            Err(error) => println!("failed: {error}"),
        }
    }
    Ok(())
}

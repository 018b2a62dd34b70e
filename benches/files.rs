//! Files to embeddings when told to: our side of `cargo xtask bench --suite ecapa-files`. Started with a model's path,
//! `RAYON_NUM_THREADS` set. Prints `ready`; then each line on standard input names a list of files, one a line, and the answer is
//! one line of JSON: {"seconds": from decoding to the last embedding, "check": the embeddings of the first three}.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "standard output is what it speaks on")]

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use speaker_verification::SpeakerRecognition;

fn main() -> Result<(), Box<dyn Error>> {
    let path = PathBuf::from(std::env::args_os().nth(1).ok_or("name a model")?);
    let model = SpeakerRecognition::load(&path)?;
    println!("ready");
    for line in std::io::stdin().lines() {
        let listing = std::fs::read_to_string(line?)?;
        let files: Vec<PathBuf> = listing.lines().map(PathBuf::from).collect();
        let start = Instant::now();
        let embedded = model.embed_files(&files, |_| ()).into_iter().collect::<Result<Vec<_>, _>>()?;
        let seconds = start.elapsed().as_secs_f64();
        let check: Vec<f32> =
            embedded.iter().take(3).flat_map(|utterance| utterance.embedding.values()).copied().collect();
        println!("{}", serde_json::json!({ "seconds": seconds, "check": check }));
    }
    Ok(())
}

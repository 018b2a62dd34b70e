//! Features of a chirp by the front ends of published systems when told to: our side of `cargo xtask bench --suite features`. Prints
//! `ready`; then each line on standard input is `PRESET SECONDS`, and the answer one line of JSON: {"seconds": of a call, the
//! median of some, "check": sums over the frames}. One thread.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "standard output is what it speaks on")]

use std::error::Error;
use std::time::Instant;

use sv_audio::Waveform;
use sv_audio::frontend::{FeatureExtractor, FrontEnd};
use sv_benches::workload;

fn main() -> Result<(), Box<dyn Error>> {
    println!("ready");
    for line in std::io::stdin().lines() {
        let line = line?;
        let (preset, seconds) = line.split_once(' ').ok_or("a preset and seconds a line")?;
        let seconds: usize = seconds.parse()?;
        let mut front_end = FrontEnd::by_name(preset)?;
        // The peers' functions end with the log-mel energies.
        front_end.cmn = None;
        let extractor = FeatureExtractor::new(&front_end)?;
        let wave = Waveform::new(workload::chirp(seconds), 16_000)?;
        let mut features = extractor.features(&wave)?;
        let mut times = Vec::new();
        for _ in 0..(120 / seconds).max(3) {
            let start = Instant::now();
            features = extractor.features(&wave)?;
            times.push(start.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        let mut sums = vec![0.0; front_end.bins()];
        for row in features.view().rows() {
            sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        println!("{}", serde_json::json!({ "seconds": times[times.len() / 2], "check": sums }));
    }
    Ok(())
}

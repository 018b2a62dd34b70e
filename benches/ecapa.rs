//! Embeds the frames of `workload::frames` with a model when told to: our side of `cargo xtask bench --ecapa`, a process of its own so
//! that its memory is its own, too. Started with a model's path, `RAYON_NUM_THREADS` set. Prints `ready`; then each line on
//! standard input is a call, and the answer one line of JSON: {"seconds": ..., "embedding": [...], "peak_kib": ...}.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "standard output is what it speaks on")]

use std::error::Error;
use std::time::Instant;

use ndarray::ArrayView2;
use sv_benches::workload;
use sv_models::{ModelDir, Plan};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("name a model directory")?;
    let plan = {
        let model = ModelDir::load(path.as_ref())?;
        Plan::new(&model.description().encoder, model.weights())?
    };
    let values = workload::ecapa_frames();
    let frames = ArrayView2::from_shape((workload::ECAPA_FRAMES, workload::ECAPA_BINS), &values)?;
    plan.embed(&[frames])?;
    println!("ready");
    for line in std::io::stdin().lines() {
        line?;
        let start = Instant::now();
        let embedding = plan.embed(&[frames])?;
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{}",
            serde_json::json!({ "seconds": seconds, "embedding": embedding.as_slice(), "peak_kib": peak_kib() })
        );
    }
    Ok(())
}

/// Most resident memory of this process so far, where Linux says it.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.split_whitespace().next()?.parse().ok()
}

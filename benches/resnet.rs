//! Embeds 300 frames with a residual network of Heo et al. 2019 when told to, a process of its own so that its memory is its
//! own, too. Started with the network's name, `table1` or `table3`, `RAYON_NUM_THREADS` set. Prints `ready`; then each line on
//! standard input is a call, and the answer one line of JSON:
//! {"seconds": ..., "processor": ..., "check": [...], "peak": ...}.
#![forbid(unsafe_code)]

use std::error::Error;
use std::io::Write;
use std::time::Instant;

use ndarray::ArrayView2;
use sv_benches::residual::{FRAMES, network, tensors, used};
use sv_benches::workload::noise;
use sv_models::weights::Weights;
use sv_models::{EncoderConfig, Plan};

fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).unwrap_or_default();
    let config = EncoderConfig::ResNet(network(&name).ok_or("name a network: table1 or table3")?);
    let plan = Plan::new(&config, &Weights::new("made", &config, tensors(&config))?)?;
    let values = noise(7, FRAMES * config.bins(), 4.0);
    let frames = ArrayView2::from_shape((FRAMES, config.bins()), &values)?;
    plan.embed(&[frames])?;
    let mut out = std::io::stdout();
    writeln!(out, "ready")?;
    for line in std::io::stdin().lines() {
        line?;
        let before = used().1;
        let start = Instant::now();
        let embedding = plan.embed(&[frames])?;
        let seconds = start.elapsed().as_secs_f64();
        let (peak, after) = used();
        let answer = serde_json::json!({
            "seconds": seconds, "processor": after - before, "check": embedding.as_slice(), "peak": peak
        });
        writeln!(out, "{answer}")?;
    }
    Ok(())
}

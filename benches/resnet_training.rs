//! Training steps of the residual networks of Heo et al. 2019, as `benches/peers/resnet_training.py` makes them with PyTorch from
//! the same numbers: prints `ready`, and for each line read, `NETWORK SEQUENCES FRAMES` with `table1` or `table3` for the network,
//! one line of JSON. Timed are forward and backward of the sum of squares of the embeddings; the first time that a case is asked
//! for, a step goes before that is not timed. On as many threads as RAYON_NUM_THREADS says.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::time::Instant;

use candle_core::{Device, Tensor};
use sv_benches::residual::{network, tensors, used};
use sv_benches::workload::noise;
use sv_models::EncoderConfig;
use sv_models::train::{Encoder, encoder};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Network and batch of a case.
struct Step {
    encoder: Box<dyn Encoder>,
    features: Tensor,
}

impl Step {
    fn new(case: &str) -> Result<Self> {
        let words: Vec<&str> = case.split_whitespace().collect();
        let [name, sequences, frames] = words[..] else { return Err("a network and two numbers a line".into()) };
        let (sequences, frames): (usize, usize) = (sequences.parse()?, frames.parse()?);
        let config = EncoderConfig::ResNet(network(name).ok_or("no such network")?);
        let (bins, device) = (config.bins(), Device::Cpu);
        let encoder = encoder(&config, tensors(&config), None, &device)?;
        let values = noise(99, sequences * frames * bins, 1.0);
        Ok(Self { encoder, features: Tensor::from_vec(values, (sequences, frames, bins), &device)? })
    }

    /// Seconds, loss, and the root of the sum of squares of all gradients.
    fn run(&self) -> Result<(f64, f32, f64)> {
        let start = Instant::now();
        let loss = self.encoder.forward(&self.features)?.sqr()?.sum_all()?;
        let gradients = loss.backward()?;
        let seconds = start.elapsed().as_secs_f64();
        let mut squares = 0.0;
        for var in self.encoder.variables().values() {
            let gradient = gradients.get(var).ok_or("a variable without gradient")?.flatten_all()?.to_vec1::<f32>()?;
            squares += gradient.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>();
        }
        Ok((seconds, loss.to_scalar()?, squares.sqrt()))
    }
}

fn main() -> Result<()> {
    // As `sv train` does.
    sv_models::memory::keep_freed();
    let mut steps: HashMap<String, (Step, f64)> = HashMap::new();
    let mut out = std::io::stdout();
    writeln!(out, "ready")?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if !steps.contains_key(&line) {
            let step = Step::new(&line)?;
            let before = used().0;
            step.run()?;
            steps.insert(line.clone(), (step, used().0 - before));
        }
        let (step, peak) = &steps[&line];
        let before = used().1;
        let (seconds, loss, norm) = step.run()?;
        let processor = used().1 - before;
        writeln!(
            out,
            "{{\"seconds\": {seconds}, \"processor\": {processor}, \"check\": [{loss}, {norm}], \"peak\": {peak}}}"
        )?;
    }
    Ok(())
}

//! Training steps of SpeechBrain's ECAPA-TDNN, as `benches/peers/ecapa_training.py` makes them with PyTorch from the same
//! numbers: prints `ready`, and for each line read, `CHANNELS MFA SEQUENCES FRAMES CLASSES`, one line of JSON. Timed are forward
//! and backward of the additive angular margin loss over the embeddings; the first time that a case is asked for, a step goes
//! before that is not timed. On as many threads as RAYON_NUM_THREADS says.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, Write};
use std::time::Instant;

use candle_core::{Device, Tensor, Var};
use sv_benches::workload::noise;
use sv_losses::{AamSoftmaxOptions, Labels, MarginSoftmax, Objective, Setting};
use sv_models::EncoderConfig;
use sv_models::encoders::ecapa::EcapaConfig;
use sv_models::train::{Encoder, encoder};
use sv_models::weights::Weight;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Network, objective and batch of a case.
struct Step {
    encoder: Box<dyn Encoder>,
    objective: MarginSoftmax,
    features: Tensor,
    labels: Labels,
}

impl Step {
    fn new(case: &str) -> Result<Self> {
        let numbers: Vec<usize> = case.split_whitespace().map(str::parse).collect::<std::result::Result<_, _>>()?;
        let [channels, mfa, sequences, frames, classes] = numbers[..] else { return Err("five numbers a line".into()) };
        let config = EcapaConfig { channels, mfa, ..EcapaConfig::speechbrain() };
        let (bins, size) = (config.bins, config.size);
        let config = EncoderConfig::Ecapa(config);
        let shapes = config.tensors();
        let mut tensors = BTreeMap::new();
        for (name, shape) in &shapes {
            let count = shape.iter().product();
            let stem = name.rsplit_once('.').map_or("", |(stem, _)| stem);
            let values = if shapes.contains_key(&format!("{stem}.running_mean")) {
                vec![if name.ends_with("weight") || name.ends_with("running_var") { 1.0 } else { 0.0 }; count]
            } else {
                let fan = if shape.len() > 1 { shape[1..].iter().product() } else { 64 };
                noise(u64::from(crc32(name.as_bytes())), count, 1.0 / (fan as f32).sqrt())
            };
            tensors.insert(name.clone(), Weight { shape: shape.clone(), values });
        }
        let device = Device::Cpu;
        let encoder = encoder(&config, tensors, None, &device)?;
        let dtype = candle_core::DType::F32;
        let mut setting = Setting { dimension: size, classes, dtype, device: &device, uniform: &mut || 0.0 };
        let objective = MarginSoftmax::additive_angular(&AamSoftmaxOptions::default(), &mut setting)?;
        objective.parameters()[0].var.set(&Tensor::from_vec(
            noise(98, classes * size, 1.0),
            (classes, size),
            &device,
        )?)?;
        let features = Tensor::from_vec(noise(99, sequences * frames * bins, 1.0), (sequences, frames, bins), &device)?;
        let labels = Labels::new((0..sequences).map(|row| (row * 7 % classes) as u32).collect());
        Ok(Self { encoder, objective, features, labels })
    }

    /// Seconds, loss, and the root of the sum of squares of all gradients.
    fn run(&self) -> Result<(f64, f32, f64)> {
        let start = Instant::now();
        let embeddings = self.encoder.forward(&self.features)?;
        let loss = self.objective.loss(&embeddings, &self.labels)?;
        let gradients = loss.backward()?;
        let seconds = start.elapsed().as_secs_f64();
        let mut squares = 0.0;
        let own = self.objective.parameters();
        let variables: Vec<&Var> =
            self.encoder.variables().values().chain(own.iter().map(|parameter| &parameter.var)).collect();
        for var in variables {
            let gradient = gradients.get(var).ok_or("a variable without gradient")?.flatten_all()?.to_vec1::<f32>()?;
            squares += gradient.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>();
        }
        Ok((seconds, loss.to_scalar()?, squares.sqrt()))
    }
}

/// CRC-32 as zlib has it: a seed for a name that Python makes as well.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

/// The process's largest memory so far, or what it has used of the processor, from `/proc`: bytes and seconds.
fn used() -> (f64, f64) {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
    let status = read("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    let peak = line.split_whitespace().next().and_then(|number| number.parse::<f64>().ok()).unwrap_or_default();
    let stat = read("stat");
    // Fields 14 and 15 after the name in brackets: hundredths of a second of user and system time.
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks: f64 = after.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    (1024.0 * peak, ticks / 100.0)
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

//! Losses over all speaker bases, as `benches/peers/bases.py` has them in PyTorch on the same numbers: prints `ready`, and for each
//! line read, `LOSS SPEAKERS`, one line of JSON. LOSS is one of softmax, hard, between, hard+between; 100 utterances of 128
//! dimensions, 100 hard negatives. Timed are the value and all gradients, the median of some; checked are the first rows of the
//! bases' gradient, and that of the embeddings where there is one. On as many threads as RAYON_NUM_THREADS says.
#![forbid(unsafe_code)]

use std::io::{BufRead, Write};
use std::time::Instant;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use sv_benches::workload::noise;
use sv_losses::{
    BasesOptions, BetweenPart, HardPart, Labels, Objective, Setting, SoftmaxPart, SpeakerBases, between_class,
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const UTTERANCES: usize = 100;
const DIMENSION: usize = 128;
const NEGATIVES: usize = 100;
/// Times that the calls of one answer may take together, about.
const SECONDS: f64 = 0.5;

/// A loss over bases, or the one of the bases alone.
enum Loss {
    Sum(Box<SpeakerBases>),
    Between,
}

struct Scene {
    loss: Loss,
    bases: Var,
    embeddings: Var,
    labels: Labels,
}

impl Scene {
    fn new(case: &str) -> Result<Self> {
        let (name, speakers) = case.split_once(' ').ok_or("a loss and a number of speakers a line")?;
        let (speakers, device): (usize, _) = (speakers.parse()?, Device::Cpu);
        let (hard, between) = (HardPart { negatives: NEGATIVES, weight: 1.0 }, BetweenPart::default());
        let options = match name {
            "softmax" => Some(BasesOptions { softmax: Some(SoftmaxPart::default()), ..BasesOptions::default() }),
            "hard" => Some(BasesOptions { hard: Some(hard), ..BasesOptions::default() }),
            "hard+between" => {
                Some(BasesOptions { hard: Some(hard), between: Some(between), ..BasesOptions::default() })
            }
            "between" => None,
            _ => return Err("no such loss".into()),
        };
        let values = Tensor::from_vec(noise(1, speakers * DIMENSION, 0.1), (speakers, DIMENSION), &device)?;
        let embeddings = Tensor::from_vec(noise(2, UTTERANCES * DIMENSION, 1.0), (UTTERANCES, DIMENSION), &device)?;
        let (loss, bases) = match options {
            None => (Loss::Between, Var::from_tensor(&values)?),
            Some(options) => {
                let mut uniform = || 0.0;
                let mut setting = Setting {
                    dimension: DIMENSION,
                    classes: speakers,
                    dtype: DType::F32,
                    device: &device,
                    uniform: &mut uniform,
                };
                let objective = SpeakerBases::new(&options, &mut setting)?;
                let bases = objective.parameters().swap_remove(0).var;
                bases.set(&values)?;
                (Loss::Sum(Box::new(objective)), bases)
            }
        };
        let labels = Labels::new((0..UTTERANCES).map(|row| (row * 7_919 % speakers) as u32).collect());
        Ok(Self { loss, bases, embeddings: Var::from_tensor(&embeddings)?, labels })
    }

    fn gradients(&self) -> Result<GradStore> {
        let loss = match &self.loss {
            Loss::Sum(objective) => objective.loss(&self.embeddings, &self.labels)?,
            Loss::Between => between_class(&self.bases)?,
        };
        Ok(loss.backward()?)
    }

    fn check(&self, gradients: &GradStore) -> Result<Vec<f32>> {
        let mut check: Vec<f32> = match gradients.get(&self.embeddings) {
            Some(gradient) => gradient.flatten_all()?.to_vec1()?,
            None => Vec::new(),
        };
        let of_bases = gradients.get(&self.bases).ok_or("bases without gradient")?;
        check.extend(of_bases.narrow(0, 0, UTTERANCES)?.flatten_all()?.to_vec1::<f32>()?);
        Ok(check)
    }
}

fn main() -> Result<()> {
    // As `sv train` does.
    sv_models::memory::keep_freed();
    let mut out = std::io::stdout();
    writeln!(out, "ready")?;
    for line in std::io::stdin().lock().lines() {
        let scene = Scene::new(&line?)?;
        let check = scene.check(&scene.gradients()?)?;
        let (mut times, begun) = (Vec::new(), Instant::now());
        while times.len() < 3 || begun.elapsed().as_secs_f64() < SECONDS {
            let start = Instant::now();
            let gradients = scene.gradients()?;
            times.push(start.elapsed().as_secs_f64());
            drop(gradients);
        }
        times.sort_by(f64::total_cmp);
        writeln!(out, "{}", serde_json::json!({ "seconds": times[times.len() / 2], "check": check }))?;
    }
    Ok(())
}

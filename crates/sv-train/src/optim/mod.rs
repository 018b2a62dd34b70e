//! Optimizers with parameter groups and clipping, whose state can be saved and restored to the same bits, and schedules of
//! rates and margins.

mod config;
mod error;
mod groups;
mod schedule;
mod update;

use std::collections::{HashMap, HashSet};

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use sv_losses::Parameter;

pub use config::{AdamForm, Clip, GroupRule, Method, OptimizerConfig};
pub use error::OptimizerError;
pub use schedule::{CyclicShape, Growth, MarginSchedule, Schedule, WarmUpFrom};

use crate::TrainError;
use groups::Factors;
use update::{Moments, Scalars};

/// The tensor of a state that counts steps.
const STEP: &str = "step";

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// Length of all gradients taken as one vector, each scaled by its group, before clipping.
    pub gradient_norm: f64,
    /// Whether clipping shortened it.
    pub clipped: bool,
}

/// Moves parameters along their gradients.
#[derive(Debug)]
pub struct Optimizer {
    config: OptimizerConfig,
    /// The parameters that are not frozen.
    slots: Vec<Slot>,
    steps: u64,
}

/// A parameter that is trained.
#[derive(Debug)]
struct Slot {
    name: String,
    var: Var,
    factors: Factors,
    moments: Moments,
}

impl Optimizer {
    /// An optimizer of `parameters`, f32 or f64, with nothing remembered yet.
    ///
    /// # Errors
    /// [`TrainError::Optimizer`] for options out of range, a rule that matches nothing, a parameter given twice or of another
    /// type, and if nothing is left to train.
    pub fn new(config: &OptimizerConfig, parameters: Vec<Parameter>) -> Result<Self, TrainError> {
        config.check()?;
        let mut names = HashMap::new();
        let mut variables = HashMap::new();
        for Parameter { name, var } in &parameters {
            if let Some(first) = names.insert(name, name).or(variables.insert(var.id(), name)) {
                return Err(OptimizerError::Twice { first: first.clone(), second: name.clone() }.into());
            }
        }
        let names: Vec<&str> = parameters.iter().map(|parameter| &parameter.name[..]).collect();
        let factors = groups::factors(&config.rules, &names)?;
        let count = parameters.len();
        let mut slots = Vec::with_capacity(count);
        for (Parameter { name, var }, factors) in parameters.into_iter().zip(factors) {
            if factors.frozen {
                continue;
            }
            let Some(moments) = config.method.start(var.dtype(), var.elem_count()) else {
                return Err(OptimizerError::DataType { name, dtype: var.dtype() }.into());
            };
            slots.push(Slot { name, var, factors, moments });
        }
        if slots.is_empty() {
            return Err(OptimizerError::NothingToTrain { parameters: count }.into());
        }
        Ok(Self { config: config.clone(), slots, steps: 0 })
    }

    /// Steps made, those before a restored state included.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// One step at learning rate `rate`, in place. Computed on the CPU; parameters elsewhere are fetched and put back.
    ///
    /// # Errors
    /// [`TrainError::Optimizer`] for a parameter without gradient, a gradient that is not finite or does not fit, and a rate
    /// that is negative or not finite. No parameter has moved then, unless candle itself fails between two of them.
    pub fn step(&mut self, gradients: &GradStore, rate: f64) -> Result<StepReport, TrainError> {
        config::not_negative("rate", rate)?;
        let gradients = self.fitting(gradients)?;
        let mut squares = 0.0;
        for (slot, gradient) in self.slots.iter().zip(&gradients) {
            let own = update::sum_of_squares(gradient).map_err(|source| slot.refused(source))?;
            squares += own * slot.factors.before_clip * slot.factors.before_clip;
            // Also not-a-number: infinity times a factor of 0.
            if !squares.is_finite() {
                return Err(OptimizerError::NotFinite { step: self.steps, name: slot.name.clone() }.into());
            }
        }
        let norm = squares.sqrt();
        let clip = self.config.clip.factor(norm);
        for (slot, gradient) in self.slots.iter_mut().zip(&gradients) {
            let scalars = Scalars {
                rate: rate * slot.factors.rate,
                weight_decay: slot.factors.weight_decay,
                gradient: slot.factors.before_clip * clip * slot.factors.after_clip,
                count: self.steps + 1,
            };
            slot.step(&self.config.method, scalars, gradient)?;
        }
        self.steps += 1;
        Ok(StepReport { gradient_norm: norm, clipped: clip < 1.0 })
    }

    /// The gradient of each slot, contiguous on the CPU.
    fn fitting(&self, gradients: &GradStore) -> Result<Vec<Tensor>, OptimizerError> {
        let mut found = Vec::with_capacity(self.slots.len());
        let mut names = Vec::new();
        for slot in &self.slots {
            let Some(gradient) = gradients.get(&slot.var) else {
                names.push(slot.name.clone());
                continue;
            };
            slot.fits(&slot.name, gradient)?;
            let gradient = gradient.to_device(&Device::Cpu).and_then(|gradient| gradient.contiguous());
            found.push(gradient.map_err(|source| slot.refused(source))?);
        }
        if names.is_empty() { Ok(found) } else { Err(OptimizerError::NoGradient { step: self.steps, names }) }
    }

    /// All that the next step depends on besides parameters and gradients: `step`, and what the method remembers of a
    /// parameter as `PARAMETER/first-moment` and so on. On the CPU.
    ///
    /// # Errors
    /// As candle, on making tensors.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>, TrainError> {
        let tensor = |name: &str, tensor: candle_core::Result<Tensor>| match tensor {
            Ok(tensor) => Ok((name.to_owned(), tensor)),
            Err(source) => Err(OptimizerError::Tensor { name: name.to_owned(), source: source.into() }),
        };
        // Steps fit an i64 for longer than anything runs.
        let mut state = vec![tensor(STEP, Tensor::new(self.steps as i64, &Device::Cpu))?];
        for slot in &self.slots {
            for (index, moment) in self.config.method.moments().iter().enumerate() {
                let values = match &slot.moments {
                    Moments::F32(moments) => Tensor::from_slice(&moments[index], slot.var.shape(), &Device::Cpu),
                    Moments::F64(moments) => Tensor::from_slice(&moments[index], slot.var.shape(), &Device::Cpu),
                };
                state.push(tensor(&format!("{}/{moment}", slot.name), values)?);
            }
        }
        Ok(state)
    }

    /// Goes on from what [`Optimizer::state`] gave, in any order: the next steps are those of the optimizer that gave it, to
    /// the same bits.
    ///
    /// # Errors
    /// [`TrainError::Optimizer`] for tensors that are missing, unknown, twice there or of another shape or type; what is
    /// remembered is as before then.
    pub fn restore(&mut self, state: &[(String, Tensor)]) -> Result<(), TrainError> {
        let moments = self.config.method.moments();
        let mut needed: Vec<String> = vec![STEP.into()];
        for slot in &self.slots {
            needed.extend(moments.iter().map(|moment| format!("{}/{moment}", slot.name)));
        }
        let by_name: HashMap<&str, &Tensor> = state.iter().map(|(name, tensor)| (&name[..], tensor)).collect();
        let missing: Vec<String> = needed.iter().filter(|name| !by_name.contains_key(&name[..])).cloned().collect();
        let mut wanted: HashSet<&str> = needed.iter().map(|name| &name[..]).collect();
        let unknown = state.iter().map(|(name, _)| name).filter(|name| !wanted.remove(&name[..]));
        let unknown: Vec<String> = unknown.cloned().collect();
        if !(missing.is_empty() && unknown.is_empty()) {
            return Err(OptimizerError::State { missing, unknown }.into());
        }
        let steps = steps_of(by_name[STEP])?;
        let mut restored = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            let named: Vec<String> = moments.iter().map(|moment| format!("{}/{moment}", slot.name)).collect();
            for name in &named {
                slot.fits(name, by_name[&name[..]])?;
            }
            let flat = |name: &String| by_name[&name[..]].flatten_all();
            let values = match slot.moments {
                Moments::F32(_) => {
                    named.iter().map(|name| flat(name)?.to_vec1()).collect::<Result<_, _>>().map(Moments::F32)
                }
                Moments::F64(_) => {
                    named.iter().map(|name| flat(name)?.to_vec1()).collect::<Result<_, _>>().map(Moments::F64)
                }
            };
            restored.push(values.map_err(|source| slot.refused(source))?);
        }
        self.steps = steps;
        for (slot, moments) in self.slots.iter_mut().zip(restored) {
            slot.moments = moments;
        }
        Ok(())
    }
}

impl Slot {
    fn step(&mut self, method: &Method, scalars: Scalars, gradient: &Tensor) -> Result<(), OptimizerError> {
        let moments = &mut self.moments;
        let done = if self.var.device().is_cpu() {
            update::step(method, scalars, &self.var, gradient, moments)
        } else {
            self.var.to_device(&Device::Cpu).and_then(|copy| {
                update::step(method, scalars, &copy, gradient, moments)?;
                self.var.set(&copy.to_device(self.var.device())?)
            })
        };
        done.map_err(|source| self.refused(source))
    }

    /// Checks a tensor against the parameter's shape and type.
    fn fits(&self, name: &str, tensor: &Tensor) -> Result<(), OptimizerError> {
        if tensor.shape() == self.var.shape() && tensor.dtype() == self.var.dtype() {
            return Ok(());
        }
        Err(OptimizerError::Form {
            name: name.to_owned(),
            got: tensor.dims().to_vec(),
            got_type: tensor.dtype(),
            need: self.var.dims().to_vec(),
            need_type: self.var.dtype(),
        })
    }

    fn refused(&self, source: candle_core::Error) -> OptimizerError {
        OptimizerError::Tensor { name: self.name.clone(), source: source.into() }
    }
}

fn steps_of(tensor: &Tensor) -> Result<u64, OptimizerError> {
    if tensor.rank() != 0 || tensor.dtype() != DType::I64 {
        return Err(OptimizerError::Form {
            name: STEP.into(),
            got: tensor.dims().to_vec(),
            got_type: tensor.dtype(),
            need: Vec::new(),
            need_type: DType::I64,
        });
    }
    let steps = tensor
        .to_scalar::<i64>()
        .map_err(|source| OptimizerError::Tensor { name: STEP.into(), source: source.into() })?;
    let bad = OptimizerError::Option { option: STEP, got: steps as f64, need: "not negative" };
    u64::try_from(steps).map_err(|_| bad)
}

#[cfg(test)]
mod tests;

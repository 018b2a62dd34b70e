//! Batches ahead of time: threads that prepare the steps to come, handed out in order.

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::{Batch, DataError, TrainingData};
use crate::TrainError;

type Made = Result<Batch, TrainError>;

/// The batches of some steps, in order, prepared ahead on threads of its own (not those of rayon, which the step uses).
///
/// How many threads there are changes no bit. An error of a worker arrives at its step; later steps can still be asked for.
/// Dropping the loader stops its threads; each finishes the batch that it is at.
pub struct Loader {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    make: Box<dyn Fn(u64) -> Made + Send + Sync>,
    end: u64,
    /// Batches that may wait, those being made included.
    depth: u64,
    state: Mutex<State>,
    /// Told when a batch is ready, when one is taken and when all is over.
    changed: Condvar,
}

struct State {
    /// Next step for a worker.
    next: u64,
    /// Next step to hand out.
    wanted: u64,
    ready: BTreeMap<u64, Made>,
    stopped: bool,
}

impl Loader {
    /// Prepares the batches of `steps` on `workers` threads, at most `depth` of them ahead (at least one each). Without workers
    /// each batch is made when it is asked for.
    #[must_use]
    pub fn start(data: Arc<TrainingData>, seed: u64, steps: Range<u64>, workers: usize, depth: usize) -> Self {
        Self::of(move |step| data.batch(seed, step), steps, workers, depth)
    }

    fn of(make: impl Fn(u64) -> Made + Send + Sync + 'static, steps: Range<u64>, workers: usize, depth: usize) -> Self {
        let state = State { next: steps.start, wanted: steps.start, ready: BTreeMap::new(), stopped: false };
        let shared = Arc::new(Shared {
            make: Box::new(make),
            end: steps.end,
            depth: depth.max(workers).max(1) as u64,
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let start = |number| {
            let shared = Arc::clone(&shared);
            // Where the system has no thread left, those that there are do all, or the caller does.
            thread::Builder::new().name(format!("batches-{number}")).spawn(move || shared.work()).ok()
        };
        let workers = (0..workers).filter_map(start).collect();
        Self { shared, workers }
    }
}

impl Iterator for Loader {
    type Item = Made;

    fn next(&mut self) -> Option<Made> {
        let mut state = self.shared.lock();
        let step = state.wanted;
        if step >= self.shared.end {
            return None;
        }
        state.wanted += 1;
        if self.workers.is_empty() {
            drop(state);
            return Some(self.shared.make(step));
        }
        // There is room for one more ahead.
        self.shared.changed.notify_all();
        loop {
            if let Some(made) = state.ready.remove(&step) {
                return Some(made);
            }
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loader").field("workers", &self.workers.len()).finish_non_exhaustive()
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
        for worker in self.workers.drain(..) {
            // Its panics were caught; there is nobody to tell of another.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut state = self.lock();
        loop {
            if state.stopped || state.next >= self.end {
                return;
            }
            if state.next - state.wanted.min(state.next) >= self.depth {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let step = state.next;
            state.next += 1;
            drop(state);
            let made = self.make(step);
            state = self.lock();
            state.ready.insert(step, made);
            self.changed.notify_all();
        }
    }

    /// A panic must not leave the caller waiting for a batch that never comes.
    fn make(&self, step: u64) -> Made {
        catch_unwind(AssertUnwindSafe(|| (self.make)(step)))
            .unwrap_or_else(|panic| Err(DataError::WorkerStopped { step, what: message(&*panic) }.into()))
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    fn changed(step: u64) -> TrainError {
        DataError::Changed { recording: step.to_string() }.into()
    }

    #[test]
    fn a_panic_of_a_worker_arrives_as_an_error_at_its_step_and_later_steps_still_come() {
        for workers in [0, 2] {
            let make = |step| if step == 1 { panic!("out of paper") } else { Err(changed(step)) };
            let made: Vec<Made> = Loader::of(make, 0..4, workers, 2).collect();
            assert_eq!(made.len(), 4);
            for (step, made) in made.into_iter().enumerate() {
                match made.unwrap_err() {
                    TrainError::Data(DataError::WorkerStopped { step: 1, what }) => {
                        assert_eq!((step, what.as_str()), (1, "out of paper"));
                    }
                    TrainError::Data(DataError::Changed { recording }) => assert_eq!(recording, step.to_string()),
                    other => panic!("{other}"),
                }
            }
        }
    }

    #[test]
    fn workers_run_no_further_ahead_than_they_may() {
        let furthest = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&furthest);
        let make = move |step| {
            seen.fetch_max(step, Ordering::SeqCst);
            Err(changed(step))
        };
        let mut loader = Loader::of(make, 0..1_000, 2, 5);
        for step in 0..200 {
            // Handing out step s lets workers take steps up to s + 5.
            assert!(loader.next().is_some());
            assert!(furthest.load(Ordering::SeqCst) <= step + 5);
        }
    }
}

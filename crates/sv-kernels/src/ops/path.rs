//! Which implementation takes a call: the kernels of this crate, or the composition that other devices run.

use std::cell::Cell;

use candle_core::{DType, Tensor};

thread_local! {
    static COMPOSED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` with every operation of this module composed of stock operations, as on a GPU, whatever the device: the switch
/// by which tests hold that path to the references. It holds for calls on this thread, and for the backward passes of what
/// they give wherever those run.
pub fn composed_only<R>(work: impl FnOnce() -> R) -> R {
    /// Puts back what was, also when `work` panics.
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            COMPOSED.set(self.0);
        }
    }
    let _before = Before(COMPOSED.replace(true));
    work()
}

/// Whether the kernels of this crate may take tensors on the CPU.
pub(super) fn kernels_allowed() -> bool {
    !COMPOSED.get()
}

/// Whether the f32 kernels of this crate take an operation on `tensors`.
pub(super) fn on_kernels(tensors: &[&Tensor]) -> bool {
    kernels_allowed() && tensors.iter().all(|tensor| tensor.dtype() == DType::F32 && tensor.device().is_cpu())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_switch_holds_while_the_work_runs_and_no_longer() {
        assert!(kernels_allowed());
        assert!(!composed_only(|| composed_only(kernels_allowed) || kernels_allowed()));
        let caught = std::panic::catch_unwind(|| composed_only(|| panic!("on purpose")));
        assert!(caught.is_err() && kernels_allowed());
    }
}

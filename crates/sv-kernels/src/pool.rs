//! The worker threads: rayon's global pool, bounded once by the binary. Beside [`crate::memory`] the only state of the process that
//! this crate touches; the kernels run on whatever pool is current.

mod attended;
mod places;

use crate::error::KernelError;

pub use attended::attended;

/// Starts rayon's global pool with `threads` threads; 0 takes one a core. A binary calls it once, before any parallel call.
///
/// # Errors
/// [`KernelError::PoolRuns`] if the pool runs already (a second call, or parallel work before the first);
/// [`KernelError::PoolStart`] if the operating system gives no threads.
pub fn limit(threads: usize) -> Result<(), KernelError> {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().map_err(|error| {
        // rayon tells the two apart only by whether a cause is attached, which is so for errors of the system.
        if std::error::Error::source(&error).is_some() {
            KernelError::PoolStart { threads, reason: error.to_string() }
        } else {
            KernelError::PoolRuns
        }
    })
}

/// Threads of the pool that a parallel call from here would run on.
#[must_use]
pub fn threads() -> usize {
    rayon::current_num_threads()
}

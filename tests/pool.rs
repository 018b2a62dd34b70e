//! The worker threads: bounded once, then counted. In a process of its own, because the pool is the process's.

use std::collections::HashSet;
use std::sync::Mutex;

use sv_kernels::{KernelError, pool};

#[test]
fn the_pool_has_as_many_threads_as_were_asked_for_and_no_second_limit_is_taken() {
    pool::limit(3).expect("no pool runs yet");
    assert_eq!(pool::threads(), 3);
    let seen = Mutex::new(HashSet::new());
    rayon::broadcast(|_| seen.lock().expect("no thread panics").insert(std::thread::current().id()));
    assert_eq!(seen.lock().expect("no thread panics").len(), 3);
    assert_eq!(pool::limit(2), Err(KernelError::PoolRuns));
    assert_eq!(pool::threads(), 3);
}

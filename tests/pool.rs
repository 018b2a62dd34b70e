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

    // A call that keeps them to processors lets them go again.
    let before = rayon::broadcast(|_| allowed());
    let inside = pool::attended(allowed);
    assert_eq!(rayon::broadcast(|_| allowed()), before);
    // One processor: a number alone.
    assert!(inside.is_none_or(|list| list.parse::<usize>().is_ok()));
}

/// Where this thread may run, as Linux writes it: `0-1`.
fn allowed() -> Option<String> {
    let status = std::fs::read_to_string("/proc/thread-self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).map(|list| list.trim().to_owned())
}

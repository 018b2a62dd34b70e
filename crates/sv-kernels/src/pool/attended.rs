//! Many short parallel steps in a row: the pool's threads are woken once, each on a processor of its own, and stay awake.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::places::Places;

/// How long the first thread waits for the others to wake. One that a busy processor holds up comes later.
const WAKING: Duration = Duration::from_micros(150);
/// Of [`WAKING`], what threads need that wake on processors of their own.
const PROMPT: Duration = Duration::from_micros(40);

/// Runs `work` on a thread of the pool, the other threads awake for what it shares out. For work of some milliseconds in steps of
/// some ten microseconds: each step would else wake threads anew, and a system that wakes a thread on the processor of its waker
/// (Linux on few processors that were busy of late) would run the halves of a step one after the other. On Linux each thread
/// keeps to one processor until the work is done, where there are enough of them.
///
/// On a thread of a pool, whose other threads have tasks of their own, in a pool of one, and while another call is attended, `work`
/// is only run: a thread that waits for steps of one call would else take up all of another, and hold the first up until its end.
///
/// ```
/// use sv_kernels::pool::attended;
///
/// assert_eq!(attended(|| (1..=4).sum::<i32>()), 10);
/// ```
pub fn attended<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    let others = rayon::current_num_threads() - 1;
    if others == 0 || rayon::current_thread_index().is_some() || ATTENDED.swap(true, Ordering::Acquire) {
        return work();
    }
    // Also when `work` panics.
    let _next = Next;
    let call = Call::default();
    rayon::scope(|scope| {
        // Also when `work` panics: the scope waits for the others.
        let _end = End(&call.done);
        let _place = call.places.take();
        for _ in 0..others {
            scope.spawn(|_| call.attend());
        }
        call.wait_for(others);
        work()
    })
}

/// Whether the threads of the global pool, which is where calls from outside run, attend one already.
static ATTENDED: AtomicBool = AtomicBool::new(false);

/// Lets the next call be attended.
struct Next;

impl Drop for Next {
    fn drop(&mut self) {
        ATTENDED.store(false, Ordering::Release);
    }
}

/// What the threads of a call tell each other.
#[derive(Default)]
struct Call {
    done: AtomicBool,
    awake: AtomicUsize,
    places: Places,
}

struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Call {
    /// Takes parts of steps until the call is done.
    fn attend(&self) {
        let _place = self.places.take();
        self.awake.fetch_add(1, Ordering::Release);
        while !self.done.load(Ordering::Acquire) {
            if rayon::yield_now() != Some(rayon::Yield::Executed) {
                std::hint::spin_loop();
            }
        }
    }

    /// Gives the others a moment to wake, and after [`PROMPT`] this thread's processor, too: one of them may wait for it.
    fn wait_for(&self, others: usize) {
        let begin = Instant::now();
        while self.awake.load(Ordering::Acquire) < others {
            match begin.elapsed() {
                waited if waited > WAKING => return,
                waited if waited > PROMPT => std::thread::yield_now(),
                _ => std::hint::spin_loop(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;

    /// Steps in a row, each shared out.
    fn steps(first: u64) -> u64 {
        attended(|| (0..100).map(|step| (0..8_u64).into_par_iter().map(|part| first + step + part).sum::<u64>()).sum())
    }

    #[test]
    fn calls_at_once_share_the_pool_and_get_their_own_results() {
        std::thread::scope(|scope| {
            let calls: Vec<_> =
                (0..8_u64).map(|first| scope.spawn(move || [first, steps(first), steps(first)])).collect();
            for call in calls {
                let [first, once, again] = call.join().unwrap();
                assert_eq!([once, again], [800 * first + 8 * 4950 + 100 * 28; 2]);
            }
        });
    }

    #[test]
    fn work_on_a_thread_of_the_pool_stays_there() {
        let index = rayon::scope(|_| {
            let here = rayon::current_thread_index();
            attended(move || here == rayon::current_thread_index())
        });
        assert!(index);
    }

    #[test]
    fn work_that_panics_ends_the_call() {
        let result = std::panic::catch_unwind(|| attended(|| assert_eq!(steps(0), 1)));
        assert!(result.is_err());
        assert_eq!(steps(0), 8 * 4950 + 100 * 28);
    }
}

//! A processor for each thread of a call.

#[cfg(target_os = "linux")]
pub(super) use linux::Places;
#[cfg(not(target_os = "linux"))]
pub(super) use other::Places;

#[cfg(target_os = "linux")]
mod linux {
    use std::sync::{Mutex, PoisonError};

    use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

    /// The processors that the threads of a call have taken.
    #[derive(Default)]
    pub(in super::super) struct Places(Mutex<Option<CpuSet>>);

    /// A thread on a processor of its own; it may run where it might before when this is dropped.
    pub(in super::super) struct Place(CpuSet);

    impl Places {
        /// Keeps this thread to the processor that it runs on, or to another that it may run on if that one is taken. None if
        /// all are taken or the system refuses: the thread is left alone then, which costs time only.
        pub(in super::super) fn take(&self) -> Option<Place> {
            let allowed = sched_getaffinity(None).ok()?;
            let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let taken = taken.get_or_insert_with(CpuSet::new);
            let free = |&processor: &usize| allowed.is_set(processor) && !taken.is_set(processor);
            let here = Some(sched_getcpu()).filter(|&here| here < CpuSet::MAX_CPU).filter(free);
            let place = here.or_else(|| (0..CpuSet::MAX_CPU).find(free))?;
            let mut only = CpuSet::new();
            only.set(place);
            sched_setaffinity(None, &only).ok()?;
            taken.set(place);
            Some(Place(allowed))
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            // Refused only if none of them is left to the process; then the system has set what is.
            let _ = sched_setaffinity(None, &self.0);
        }
    }
}

/// Elsewhere threads are left where the system puts them.
#[cfg(not(target_os = "linux"))]
mod other {
    #[derive(Default)]
    pub(in super::super) struct Places;

    impl Places {
        pub(in super::super) fn take(&self) -> Option<()> {
            None
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::Places;
    use rustix::thread::sched_getaffinity;

    #[test]
    fn each_place_is_another_processor_until_there_are_no_more_and_all_are_given_back() {
        let before = sched_getaffinity(None).unwrap();
        let threads = before.count() as usize + 2;
        let (places, barrier) = (Places::default(), std::sync::Barrier::new(threads));
        let take = || {
            let place = places.take();
            let now = sched_getaffinity(None).unwrap();
            barrier.wait();
            let taken = place.is_some();
            drop(place);
            (taken, now, sched_getaffinity(None).unwrap())
        };
        let found: Vec<_> = std::thread::scope(|scope| {
            let taking: Vec<_> = (0..threads).map(|_| scope.spawn(take)).collect();
            taking.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let mut seen = Vec::new();
        for (taken, now, after) in found {
            assert!(after == before);
            if taken {
                assert!(now.count() == 1 && !seen.contains(&now));
                seen.push(now);
            } else {
                assert!(now == before);
            }
        }
        assert_eq!(seen.len() + 2, threads);
    }
}

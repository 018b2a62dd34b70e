//! What becomes of memory that is freed: a program that trains asks once that the process keeps it.

/// Has the C library keep what is freed for the next allocation, up to 2 GiB, instead of giving it back to the system: a training
/// frees and asks for the same hundreds of MiB at every step, and pages that come anew from the system are cleared first, which was
/// a tenth of a step. For a binary, once; it holds for the whole process. Whether the C library has such a setting: glibc has.
pub fn keep_freed() -> bool {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: sets numbers of the allocator, under its own lock.
        let set = |what, value| unsafe { libc::mallopt(what, value) } == 1;
        set(libc::M_TRIM_THRESHOLD, i32::MAX) && set(libc::M_MMAP_THRESHOLD, i32::MAX)
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    {
        false
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn glibc_keeps_memory_and_allocates_on() {
        assert_eq!(super::keep_freed(), cfg!(all(target_os = "linux", target_env = "gnu")));
        let many: Vec<Vec<u8>> = (0..8_u8).map(|value| vec![value; 1 << 22]).collect();
        assert!(many.iter().zip(0..).all(|(values, value)| values.iter().all(|&other| other == value)));
    }
}

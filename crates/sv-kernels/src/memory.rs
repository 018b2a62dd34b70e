//! What becomes of memory that is freed: a program that trains asks once that the process keeps it.

/// How much of what the allocator gets next from the system is to be in large pages, in bytes: less than it keeps.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const IN_LARGE_PAGES: usize = 3 << 29;

/// Has the C library keep what is freed for the next allocation, up to 2 GiB, instead of giving it back to the system: a training
/// frees and asks for the same hundreds of MiB at every step, and pages that come anew from the system are cleared first, which was
/// a tenth of a step. The first 1.5 GiB are in pages of 2 MiB where the system gives them on request, so that kernels which stream
/// through activations meet a page's end rarely: another twentieth.
///
/// For a binary, once, before it allocates much; it holds for the whole process. Whether the C library has such a setting: glibc
/// has.
pub fn keep_freed() -> bool {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: sets numbers of the allocator, under its own lock.
        let set = |what, value| unsafe { libc::mallopt(what, value) } == 1;
        let kept = set(libc::M_TRIM_THRESHOLD, i32::MAX) && set(libc::M_MMAP_THRESHOLD, i32::MAX);
        if kept {
            ask_for_large_pages();
        }
        kept
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    {
        false
    }
}

/// Has the allocator get addresses at one go, which take no memory until they are written to, and the system note that they are to
/// be in large pages; then they are the allocator's again. Where either refuses, pages are as they were.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn ask_for_large_pages() {
    const PAGE: usize = 2 << 20;
    // SAFETY: the block is this function's until it is freed, once, and no byte of it is read or written. The range is whole pages
    // within the block; a hint about paging changes no content.
    unsafe {
        let block = libc::malloc(IN_LARGE_PAGES);
        if !block.is_null() {
            let skipped = block.align_offset(PAGE);
            if skipped < IN_LARGE_PAGES {
                libc::madvise(block.byte_add(skipped), (IN_LARGE_PAGES - skipped) / PAGE * PAGE, libc::MADV_HUGEPAGE);
            }
            libc::free(block);
        }
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

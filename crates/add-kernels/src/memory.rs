//! The allocator's habits, and what the process has taken.

/// `mi_option_purge_delay` of mimalloc's header, which the bindings leave out: milliseconds until free memory goes back
/// to the system.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Lets mimalloc, where it is the program's allocator, keep freed memory for ten seconds in place of ten milliseconds.
///
/// A training step wants the memory that the one before has freed. Given back to the system in between, each page costs
/// a fault and, with several threads, an interrupt of every processor: a fifth of a small network's step. The variable
/// `MIMALLOC_PURGE_DELAY` takes precedence.
pub fn keep_free_memory() {
    if std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
        // SAFETY: an option may be set at any time; mimalloc ignores numbers that it does not know.
        unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, 10_000) };
    }
}

/// The largest memory that the process has had at once, in bytes; `None` where the system does not say.
pub fn peak_resident() -> Option<u64> {
    status("VmHWM:")
}

/// Forgets the peak so far and returns the memory that the process has now, in bytes; `None` where the system cannot.
pub fn reset_peak_resident() -> Option<u64> {
    std::fs::write("/proc/self/clear_refs", "5").ok()?;
    status("VmRSS:")
}

/// A line of the process's status, in bytes.
fn status(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(1024 * kilobytes)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn the_peak_counts_what_was_freed_until_it_is_reset() {
        let rest = reset_peak_resident().expect("a Linux system says");
        drop(std::hint::black_box(vec![1_u8; 256 << 20]));
        assert!(peak_resident().expect("a Linux system says") >= rest + (128 << 20));
    }
}

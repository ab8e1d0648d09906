//! Programs of what parties can do at a driver: see tests/program.
#![no_main]

#[path = "../../tests/parties/mod.rs"]
mod parties;
#[path = "../../tests/program/mod.rs"]
mod program;

use libfuzzer_sys::fuzz_target;

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// Ruby and Rust's test runner ignore it, so that a pipe without a reader is an error only.
fn ignore_sigpipe() {
    // SAFETY: installs no handler of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

fuzz_target!(init: ignore_sigpipe(), |bytes: &[u8]| {
    let before = open_descriptors();
    program::run(bytes);
    assert_eq!(open_descriptors(), before);
});

//! Durations in the types that system calls take.

use std::time::Duration;

/// Converts to a timespec. A duration beyond the range of [`seconds`] becomes the longest one.
pub(crate) fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: seconds(duration.as_secs().into()) as _,
        tv_nsec: duration.subsec_nanos() as _,
    }
}

/// Limits seconds to the range of every clock type: at most 68 years.
pub(crate) fn seconds(seconds: u128) -> i32 {
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

/// Milliseconds rounded up, so that a short wait does not become a spin; -1 waits for ever.
pub(crate) fn milliseconds(timeout: Option<Duration>) -> i32 {
    let Some(timeout) = timeout else { return -1 };
    i32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
}

//! Ruby's numbers as durations.
#![allow(unsafe_code)]

use std::time::Duration;

use magnus::rb_sys::{protect, AsRawValue};
use magnus::{Error, Float, Integer, Ruby, Value};
use rb_sys::rb_time_timespec_interval;

use magnus::value::ReprValue;

/// Seconds as a duration; nil is `None`. It raises TypeError for an object that is no number, and ArgumentError
/// for a negative number, with Ruby's own words.
pub fn optional(ruby: &Ruby, seconds: Value) -> Result<Option<Duration>, Error> {
    if seconds.is_nil() {
        return Ok(None);
    }
    required(ruby, seconds).map(Some)
}

/// Seconds as a duration, see [`optional`].
pub fn required(ruby: &Ruby, seconds: Value) -> Result<Duration, Error> {
    const FAST_MAX: f64 = 1e9;
    if let Some(float) = Float::from_value(seconds) {
        let float = float.to_f64();
        if (0.0..FAST_MAX).contains(&float) {
            return Ok(Duration::from_secs_f64(float));
        }
        if float == f64::INFINITY {
            return Ok(Duration::MAX);
        }
    } else if let Some(integer) = Integer::from_value(seconds) {
        if let Ok(whole) = integer.to_u64() {
            return Ok(Duration::from_secs(whole));
        }
    }
    let mut interval = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    protect(|| {
        // SAFETY: the function takes any value, and `protect` catches exceptions.
        let converted = unsafe { rb_time_timespec_interval(seconds.as_raw()) };
        interval.tv_sec = converted.tv_sec;
        interval.tv_nsec = converted.tv_nsec;
        ruby.qnil().as_raw()
    })?;
    Ok(Duration::new(
        interval.tv_sec.max(0) as u64,
        interval.tv_nsec.max(0) as u32,
    ))
}

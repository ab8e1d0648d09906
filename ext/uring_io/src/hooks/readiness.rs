//! The hook io_wait.
#![allow(unsafe_code)]

use magnus::rb_sys::{protect, AsRawValue, FromRawValue};
use magnus::value::ReprValue;
use magnus::{Error, Ruby, Value};
use uring_io_core::Interest;

use crate::engine::Engine;
use crate::hooks::transfer;
use crate::ruby::io::{self, OpenIo};
use crate::ruby::{duration, errors};

type Hook<T> = Result<T, Error>;

/// Waits until an IO is ready for some of `events`: for which, or false when the timeout passed first.
pub fn wait(engine: &Engine, ruby: &Ruby, io: Value, events: Value, timeout: Value) -> Hook<Value> {
    let io = OpenIo::new(ruby, io)?;
    let interest = io::interest(ruby, events)?;
    let given = duration::optional(ruby, timeout)?;
    if given.is_some_and(|timeout| timeout.is_zero()) {
        return look_at(ruby, engine, io, interest);
    }
    let own = if given.is_none() {
        engine.timeout_of(ruby, io)?
    } else {
        None
    };
    match engine.poll_found(ruby, io.fd, interest, given.or(own))? {
        Some(found) => Ok(io::told(ruby, found)),
        // Ruby 3.3 takes false for "would block"; from 3.4 on it raises the error itself.
        None if cfg!(ruby_lt_3_4) && own.is_some() => Err(errors::io_timeout(
            ruby,
            transfer::timeout_message(interest),
        )),
        None => Ok(ruby.qfalse().as_value()),
    }
}

/// Whether an IO is ready, without waiting, but for other fibers that can run. Net::HTTP asks before it
/// uses a connection again, so it must cost no more than one system call; and where others finish with
/// their answers first, the requests that follow go out together, and wake the server once.
fn look_at(ruby: &Ruby, engine: &Engine, io: OpenIo, interest: Interest) -> Hook<Value> {
    if engine.is_busy() || !engine.may_do_at_once() {
        engine.yield_turn_on(ruby, io.fd)?;
    }
    engine.count_direct_call();
    let found = uring_io_core::found_now(io.fd, interest);
    Ok(match found.map_err(|error| errors::errno(ruby, error))? {
        Some(found) => io::told(ruby, found),
        None => ruby.qfalse().as_value(),
    })
}

/// Waits for an IO in a thread that has no scheduler.
pub fn wait_blocking(io: Value, events: Value, timeout: Value) -> Hook<Value> {
    // SAFETY: any values may be passed; what raises is caught by `protect`.
    let ready =
        protect(|| unsafe { rb_sys::rb_io_wait(io.as_raw(), events.as_raw(), timeout.as_raw()) })?;
    // SAFETY: the call returned a value.
    Ok(unsafe { Value::from_raw(ready) })
}

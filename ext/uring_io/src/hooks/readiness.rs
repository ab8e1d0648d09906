//! The hook io_wait.
#![allow(unsafe_code)]

use std::time::Duration;

use magnus::rb_sys::{protect, AsRawValue, FromRawValue};
use magnus::value::ReprValue;
use magnus::{Error, Ruby, Value};
use uring_io_core::Interest;

use crate::engine::Engine;
use crate::hooks::transfer;
use crate::ruby::io::{self, Kind, OpenIo};
use crate::ruby::{caller, duration, errors};

type Hook<T> = Result<T, Error>;

/// Waits until an IO is ready for some of `events`. Returns the events that it is ready for, or false if the timeout
/// passes first.
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
    let timeout = given.or(own);
    if interest == Interest::WRITABLE && waits_in_vain(ruby, engine, io)? {
        let pause = timeout.map_or(PAUSE, |timeout| timeout.min(PAUSE));
        engine.pause_on(ruby, io.fd, pause)?;
        return Ok(io::events(ruby, interest));
    }
    match engine.poll_found(ruby, io.fd, interest, timeout)? {
        Some(found) => Ok(io::told(ruby, found)),
        // Ruby 3.3 takes false for "would block". From 3.4 on it raises the error itself.
        None if cfg!(ruby_lt_3_4) && own.is_some() => Err(errors::io_timeout(
            ruby,
            transfer::timeout_message(interest),
        )),
        None => Ok(ruby.qfalse().as_value()),
    }
}

/// How long a send waits when a poll would be in vain: see [`waits_in_vain`].
const PAUSE: Duration = Duration::from_millis(5);

/// Whether a send must wait although its socket is ready. A socket that is not connected is ready even when the queue
/// of its peer is full. Without the wait Ruby would send again at once, over and over.
fn waits_in_vain(ruby: &Ruby, engine: &Engine, io: OpenIo) -> Hook<bool> {
    if io.kind(ruby) != Kind::Socket || io.is_tcp(ruby) || !caller::sends() {
        return Ok(false);
    }
    engine.count_direct_call();
    if uring_io_core::Address::of_peer(io.fd).is_some() || !uring_io_core::keeps_messages(io.fd) {
        return Ok(false);
    }
    engine.count_direct_call();
    let found = uring_io_core::found_now(io.fd, Interest::WRITABLE);
    let found = found.map_err(|error| errors::errno(ruby, error))?;
    Ok(found.is_some())
}

/// Whether an IO is ready now. This does not wait for the IO, but it lets other ready fibers run first. Net::HTTP
/// calls it before it uses a connection again, so it must cost no more than one system call. When other fibers finish
/// with their answers first, the requests that follow go out together and wake the server once.
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
    // SAFETY: any values may be passed. `protect` catches a raise.
    let ready =
        protect(|| unsafe { rb_sys::rb_io_wait(io.as_raw(), events.as_raw(), timeout.as_raw()) })?;
    // SAFETY: the call returned a value.
    Ok(unsafe { Value::from_raw(ready) })
}

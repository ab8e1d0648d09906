//! The io_select hook: several IOs at once.

use magnus::{prelude::*, Error, RArray, Ruby, TryConvert, Value};
use uring_io_core::{Interest, Operation, Token};

use crate::engine::{Engine, Purpose};
use crate::io::OpenIo;
use crate::{duration, errors};

/// One IO of one of the three arrays.
struct Watched {
    /// What the caller gave, and gets back.
    object: Value,
    io: OpenIo,
    interest: Interest,
}

const INTERESTS: [Interest; 3] = [Interest::READABLE, Interest::WRITABLE, Interest::PRIORITY];

/// The three arrays of those that are ready, or nil when `timeout` passes first.
pub fn select(
    engine: &Engine,
    ruby: &Ruby,
    arrays: [Value; 3],
    timeout: Value,
) -> Result<Value, Error> {
    let timeout = duration::optional(ruby, timeout)?;
    let watched = watched(ruby, arrays)?;
    if let Some(ready) = ready_now(engine, ruby, &watched)? {
        return Ok(ready);
    }
    if timeout.is_some_and(|timeout| timeout.is_zero()) {
        return Ok(ruby.qnil().as_value());
    }
    let whole = engine.place(ruby, Purpose::Operation);
    if timeout.is_some() {
        engine.driver.set_timeout(whole.token, timeout);
    }
    loop {
        let parts = Parts::start(engine, ruby, whole.token, &watched)?;
        let wakeup = engine.await_wakeup(ruby, whole.token);
        drop(parts);
        let timed_out = wakeup? == uring_io_core::Wakeup::TimedOut;
        if let Some(ready) = ready_now(engine, ruby, &watched)? {
            return Ok(ready);
        }
        if timed_out {
            return Ok(ruby.qnil().as_value());
        }
    }
}

fn watched(ruby: &Ruby, arrays: [Value; 3]) -> Result<Vec<Watched>, Error> {
    let mut watched = Vec::new();
    for (array, interest) in arrays.into_iter().zip(INTERESTS) {
        if array.is_nil() {
            continue;
        }
        for object in RArray::try_convert(array)? {
            let io = match interest {
                Interest::WRITABLE => OpenIo::for_writing(ruby, object)?,
                _ => OpenIo::new(ruby, object)?,
            };
            watched.push(Watched {
                object,
                io,
                interest,
            });
        }
    }
    Ok(watched)
}

/// What is ready at this moment, as IO.select returns it; None when nothing is.
fn ready_now(engine: &Engine, ruby: &Ruby, watched: &[Watched]) -> Result<Option<Value>, Error> {
    let asked: Vec<_> = watched
        .iter()
        .map(|entry| (entry.io.fd, entry.interest))
        .collect();
    engine.driver.count_direct_call();
    let ready = uring_io_core::ready_now(&asked).map_err(|error| errors::errno(ruby, error))?;
    let results = [ruby.ary_new(), ruby.ary_new(), ruby.ary_new()];
    let mut any = false;
    for (entry, ready) in watched.iter().zip(ready) {
        let buffered = entry.interest == Interest::READABLE && entry.io.has_buffered_input();
        if ready || buffered {
            any = true;
            let index = INTERESTS
                .iter()
                .position(|interest| *interest == entry.interest);
            results[index.unwrap_or(0)].push(entry.object)?;
        }
    }
    Ok(any.then(|| ruby.ary_from_iter(results).as_value()))
}

/// The polls that run while the caller waits, ended when dropped.
struct Parts<'a> {
    engine: &'a Engine,
    tokens: Vec<Token>,
}

impl<'a> Parts<'a> {
    fn start(
        engine: &'a Engine,
        ruby: &Ruby,
        whole: Token,
        watched: &[Watched],
    ) -> Result<Self, Error> {
        let fiber = ruby.fiber_current();
        let mut parts = Self {
            engine,
            tokens: Vec::with_capacity(watched.len()),
        };
        for entry in watched {
            let token = engine.park_beside(fiber, Purpose::PartOf(whole));
            parts.tokens.push(token);
            let operation = Operation::Poll {
                fd: entry.io.fd,
                interest: entry.interest,
            };
            if engine.submit(ruby, token, &operation)?.is_some() {
                engine.driver.wake(whole);
            }
        }
        Ok(parts)
    }
}

impl Drop for Parts<'_> {
    fn drop(&mut self) {
        for token in &self.tokens {
            // A poll that cannot be cancelled completes some day and finds that nobody waits.
            let _ = self.engine.driver.cancel(*token);
            self.engine.driver.leave(*token);
        }
    }
}

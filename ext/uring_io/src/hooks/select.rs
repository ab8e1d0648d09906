//! The io_select hook: several IOs at once.

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use magnus::{prelude::*, Error, RArray, Ruby, TryConvert, Value};
use uring_io_core::Interest;

use crate::engine::Engine;
use crate::ruby::io::OpenIo;
use crate::ruby::{duration, errors};

/// The IOs of the three arrays. The objects are kept in Ruby arrays, where the GC sees and may
/// move them, and not in Rust memory.
struct Watched {
    /// The arguments of the caller, which it gets back.
    objects: RArray,
    /// The IO that each of these is or converts to.
    ios: RArray,
    /// The descriptor of each, and what it is watched for.
    entries: Vec<(RawFd, Interest)>,
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
    let selected = select_watched(engine, ruby, &watched, timeout);
    let of_kernel = |error: &Error| error.is_kind_of(ruby.exception_system_call_error());
    if selected.as_ref().err().is_none_or(of_kernel) {
        // The answer is of no use when a number belongs to another file by now.
        watched.check_open(ruby)?;
    }
    selected
}

fn select_watched(
    engine: &Engine,
    ruby: &Ruby,
    watched: &Watched,
    timeout: Option<Duration>,
) -> Result<Value, Error> {
    let waits = timeout.is_none_or(|timeout| !timeout.is_zero());
    if let ([(fd, interest)], true) = (&watched.entries[..], waits) {
        return select_one(engine, ruby, watched, (*fd, *interest), timeout);
    }
    if let Some(ready) = ready_now(engine, ruby, watched)? {
        return Ok(ready);
    }
    if timeout.is_some_and(|timeout| timeout.is_zero()) {
        return Ok(ruby.qnil().as_value());
    }
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let polls = |(_, interest): &(RawFd, Interest)| *interest != Interest::PRIORITY;
    if watched.entries.iter().all(polls) {
        let timed_out = engine.poll_any(ruby, &watched.entries, timeout)?;
        if let Some(ready) = ready_now(engine, ruby, watched)? {
            return Ok(ready);
        }
        if timed_out {
            return Ok(ruby.qnil().as_value());
        }
    }
    wait_for_changes(engine, ruby, watched, deadline)
}

/// Waits when polls may be over at once and tell nothing: they report an error or hang-up to everybody, also to
/// waiters to whom select(2) does not report it.
fn wait_for_changes(
    engine: &Engine,
    ruby: &Ruby,
    watched: &Watched,
    deadline: Option<Instant>,
) -> Result<Value, Error> {
    let mut timed_out = false;
    loop {
        // Before the look: what happens after it is in the set.
        let set = uring_io_core::watch_changes(&watched.entries);
        let set = set.map_err(|error| errors::errno(ruby, error))?;
        if let Some(ready) = ready_now(engine, ruby, watched)? {
            return Ok(ready);
        }
        if timed_out {
            return Ok(ruby.qnil().as_value());
        }
        timed_out = !engine.watch(ruby, set, &watched.entries, deadline)?;
    }
}

/// The usual case, one IO, costs no system call of its own.
fn select_one(
    engine: &Engine,
    ruby: &Ruby,
    watched: &Watched,
    (fd, interest): (RawFd, Interest),
    timeout: Option<Duration>,
) -> Result<Value, Error> {
    if watched.has_buffered_input(ruby, 0)? {
        return Ok(watched
            .results(ruby, [true])?
            .unwrap_or(ruby.qnil().as_value()));
    }
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    if interest != Interest::PRIORITY {
        let ready = match engine.poll_found(ruby, fd, interest, timeout)? {
            Some(found) => interest.is_selected_by(found).then_some(true),
            None => Some(false),
        };
        if let Some(ready) = ready {
            let ready = watched.results(ruby, [ready])?;
            return Ok(ready.unwrap_or(ruby.qnil().as_value()));
        }
    }
    wait_for_changes(engine, ruby, watched, deadline)
}

impl Watched {
    /// Raises what IO.select raises for IOs that were closed while it waited.
    fn check_open(&self, ruby: &Ruby) -> Result<(), Error> {
        for index in 0..self.ios.len() {
            OpenIo::new(ruby, self.ios.entry(index as isize)?)?;
        }
        Ok(())
    }

    /// Whether an IO that is watched for input has some in Ruby's own buffer.
    fn has_buffered_input(&self, ruby: &Ruby, index: usize) -> Result<bool, Error> {
        if self.entries[index].1 != Interest::READABLE {
            return Ok(false);
        }
        let io = OpenIo::new(ruby, self.ios.entry(index as isize)?)?;
        Ok(io.has_buffered_input())
    }

    /// The three arrays of what is ready; None when nothing is.
    fn results(
        &self,
        ruby: &Ruby,
        ready: impl IntoIterator<Item = bool>,
    ) -> Result<Option<Value>, Error> {
        let results = [ruby.ary_new(), ruby.ary_new(), ruby.ary_new()];
        let mut any = false;
        for (index, ready) in ready.into_iter().enumerate() {
            if !ready {
                continue;
            }
            any = true;
            let kinds = INTERESTS.iter().zip(&results);
            for (_, array) in kinds.filter(|(kind, _)| **kind == self.entries[index].1) {
                array.push(self.objects.entry::<Value>(index as isize)?)?;
            }
        }
        Ok(any.then(|| ruby.ary_from_iter(results).as_value()))
    }
}

fn watched(ruby: &Ruby, arrays: [Value; 3]) -> Result<Watched, Error> {
    let mut watched = Watched {
        objects: ruby.ary_new(),
        ios: ruby.ary_new(),
        entries: Vec::new(),
    };
    for (array, interest) in arrays.into_iter().zip(INTERESTS) {
        if array.is_nil() {
            continue;
        }
        // A copy, because conversions run code that may change the array.
        let array = RArray::try_convert(array)?.dup();
        for index in 0..array.len() {
            let object: Value = array.entry(index as isize)?;
            let io = match interest {
                Interest::WRITABLE => OpenIo::for_writing(ruby, object)?,
                _ => OpenIo::new(ruby, object)?,
            };
            watched.objects.push(object)?;
            watched.ios.push(io.value())?;
            watched.entries.push((io.fd, interest));
        }
    }
    Ok(watched)
}

/// The IOs that are ready now, as IO.select returns them; None when there are none.
fn ready_now(engine: &Engine, ruby: &Ruby, watched: &Watched) -> Result<Option<Value>, Error> {
    engine.count_direct_call();
    let ready = uring_io_core::ready_now(&watched.entries);
    let mut ready = ready.map_err(|error| errors::errno(ruby, error))?;
    for (index, ready) in ready.iter_mut().enumerate() {
        *ready |= watched.has_buffered_input(ruby, index)?;
    }
    watched.results(ruby, ready)
}

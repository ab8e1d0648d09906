//! The hook io_select: waits for several IOs at once.

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use magnus::{prelude::*, Error, RArray, Ruby, TryConvert, Value};
use uring_io_core::Interest;

use crate::engine::Engine;
use crate::ruby::io::OpenIo;
use crate::ruby::{duration, errors};

/// The IOs of the three arrays. Ruby arrays hold the objects, where the GC sees and may move them.
struct Watched {
    /// The objects that the caller gave, for the result.
    objects: RArray,
    /// The IO that each object is or converts to.
    ios: RArray,
    /// The descriptor of each object, and the interest in it.
    entries: Vec<(RawFd, Interest)>,
}

const INTERESTS: [Interest; 3] = [Interest::READABLE, Interest::WRITABLE, Interest::PRIORITY];

/// Waits until some of the IOs are ready. Returns the three arrays of these, or nil if `timeout` passes first.
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
        // If an IO was closed, its number may belong to another file by now, so the result is of no use.
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

/// Waits for changes of the descriptors. Polls could end at once, again and again, with nothing to report: an error
/// or hang-up ends a poll of any interest, but select(2) does not report it for all of them.
fn wait_for_changes(
    engine: &Engine,
    ruby: &Ruby,
    watched: &Watched,
    deadline: Option<Instant>,
) -> Result<Value, Error> {
    let mut timed_out = false;
    loop {
        // The set comes before the look, so that it sees each change after the look.
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

/// Waits for one IO, the usual case, without a system call of its own.
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
    /// Raises the exception of IO.select if an IO was closed during the wait.
    fn check_open(&self, ruby: &Ruby) -> Result<(), Error> {
        for index in 0..self.ios.len() {
            OpenIo::new(ruby, self.ios.entry(index as isize)?)?;
        }
        Ok(())
    }

    /// Whether this entry waits for input, and Ruby's own read buffer of the IO has some.
    fn has_buffered_input(&self, ruby: &Ruby, index: usize) -> Result<bool, Error> {
        if self.entries[index].1 != Interest::READABLE {
            return Ok(false);
        }
        let io = OpenIo::new(ruby, self.ios.entry(index as isize)?)?;
        Ok(io.has_buffered_input())
    }

    /// The three arrays of the objects that are ready; None if there are none.
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

/// The IOs that are ready now, as IO.select returns them; None if there are none.
fn ready_now(engine: &Engine, ruby: &Ruby, watched: &Watched) -> Result<Option<Value>, Error> {
    engine.count_direct_call();
    let ready = uring_io_core::ready_now(&watched.entries);
    let mut ready = ready.map_err(|error| errors::errno(ruby, error))?;
    for (index, ready) in ready.iter_mut().enumerate() {
        *ready |= watched.has_buffered_input(ruby, index)?;
    }
    watched.results(ruby, ready)
}

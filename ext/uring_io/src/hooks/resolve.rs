//! The address_resolve hook: the system's resolver in a worker thread, or what it said just now of a name of /etc/hosts.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::sync::{Arc, Mutex, PoisonError};

use magnus::{prelude::*, Error, ExceptionClass, RModule, RString, Ruby, Value};
use uring_io_core::ResolveError;

use crate::engine::Engine;
use crate::ruby::errors;

/// Numeric addresses of `hostname`, or nil when there is no such name: Ruby then raises what it
/// raises for any name that is not known. Other failures raise Socket::ResolutionError.
pub fn resolve(engine: &Engine, ruby: &Ruby, hostname: RString) -> Result<Value, Error> {
    // The bytes as they are, in whatever encoding: it is for the resolver to find nothing behind them.
    // SAFETY: they are copied before Ruby runs again.
    let bytes = unsafe { hostname.as_slice() }.to_vec();
    let host = CString::new(bytes)
        .map_err(|_| errors::argument(ruby, "hostname contains a null byte".to_owned()))?;
    // After many answers in a row the others have their turn, while a worker thread asks.
    if engine.may_do_at_once() {
        if let Some(addresses) = uring_io_core::resolved(&host) {
            return Ok(ruby.ary_from_iter(addresses).as_value());
        }
    }
    let answer = Arc::new(Mutex::new(None));
    let place = Arc::clone(&answer);
    let job = move || {
        let resolved = uring_io_core::resolve(&host);
        *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(resolved);
        0
    };
    engine.offload(ruby, Box::new(job))?;
    let resolved = answer.lock().unwrap_or_else(PoisonError::into_inner).take();
    match resolved {
        Some(Ok(addresses)) => Ok(ruby.ary_from_iter(addresses).as_value()),
        Some(Err(error)) if !error.is_unknown_name() => Err(failure(ruby, &error)),
        _ => Ok(ruby.qnil().as_value()),
    }
}

fn failure(ruby: &Ruby, error: &ResolveError) -> Error {
    let message = format!("getaddrinfo(3): {}", error.message);
    let class = ruby
        .class_object()
        .const_get::<_, RModule>("SocketError")
        .and_then(|_| {
            ruby.class_object()
                .const_get::<_, ExceptionClass>("SocketError")
        });
    match class {
        Ok(class) => Error::new(class, message),
        Err(_) => errors::base(ruby, &message),
    }
}

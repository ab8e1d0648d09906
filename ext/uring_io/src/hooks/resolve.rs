//! The hook address_resolve: asks the system's resolver in a worker thread. For a name in /etc/hosts it may take the
//! resolver's last answer at once.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::sync::{Arc, Mutex, PoisonError};

use magnus::{prelude::*, Error, ExceptionClass, RClass, RObject, RString, Ruby, Value};
use uring_io_core::ResolveError;

use crate::engine::{Engine, Purpose};
use crate::ruby::errors;

/// Numeric addresses of `hostname`, or nil if there is no such name: Ruby then raises its own exception for an
/// unknown name. For any other failure this raises the exception of [`failure`].
pub fn resolve(engine: &Engine, ruby: &Ruby, hostname: RString) -> Result<Value, Error> {
    // The encoding does not matter: the resolver decides whether the bytes are a name.
    // SAFETY: the bytes are copied before Ruby can change or free the string.
    let bytes = unsafe { hostname.as_slice() }.to_vec();
    let host = CString::new(bytes)
        .map_err(|_| errors::argument(ruby, "hostname contains a null byte".to_owned()))?;
    if !engine.may_do_at_once() {
        engine.yield_turn(ruby, Purpose::Turn)?;
    }
    if let Some(addresses) = uring_io_core::resolved(&host) {
        return Ok(ruby.ary_from_iter(addresses).as_value());
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

/// The exception that Ruby itself raises (rsock_raise_resolution_error in raddrinfo.c).
fn failure(ruby: &Ruby, error: &ResolveError) -> Error {
    match error.errno {
        Some(errno) => errors::errno(ruby, uring_io_core::Error::new("getaddrinfo", errno)),
        None => resolution_error(ruby, error).unwrap_or_else(|raised| raised),
    }
}

fn resolution_error(ruby: &Ruby, error: &ResolveError) -> Result<Error, Error> {
    let socket: RClass = ruby.class_object().const_get("Socket")?;
    let class: ExceptionClass = socket.const_get("ResolutionError")?;
    let exception = class.new_instance((format!("getaddrinfo(3): {}", error.message),))?;
    // The variable that Socket::ResolutionError#error_code reads: it has no @.
    if let Some(object) = RObject::from_value(exception.as_value()) {
        object.ivar_set("error_code", error.code)?;
    }
    Ok(exception.into())
}

//! Core errors as Ruby exceptions: the only such mapping.

use magnus::{prelude::*, Error, ExceptionClass, RModule, Ruby, Value};
use uring_io_core::support::Unavailable;

/// The `Errno::*` exception of a core error, with the name of the call as its message.
pub fn errno(ruby: &Ruby, error: uring_io_core::Error) -> Error {
    let class = ruby.exception_system_call_error();
    match class.new_instance((error.call, error.errno)) {
        Ok(exception) => exception.into(),
        Err(error) => error,
    }
}

/// As [`errno`], as an object that is not raised.
pub fn exception(ruby: &Ruby, error: uring_io_core::Error) -> Value {
    match errno(ruby, error).value() {
        Some(exception) => exception,
        None => ruby.qnil().as_value(),
    }
}

/// An exception of one of our own classes, which `lib/uring_io/errors.rb` defines.
fn own(ruby: &Ruby, name: &str, message: String) -> Error {
    let class = ruby
        .class_object()
        .const_get::<_, RModule>("UringIO")
        .and_then(|module| module.const_get::<_, ExceptionClass>(name));
    match class {
        Ok(class) => Error::new(class, message),
        Err(error) => error,
    }
}

/// `UringIO::Error` with this message.
pub fn base(ruby: &Ruby, message: &str) -> Error {
    own(ruby, "Error", message.to_owned())
}

/// The object was closed and then used.
pub fn closed(ruby: &Ruby, what: &str) -> Error {
    own(ruby, "ClosedError", format!("this {what} is closed"))
}

/// The object belongs to another thread than the one that uses it.
pub fn wrong_thread(ruby: &Ruby, what: &str) -> Error {
    let message =
        format!("this {what} belongs to another thread: make one in each thread that uses it");
    Error::new(ruby.exception_thread_error(), message)
}

/// What was asked for cannot work here.
pub fn unsupported(ruby: &Ruby, message: String) -> Error {
    own(ruby, "UnsupportedError", message)
}

/// A backend that was asked for does not work here: why, and what helps.
pub fn backend_unavailable(ruby: &Ruby, backend: &str, why: &Unavailable) -> Error {
    unsupported(
        ruby,
        format!(
            "backend {backend} cannot be used: {} {}",
            why.cause, why.remedy
        ),
    )
}

/// An object of the wrong class.
pub fn wrong_type(ruby: &Ruby, message: String) -> Error {
    Error::new(ruby.exception_type_error(), message)
}

/// An argument that is out of place.
pub fn argument(ruby: &Ruby, message: String) -> Error {
    Error::new(ruby.exception_arg_error(), message)
}

/// `IO::TimeoutError`: an operation took longer than the IO's own timeout.
pub fn io_timeout(ruby: &Ruby, message: &'static str) -> Error {
    match ruby
        .class_io()
        .const_get::<_, ExceptionClass>("TimeoutError")
    {
        Ok(class) => Error::new(class, message),
        Err(error) => error,
    }
}

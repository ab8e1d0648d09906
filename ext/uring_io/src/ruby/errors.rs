//! Turns errors of the core into Ruby exceptions. No other file does that.

use std::borrow::Cow;
use std::os::fd::RawFd;

use magnus::error::ErrorType;
use magnus::{prelude::*, Error, Exception, ExceptionClass, RClass, RModule, Ruby};
use uring_io_core::support::Unavailable;
use uring_io_core::Lack;

/// The `Errno::*` exception of a core error, with the name of the call as its message. When somebody raises another
/// exception from outside meanwhile, it returns that one instead.
pub fn errno(ruby: &Ruby, error: uring_io_core::Error) -> Error {
    made_errno(ruby, error).unwrap_or_else(|raised| raised)
}

/// As [`errno`](self::errno), but fails with an exception that somebody raises from outside: Ruby checks for such
/// exceptions when one of its methods returns to us. A caller that makes an exception only to hand it out must tell the
/// two apart.
pub fn made_errno(ruby: &Ruby, error: uring_io_core::Error) -> Result<Error, Error> {
    let class = ruby.exception_system_call_error();
    let exception = class.new_instance((error.call, error.errno))?;
    Ok(exception.into())
}

/// The exception of an error, without raising it. Fails when somebody raises another one from outside meanwhile.
pub fn exception(error: Error) -> Result<Exception, Error> {
    match error.error_type() {
        ErrorType::Error(class, message) => class.new_instance((message.as_ref(),)),
        ErrorType::Exception(exception) => Ok(*exception),
        ErrorType::Jump(_) => Err(error),
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

/// Somebody calls `initialize` of an object once more.
pub fn initialized(ruby: &Ruby, what: &str) -> Error {
    let message = format!("this {what} is initialized already: make another one with new");
    base(ruby, &message)
}

/// The object belongs to another thread than the one that uses it.
pub fn wrong_thread(ruby: &Ruby, what: &str) -> Error {
    let message =
        format!("this {what} belongs to another thread: make one in each thread that uses it");
    Error::new(ruby.exception_thread_error(), message)
}

/// This machine or object cannot do what the caller wants.
pub fn unsupported(ruby: &Ruby, message: String) -> Error {
    own(ruby, "UnsupportedError", message)
}

/// The backend that the caller names does not work here. The message says why, and what helps.
pub fn backend_unavailable(ruby: &Ruby, backend: &str, why: &Unavailable) -> Error {
    unsupported(
        ruby,
        format!(
            "backend {backend} cannot be used: {} {}",
            why.cause, why.remedy
        ),
    )
}

/// A ring cannot make a call here. The message says what the call needs.
pub fn lack(ruby: &Ruby, call: &str, lack: Lack) -> Error {
    let message = match lack {
        Lack::Kernel(major, minor) => format!(
            "{call} on io_uring needs Linux {major}.{minor}, and this kernel does not have it: \
             UringIO.support.operations tells what it has"
        ),
        Lack::Ring => format!(
            "{call} needs io_uring, and this is another backend: \
             UringIO.support.reason(:io_uring) tells why, and `uring_io doctor` what helps"
        ),
        Lack::Restriction => format!(
            "{call} is not allowed here: with restrict: the ring of a scheduler makes only the operations that the \
             scheduler itself needs. Call it on a UringIO::Ring in another thread, or make the scheduler without \
             restrict:"
        ),
        Lack::Denied(operation) => format!(
            "{call} is denied here: a filter on this process refuses the operation {operation} to its rings. Make \
             the call without the ring, or start the process with a filter that allows the operation; \
             `uring_io doctor` lists the denied operations"
        ),
        Lack::Credentials => format!(
            "{call} would run as the user and group that made this ring, because its polling thread (sqpoll:) keeps \
             them, and this process has others by now: make another ring after changing them"
        ),
    };
    unsupported(ruby, message)
}

/// An operation could not begin; `fd` is its descriptor, if it has one.
pub fn refusal(ruby: &Ruby, error: uring_io_core::Error, fd: Option<RawFd>) -> Error {
    made_refusal(ruby, error, fd).unwrap_or_else(|raised| raised)
}

/// As [`refusal`](self::refusal), but fails with an exception from outside, as [`made_errno`] does.
pub fn made_refusal(
    ruby: &Ruby,
    error: uring_io_core::Error,
    fd: Option<RawFd>,
) -> Result<Error, Error> {
    if let Some(lack) = error.lack {
        return Ok(self::lack(ruby, error.call, lack));
    }
    if error.call != "select" {
        return made_errno(ruby, error);
    }
    Ok(beyond_select(ruby, fd.unwrap_or(-1)))
}

/// select(2) cannot watch this descriptor.
pub fn beyond_select(ruby: &Ruby, fd: RawFd) -> Error {
    let message = format!(
        "select(2) cannot watch descriptor {fd}, only those from 0 to {}: \
         use backend :io_uring, :epoll or :poll",
        libc::FD_SETSIZE - 1
    );
    unsupported(ruby, message)
}

/// Somebody else closes the IO while the caller uses it. The message is that of thread.c.
pub fn stream_closed(ruby: &Ruby) -> Error {
    let message = "stream closed in another thread";
    Error::new(ruby.exception_io_error(), message)
}

/// Whether this is [`stream_closed`], and not an exception that somebody has raised into the fiber: such an exception
/// comes as an object.
pub fn is_stream_closed(ruby: &Ruby, error: &Error) -> bool {
    let of_ours = matches!(error.error_type(), ErrorType::Error(..));
    of_ours && error.is_kind_of(ruby.exception_io_error())
}

/// An object of the wrong class.
pub fn wrong_type(ruby: &Ruby, message: String) -> Error {
    Error::new(ruby.exception_type_error(), message)
}

/// An argument is not valid.
pub fn argument(ruby: &Ruby, message: String) -> Error {
    Error::new(ruby.exception_arg_error(), message)
}

/// `IO::Buffer::LockedError`: the buffer is in use.
pub fn buffer_locked(ruby: &Ruby, message: String) -> Error {
    of_buffer(ruby, "LockedError", message)
}

/// `IO::Buffer::AllocationError`: the buffer has no memory.
pub fn buffer_unallocated(ruby: &Ruby, message: String) -> Error {
    of_buffer(ruby, "AllocationError", message)
}

fn of_buffer(ruby: &Ruby, name: &str, message: String) -> Error {
    let class = ruby
        .class_io()
        .const_get::<_, RClass>("Buffer")
        .and_then(|buffer| buffer.const_get::<_, ExceptionClass>(name));
    match class {
        Ok(class) => Error::new(class, message),
        Err(error) => error,
    }
}

/// `IO::TimeoutError`: an operation took longer than the IO's own timeout.
pub fn io_timeout(ruby: &Ruby, message: impl Into<Cow<'static, str>>) -> Error {
    match ruby
        .class_io()
        .const_get::<_, ExceptionClass>("TimeoutError")
    {
        Ok(class) => Error::new(class, message),
        Err(error) => error,
    }
}

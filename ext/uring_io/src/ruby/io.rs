//! IO objects: their descriptor, timeout and kind.
#![allow(unsafe_code)]

use std::os::fd::RawFd;
use std::time::Duration;

use magnus::rb_sys::{protect, AsRawValue, FromRawValue};
use magnus::value::{Lazy, ReprValue};
use magnus::{prelude::*, Error, RClass, Ruby, TryConvert, Value};
use rb_sys::{
    rb_io_closed_p, rb_io_descriptor, rb_io_get_io, rb_io_get_write_io, rb_io_mode,
    rb_io_read_pending, rb_io_timeout, RFile,
};
use uring_io_core::{Error as CoreError, Interest, Target};

use crate::ruby::{duration, errors};

/// The kind of an IO, by its class.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A BasicSocket.
    Socket,
    /// A File, which may be a FIFO or device.
    File,
    /// Any other IO. It may be a pipe: only the kernel knows.
    Other,
}

/// An open IO object and its descriptor.
#[derive(Clone, Copy)]
pub struct OpenIo {
    value: Value,
    pub fd: RawFd,
}

/// Which descriptors of an IO. A duplex pipe has a second one, for output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Descriptors {
    Both,
    /// The descriptor of the IO itself.
    Own,
    /// Those that `close_read` closes. It closes none when it shuts a socket down, which ends the waits for it.
    ForReading,
    /// Those that `close_write` closes.
    ForWriting,
}

impl OpenIo {
    /// The IO that `object` is or converts to (`to_io`). Raises TypeError when there is none and
    /// IOError when it is closed.
    pub fn new(ruby: &Ruby, object: Value) -> Result<Self, Error> {
        let value = to_io(ruby, object)?;
        // SAFETY: `value` is an IO.
        let closed = unsafe { Value::from_raw(rb_io_closed_p(value.as_raw())) };
        if closed.to_bool() {
            return Err(Error::new(ruby.exception_io_error(), "closed stream"));
        }
        // SAFETY: `value` is an open IO: rb_io_descriptor raises for closed ones only.
        let fd = unsafe { rb_io_descriptor(value.as_raw()) };
        Ok(Self { value, fd })
    }

    /// As [`new`](Self::new), for output: a duplex pipe has a second descriptor for that.
    pub fn for_writing(ruby: &Ruby, object: Value) -> Result<Self, Error> {
        let value = to_io(ruby, object)?;
        // SAFETY: `value` is an IO, and `protect` catches exceptions.
        let writer = protect(|| unsafe { rb_io_get_write_io(value.as_raw()) })?;
        // SAFETY: the call returned a value.
        Self::new(ruby, unsafe { Value::from_raw(writer) })
    }

    /// Fails when somebody has closed the IO since `new`, or has given it another descriptor. A trap handler may do
    /// that.
    pub fn check_open(&self, ruby: &Ruby) -> Result<(), Error> {
        if Self::descriptors(ruby, self.value, Descriptors::Own) == [self.fd] {
            return Ok(());
        }
        Err(errors::stream_closed(ruby))
    }

    /// The descriptors of an IO. There are none when the IO is closed, or was never opened.
    pub fn descriptors(_ruby: &Ruby, io: Value, which: Descriptors) -> Vec<RawFd> {
        const READABLE: i32 = 1;
        const WRITABLE: i32 = 2;
        let mut found = Vec::new();
        // SAFETY: an IO is a T_FILE.
        if unsafe { (*(io.as_raw() as *const RFile)).fptr.is_null() } {
            return found;
        }
        // SAFETY: the IO was opened. `protect` catches the exception that a half closed one raises.
        let _ = protect(|| unsafe {
            let raw = io.as_raw();
            let closed = rb_io_closed_p(raw);
            if Value::from_raw(closed).to_bool() {
                return closed;
            }
            let writer = rb_io_get_write_io(raw);
            let is_tied = writer != raw;
            let mode = rb_io_mode(raw);
            let (own, other) = match which {
                Descriptors::Both => (true, true),
                Descriptors::Own => (true, false),
                Descriptors::ForReading => (is_tied || mode & WRITABLE == 0, false),
                Descriptors::ForWriting => (!is_tied && mode & READABLE == 0, true),
            };
            if own {
                found.push(rb_io_descriptor(raw));
            }
            if other && is_tied {
                found.push(rb_io_descriptor(writer));
            }
            closed
        });
        found
    }

    /// The IO itself.
    pub fn value(&self) -> Value {
        self.value
    }

    /// The IO's own timeout (`IO#timeout`); `None` when it has none.
    pub fn timeout(&self, ruby: &Ruby) -> Result<Option<Duration>, Error> {
        // SAFETY: `value` is an open IO.
        let timeout = unsafe { Value::from_raw(rb_io_timeout(self.value.as_raw())) };
        duration::optional(ruby, timeout)
    }

    /// Whether Ruby's own read buffer of this IO has bytes.
    pub fn has_buffered_input(&self) -> bool {
        // SAFETY: `value` is an open IO, so a T_FILE whose rb_io_t is set.
        unsafe {
            let file = self.value.as_raw() as *const RFile;
            rb_io_read_pending((*file).fptr) != 0
        }
    }

    /// Ruby's own read buffer of this IO, with its size. `None` when it has none; Ruby 4.0 does not show it.
    pub fn read_buffer(&self) -> Option<(*mut u8, usize)> {
        #[cfg(ruby_lt_4_0)]
        {
            let buffer = own_buffer(self.value, |io| &raw const io.rbuf);
            let size = usize::try_from(buffer.capacity).ok()?;
            (!buffer.start.is_null()).then_some((buffer.start, size))
        }
        #[cfg(not(ruby_lt_4_0))]
        None
    }

    /// Writes out Ruby's own write buffer of an IO. Returns whether there were bytes and the write succeeded. Ruby 4.0
    /// does not show this buffer, but keeps others away while it closes. Fails with an exception that somebody raises
    /// from outside while the write waits for room.
    pub fn has_flushed(ruby: &Ruby, io: Value) -> Result<bool, Error> {
        #[cfg(ruby_lt_4_0)]
        {
            // SAFETY: `io` is an IO, and `protect` catches exceptions.
            let writer = protect(|| unsafe { rb_sys::rb_io_get_write_io(io.as_raw()) })?;
            // SAFETY: the call returned an IO.
            let writer = unsafe { Value::from_raw(writer) };
            if own_buffer(writer, |io| &raw const io.wbuf).length == 0 {
                return Ok(false);
            }
            // SAFETY: `writer` is an IO, and `protect` catches exceptions.
            match protect(|| unsafe { rb_sys::rb_io_flush(writer.as_raw()) }) {
                Ok(_) => Ok(true),
                // The close writes again, and reports the error.
                Err(error) if is_of_a_write(ruby, writer, &error) => Ok(false),
                Err(raised) => Err(raised),
            }
        }
        #[cfg(not(ruby_lt_4_0))]
        {
            let _ = (ruby, io);
            Ok(false)
        }
    }

    /// The kind of the IO.
    pub fn kind(&self, ruby: &Ruby) -> Kind {
        // IO.pipe returns objects of the class IO itself.
        if self.value.class().as_raw() == ruby.class_io().as_raw() {
            Kind::Other
        } else if self.value.is_kind_of(ruby.get_inner(&SOCKET)) {
            Kind::Socket
        } else if self.value.is_kind_of(ruby.class_file()) {
            Kind::File
        } else {
            Kind::Other
        }
    }

    /// Whether the IO is a TCPSocket, as most sockets of programs are.
    pub fn is_tcp(&self, ruby: &Ruby) -> bool {
        self.value.class().as_raw() == ruby.get_inner(&TCP_SOCKET).as_raw()
    }

    /// The kind of file behind the descriptor. It asks the kernel, except about sockets, and calls `asked` before each
    /// system call.
    pub fn target(&self, kind: Kind, asked: impl Fn()) -> Result<Target, CoreError> {
        if kind == Kind::Socket {
            return Ok(Target::Socket);
        }
        // Ruby opens pipes with O_NONBLOCK. Asking for the flags is the cheapest question.
        if kind == Kind::Other {
            asked();
            if uring_io_core::is_nonblocking(self.fd) {
                return Ok(Target::Stream { nonblocking: true });
            }
        }
        asked();
        uring_io_core::target_of(self.fd)
    }
}

/// rb_io_buffer_t (include/ruby/io.h), which is packed.
#[cfg(ruby_lt_4_0)]
#[repr(C, packed)]
#[derive(Clone, Copy)]
struct OwnBuffer {
    start: *mut u8,
    offset: i32,
    length: i32,
    capacity: i32,
}

/// Whether a write to an IO has failed by itself, and not by an exception that somebody raised while it waited for
/// room. Both may be SystemCallErrors. If there is still no room, the write was waiting, so somebody raised.
#[cfg(ruby_lt_4_0)]
fn is_of_a_write(ruby: &Ruby, io: Value, error: &Error) -> bool {
    let is_errno = |error: Value| error.is_kind_of(ruby.exception_system_call_error());
    let fd = OpenIo::descriptors(ruby, io, Descriptors::Own)
        .first()
        .copied();
    let waits = |fd| uring_io_core::found_now(fd, Interest::WRITABLE) == Ok(None);
    error.value().is_some_and(is_errno) && !fd.is_some_and(waits)
}

/// One of the buffers of an IO that was opened, and that may be closed by now.
#[cfg(ruby_lt_4_0)]
fn own_buffer(
    io: Value,
    which: impl FnOnce(&rb_sys::rb_io_t) -> *const rb_sys::rb_io_buffer_t,
) -> OwnBuffer {
    // SAFETY: `io` was a T_FILE when the caller got it. Its rb_io_t lives as long as the object. An object that was
    // moved to another Ractor since then has none.
    unsafe {
        let file = io.as_raw() as *const RFile;
        match (*file).fptr.as_ref() {
            Some(fptr) => which(fptr).cast::<OwnBuffer>().read_unaligned(),
            None => OwnBuffer {
                start: std::ptr::null_mut(),
                offset: 0,
                length: 0,
                capacity: 0,
            },
        }
    }
}

/// The events of `io_wait`: IO::READABLE, IO::PRIORITY, IO::WRITABLE or a sum of them.
pub fn interest(ruby: &Ruby, events: Value) -> Result<Interest, Error> {
    Interest::from_bits(u32::try_convert(events)?).ok_or_else(|| {
        let message = format!(
            "events {events} are not a combination of IO::READABLE (1), IO::PRIORITY (2) and \
             IO::WRITABLE (4)"
        );
        errors::argument(ruby, message)
    })
}

/// The events that an IO is ready for, as `io_wait` returns them.
pub fn events(ruby: &Ruby, ready: Interest) -> Value {
    ruby.integer_from_u64(ready.bits().into()).as_value()
}

/// The result of `io_wait` for these poll(2) events, as Ruby itself reads them without a scheduler.
pub fn told(ruby: &Ruby, found: i32) -> Value {
    match Interest::told_by(found) {
        Some(told) => events(ruby, told),
        None => ruby.qfalse().as_value(),
    }
}

static SOCKET: Lazy<RClass> = Lazy::new(|ruby| class_of_sockets(ruby, "BasicSocket"));
static TCP_SOCKET: Lazy<RClass> = Lazy::new(|ruby| class_of_sockets(ruby, "TCPSocket"));

fn class_of_sockets(ruby: &Ruby, name: &str) -> RClass {
    ruby.class_object()
        .const_get(name)
        .unwrap_or_else(|_| unreachable!("lib/uring_io/native.rb loads the socket library"))
}

/// Looks the classes up before there is another Ractor: see `ractors.rs`. `lib/uring_io/native.rb` has loaded the
/// socket library.
pub fn init(ruby: &Ruby) {
    ruby.get_inner(&SOCKET);
    ruby.get_inner(&TCP_SOCKET);
}

fn to_io(ruby: &Ruby, object: Value) -> Result<Value, Error> {
    if object.is_kind_of(ruby.class_io()) {
        return Ok(object);
    }
    // SAFETY: the function takes any value, and `protect` catches exceptions.
    let io = protect(|| unsafe { rb_io_get_io(object.as_raw()) })?;
    // SAFETY: the call returned a value.
    Ok(unsafe { Value::from_raw(io) })
}

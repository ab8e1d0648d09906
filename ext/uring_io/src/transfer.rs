//! The buffered hooks: io_read, io_write, io_pread.
//!
//! Contract up to Ruby 4.0 (scheduler interface 3): `length` is the least to transfer before the
//! call returns, 0 meaning whatever one successful transfer brings; what is reported is the number
//! of bytes, or a negative errno. A write must be whole: what the hook leaves over while an IO is
//! flushed is lost (io.c, io_fflush).

use magnus::{Error, Ruby, Value};
use uring_io_core::{Direction, Interest, Operation, Target, Transfer};

use crate::buffer::BufferMemory;
use crate::engine::{Engine, Purpose};
use crate::errors;
use crate::io::OpenIo;

/// Where in the file, and how much.
pub struct Extent {
    /// Position in the file; `None` for the file's own.
    pub from: Option<u64>,
    /// Least number of bytes.
    pub length: usize,
    /// Start in the buffer.
    pub offset: usize,
}

/// Bytes moved between an IO and an IO::Buffer, or a negative errno. Raises IO::TimeoutError when
/// one wait takes longer than the IO's timeout.
pub fn transfer(
    engine: &Engine,
    ruby: &Ruby,
    direction: Direction,
    io: OpenIo,
    buffer: Value,
    extent: &Extent,
) -> Result<i64, Error> {
    let memory = BufferMemory::new(ruby, buffer, direction)?;
    if extent.offset > memory.size() || extent.length > memory.size() - extent.offset {
        return Ok(-i64::from(libc::EINVAL));
    }
    if extent.offset == memory.size() {
        return Ok(0);
    }
    let target = match target(engine, ruby, io, extent.from) {
        Ok(target) => target,
        Err(error) => return Ok(-i64::from(error.errno)),
    };
    let least = match direction {
        Direction::Read => extent.length,
        Direction::Write => memory.size() - extent.offset,
    };
    let mut done = 0;
    loop {
        let buffer = memory.lend(extent.offset + done);
        let at = advanced(target, done);
        let step = Transfer {
            direction,
            fd: io.fd,
            target: at,
            buffer,
        };
        let result = one(engine, ruby, io, &step, least == 0)?;
        if result < 0 {
            // A write that is whole only in part must not look like one that is whole.
            let partial_read = direction == Direction::Read && done > 0;
            return Ok(if partial_read {
                done as i64
            } else {
                i64::from(result)
            });
        }
        done += result as usize;
        if result == 0 || done >= least {
            return Ok(done as i64);
        }
    }
}

fn target(
    engine: &Engine,
    ruby: &Ruby,
    io: OpenIo,
    from: Option<u64>,
) -> Result<Target, uring_io_core::Error> {
    let Some(offset) = from else {
        return io.target(ruby, || engine.driver.count_direct_call());
    };
    if i64::try_from(offset).is_err() {
        return Err(uring_io_core::Error::new("pread", libc::EINVAL));
    }
    engine.driver.count_direct_call();
    uring_io_core::check_seekable(io.fd)?;
    Ok(Target::File {
        offset: Some(offset),
    })
}

/// One transfer. `tries` says that nothing has to be transferred: then a read that would wait for
/// a pipe, terminal or device answers `-EAGAIN`, because `read_nonblock` on them comes here too
/// and looks like any other read.
fn one(
    engine: &Engine,
    ruby: &Ruby,
    io: OpenIo,
    step: &Transfer,
    tries: bool,
) -> Result<i32, Error> {
    if tries && step.target == Target::Stream {
        if !engine.driver.may_do_at_once() {
            engine.yield_turn(ruby, Purpose::Turn)?;
        }
        engine.driver.count_direct_call();
        return Ok(uring_io_core::try_transfer(step));
    }
    let timeout = io.timeout(ruby)?;
    let interest = match step.direction {
        Direction::Read => Interest::READABLE,
        Direction::Write => Interest::WRITABLE,
    };
    let timed_out = || errors::io_timeout(ruby, timeout_message(interest));
    loop {
        match engine.perform(ruby, &Operation::Transfer(*step), timeout)? {
            // Kernels before 5.15 answer so for descriptors with O_NONBLOCK.
            Some(result) if result == -libc::EAGAIN => {}
            Some(result) if result == -libc::EINTR => continue,
            Some(result) => return Ok(result),
            None => return Err(timed_out()),
        }
        if engine
            .perform(
                ruby,
                &Operation::Poll {
                    fd: step.fd,
                    interest,
                },
                timeout,
            )?
            .is_none()
        {
            return Err(timed_out());
        }
    }
}

/// What Ruby says when an IO's timeout passes (io.c, rb_io_timeout_error callers).
pub fn timeout_message(interest: Interest) -> &'static str {
    match interest {
        Interest::READABLE => "Timed out waiting for IO to become readable!",
        Interest::WRITABLE => "Timed out waiting for IO to become writable!",
        _ => "Timed out waiting for IO to become ready!",
    }
}

/// The target of the next step, `done` bytes on.
fn advanced(target: Target, done: usize) -> Target {
    match target {
        Target::File {
            offset: Some(offset),
        } => Target::File {
            offset: Some(offset + done as u64),
        },
        target => target,
    }
}

//! The buffered hooks: io_read, io_write, io_pread, io_pwrite, in both contracts.
//!
//! Up to Ruby 4.0 (scheduler interface 3) the arguments are `length, offset`. `length` is the least number of bytes
//! to transfer before the hook returns; 0 means whatever one successful transfer brings. A write must be complete: if
//! the hook leaves bytes over while Ruby flushes an IO, they are lost (io.c, io_fflush).
//!
//! From Ruby 4.1 on (interface 4) the arguments are `offset, length`. `length` is the most, and the hook makes one
//! transfer.
//!
//! Both contracts return the number of bytes, or a negative errno.

use std::time::Duration;

use magnus::{prelude::*, Error, RClass, Ruby, Symbol, TryConvert, Value};
use uring_io_core::{BackendKind, Direction, Interest, Operation, Target, Transfer};

use crate::engine::{Engine, Flow};
use crate::hooks::detour::Detour;
use crate::memory::buffer::BufferMemory;
use crate::ruby::arguments::{check_count, size};
use crate::ruby::caller;
use crate::ruby::errors;
use crate::ruby::gvl;
use crate::ruby::io::{Kind, OpenIo};

/// The meaning of the two numbers after the buffer.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Contract {
    /// Up to Ruby 4.0.
    #[default]
    LengthOffset,
    /// From Ruby 4.1 on.
    OffsetLength,
}

impl Contract {
    /// The contract of the Ruby that runs. `IO::Buffer::VERSION` came with the second contract.
    pub fn of_ruby(ruby: &Ruby) -> Result<Self, Error> {
        const REORDERED: i64 = 3;
        let buffer: RClass = ruby.class_io().const_get("Buffer")?;
        let known: bool = buffer.funcall("const_defined?", ("VERSION",))?;
        if known && buffer.const_get::<_, i64>("VERSION")? >= REORDERED {
            return Ok(Self::OffsetLength);
        }
        Ok(Self::LengthOffset)
    }

    /// The contract of this name. Specs use it to test the contract that this Ruby does not have.
    pub fn named(ruby: &Ruby, name: Symbol) -> Result<Self, Error> {
        match &*name.name()? {
            "length_offset" => Ok(Self::LengthOffset),
            "offset_length" => Ok(Self::OffsetLength),
            other => Err(errors::argument(ruby, format!("no contract {other:?}"))),
        }
    }
}

/// [`buffered`] or [`positioned`].
pub type BufferedHook = fn(&Engine, &Ruby, Direction, &[Value], Contract) -> Result<i64, Error>;

/// io_read and io_write: (io, buffer, length, offset = 0), or (io, buffer, offset, length). Returns the number of
/// bytes, or a negative errno. Raises IO::TimeoutError if one wait takes longer than the IO's timeout, except in a
/// selector, where the scheduler above it handles that.
pub fn buffered(
    engine: &Engine,
    ruby: &Ruby,
    direction: Direction,
    arguments: &[Value],
    contract: Contract,
) -> Result<i64, Error> {
    check_count(ruby, arguments, 3..=4)?;
    let second = arguments.get(3).copied().map(size);
    let extent = Extent {
        from: None,
        numbers: (size(arguments[2])?, second.transpose()?.unwrap_or(0)),
        contract,
    };
    transfer(engine, ruby, direction, arguments[0], arguments[1], &extent)
}

/// io_pread and io_pwrite: as [`buffered`], with a position in the file after the buffer.
pub fn positioned(
    engine: &Engine,
    ruby: &Ruby,
    direction: Direction,
    arguments: &[Value],
    contract: Contract,
) -> Result<i64, Error> {
    check_count(ruby, arguments, 5..=5)?;
    let extent = Extent {
        from: Some(u64::try_convert(arguments[2])?),
        numbers: (size(arguments[3])?, size(arguments[4])?),
        contract,
    };
    transfer(engine, ruby, direction, arguments[0], arguments[1], &extent)
}

/// The part of a buffer, and of a file, for a transfer.
struct Extent {
    /// Position in the file; `None` for the file's own position.
    from: Option<u64>,
    /// The two numbers after the buffer, in the order of the contract.
    numbers: (usize, usize),
    contract: Contract,
}

/// How much to transfer, and where in the buffer.
struct Span {
    offset: usize,
    /// The least number of bytes before the hook returns; 0 for one transfer.
    least: usize,
    most: usize,
}

/// The treatment of a length that goes beyond the end of the buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Excess {
    Refused,
    /// The selectors of io-event transfer as much as fits, and refuse a write of more than the whole buffer.
    Cut,
}

impl Extent {
    /// The span in a buffer of this size; None if it does not lie inside.
    fn span(&self, size: usize, direction: Direction, excess: Excess) -> Option<Span> {
        let (first, second) = self.numbers;
        let (offset, mut length) = match self.contract {
            Contract::LengthOffset => (second, first),
            Contract::OffsetLength => (first, second),
        };
        let room = size.checked_sub(offset)?;
        if length > room {
            if excess == Excess::Refused || direction == Direction::Write && length > size {
                return None;
            }
            length = room;
        }
        let (least, most) = match (self.contract, direction) {
            (Contract::LengthOffset, Direction::Read) => (length, room),
            (Contract::LengthOffset, Direction::Write) => (room, room),
            (Contract::OffsetLength, _) => (0, length),
        };
        Some(Span {
            offset,
            least,
            most,
        })
    }
}

fn transfer(
    engine: &Engine,
    ruby: &Ruby,
    direction: Direction,
    io: Value,
    buffer: Value,
    extent: &Extent,
) -> Result<i64, Error> {
    let memory = BufferMemory::new(ruby, buffer, direction)?;
    let excess = match (&engine.flow, extent.contract) {
        (Flow::Home(_), Contract::LengthOffset) => Excess::Cut,
        _ => Excess::Refused,
    };
    let Some(span) = extent.span(memory.size(), direction, excess) else {
        return out_of_range(engine, ruby);
    };
    if span.most == 0 {
        return Ok(0);
    }
    let io = OpenIo::new(ruby, io)?;
    let tries = span.least == 0;
    let kind = io.kind(ruby);
    let unasked = extent.from.is_none() && kind == Kind::Other;
    let may_be_cached = direction == Direction::Read
        && span.most <= CACHED_MOST
        && (extent.from.is_some() || kind == Kind::File);
    let mut detour = Detour::of(engine, io, &memory, direction);
    let mut known = None;
    let mut done = 0;
    loop {
        let buffer = memory.lend(span.offset + done, span.most - done);
        let attempted = if unasked {
            let_others_run(engine, ruby, io, detour.as_ref())?;
            at_once(engine, || {
                uring_io_core::try_unasked(io.fd, direction, buffer)
            })
        } else if may_be_cached {
            let position = extent.from.map(|from| from.saturating_add(done as u64));
            // No other fiber may see a half-loaded program: see `one`.
            if engine.is_row_over() && caller::is_loading() {
                engine.begin_row();
            }
            let_others_run(engine, ruby, io, detour.as_ref())?;
            from_cache(engine, io.fd, position, buffer)
        } else {
            None
        };
        let refused = attempted == Some(-libc::EAGAIN);
        if refused && known.is_none() && extent.from.is_some() {
            // It is a file: other descriptors answer a read at a position with another errno.
            known = Some(Target::File {
                offset: extent.from,
            });
        }
        let result = match attempted {
            Some(result) if !refused => result,
            _ => match known.map_or_else(
                || target(engine, ruby, kind, io, extent.from, direction),
                Ok,
            ) {
                Ok(target) => {
                    known = Some(target);
                    let lent = match &mut detour {
                        None => Some(buffer),
                        Some(detour) => detour.lend(span.most - done),
                    };
                    match lent {
                        None => -libc::ENOMEM,
                        Some(buffer) => {
                            let step = Transfer {
                                direction,
                                fd: io.fd,
                                target: advanced(target, done),
                                buffer,
                            };
                            let result = one(engine, ruby, io, &step, tries, refused)?;
                            if let Some(detour) = &mut detour {
                                let read = usize::try_from(result).unwrap_or(0);
                                detour.bring(ruby, &memory, span.offset + done, read)?;
                            }
                            result
                        }
                    }
                }
                Err(error) => -error.errno,
            },
        };
        if result < 0 {
            // A partial write must not look like a complete one.
            let partial_read = direction == Direction::Read && done > 0;
            return Ok(if partial_read {
                done as i64
            } else {
                i64::from(result)
            });
        }
        done += result as usize;
        // A read at a position must return all bytes that the file has, but the page cache may have had only some of
        // them.
        let short = extent.from.is_some() && attempted.is_some() && !refused && done < span.most;
        if result == 0 || done >= span.least && !short {
            return Ok(done as i64);
        }
    }
}

/// The answer to a range that is not inside the buffer. IO::Buffer#read and the like call the scheduler before they
/// look at their arguments, so we raise the exception that they raise without a scheduler (io_buffer.c,
/// io_buffer_validate_range). A selector returns -EINVAL, as those of io-event do.
fn out_of_range(engine: &Engine, ruby: &Ruby) -> Result<i64, Error> {
    match engine.flow {
        Flow::Home(_) => Ok(-i64::from(libc::EINVAL)),
        Flow::Next | Flow::Nobody => Err(errors::argument(
            ruby,
            "Specified offset+length is bigger than the buffer size!".to_owned(),
        )),
    }
}

fn target(
    engine: &Engine,
    ruby: &Ruby,
    kind: Kind,
    io: OpenIo,
    from: Option<u64>,
    direction: Direction,
) -> Result<Target, uring_io_core::Error> {
    let Some(offset) = from else {
        let sends = kind == Kind::Socket && direction == Direction::Write;
        // Most sockets are TCPSockets, which have a stream of bytes. We ask the kernel about any other socket only
        // when it has no room.
        if sends && engine.backend() == BackendKind::IoUring && !io.is_tcp(ruby) {
            return Ok(Target::SocketAtOnce);
        }
        return io.target(kind, || engine.count_direct_call());
    };
    if i64::try_from(offset).is_err() {
        return Err(uring_io_core::Error::new("pread", libc::EINVAL));
    }
    engine.count_direct_call();
    uring_io_core::check_seekable(io.fd)?;
    Ok(Target::File {
        offset: Some(offset),
    })
}

/// Makes one transfer. With `tries` it need not move any bytes. A read that would wait for a pipe, terminal or device
/// asks `caller.rs` who called the hook, because `read_nonblock` looks like any other read here, and must get
/// `-EAGAIN`. A pipe rarely makes anybody wait, so we first read it without waiting; `refused` says that this read
/// has just come to `-EAGAIN`.
fn one(
    engine: &Engine,
    ruby: &Ruby,
    io: OpenIo,
    step: &Transfer,
    tries: bool,
    refused: bool,
) -> Result<i32, Error> {
    if matches!(step.target, Target::Stream { nonblocking } if tries || nonblocking) {
        let attempted = if refused {
            None
        } else {
            let_others_run(engine, ruby, io, None)?;
            at_once(engine, || Some(uring_io_core::try_transfer(step)))
        };
        let result = attempted.unwrap_or(-libc::EAGAIN);
        let waits = || step.direction == Direction::Read && caller::waits();
        if result != -libc::EAGAIN || tries && !waits() {
            return Ok(result);
        }
    }
    // A reloader removes what a file defines, and loads the file again. Without a scheduler no other request runs in
    // between, so no other fiber may run here. We read the program as Ruby itself does: the whole thread waits.
    let is_plain = step.target == Target::File { offset: None };
    if is_plain && step.direction == Direction::Read && caller::loads() {
        engine.count_direct_call();
        return Ok(gvl::read(step.fd, step.buffer));
    }
    let timeout = engine.timeout_of(ruby, io)?;
    let interest = step.direction.interest();
    let timed_out = || errors::io_timeout(ruby, timeout_message(interest));
    let mut step = *step;
    loop {
        match engine.perform(ruby, &Operation::Transfer(step), timeout)? {
            Some(result) if result >= 0 => return Ok(result),
            // The socket has no room. On a stream of bytes the kernel waits until it has sent everything. But a fiber
            // that ran meanwhile may have closed the socket, so check that first.
            Some(result) if result == -libc::EAGAIN && step.target == Target::SocketAtOnce => {
                io.check_open(ruby)?;
                engine.count_direct_call();
                if !uring_io_core::keeps_messages(step.fd) {
                    step.target = Target::Socket;
                    continue;
                }
            }
            // Linux before 5.15 answers EAGAIN for descriptors with O_NONBLOCK.
            Some(result) if result == -libc::EAGAIN => {}
            Some(result) if result == -libc::EINTR => continue,
            Some(result) if result == -libc::EACCES => {
                return without_ring(engine, ruby, io, &step, timeout);
            }
            Some(result) => return Ok(result),
            None => return Err(timed_out()),
        }
        io.check_open(ruby)?;
        if engine.poll(ruby, step.fd, interest, timeout)?.is_none() && timeout.is_some() {
            return Err(timed_out());
        }
        io.check_open(ruby)?;
    }
}

/// Makes a transfer that the ring has refused: a filter may deny the operation to the ring (Linux 7.0). If the file
/// itself has refused it, the file does so again here.
fn without_ring(
    engine: &Engine,
    ruby: &Ruby,
    io: OpenIo,
    step: &Transfer,
    timeout: Option<Duration>,
) -> Result<i32, Error> {
    let interest = step.direction.interest();
    loop {
        io.check_open(ruby)?;
        if let Target::File { .. } = step.target {
            let result = engine.perform_in_worker(ruby, step, timeout)?;
            return result.ok_or_else(|| errors::io_timeout(ruby, timeout_message(interest)));
        }
        let_others_run(engine, ruby, io, None)?;
        match at_once(engine, || Some(uring_io_core::try_transfer(step))) {
            Some(result) if result != -libc::EAGAIN => return Ok(result),
            _ => {}
        }
        if engine.poll(ruby, step.fd, interest, timeout)?.is_none() && timeout.is_some() {
            return Err(errors::io_timeout(ruby, timeout_message(interest)));
        }
    }
}

/// The most bytes that a thread copies from the page cache while it holds the GVL. That takes some 10 µs.
const CACHED_MOST: usize = 64 * 1024;

/// Reads from the page cache, which takes less time than a worker thread. None if the system cannot tell whether the
/// bytes are there.
fn from_cache(
    engine: &Engine,
    fd: i32,
    position: Option<u64>,
    buffer: uring_io_core::LentBuffer,
) -> Option<i32> {
    let position = match position.map(i64::try_from) {
        Some(Err(_)) => return None,
        Some(Ok(position)) => Some(position),
        None => None,
    };
    at_once(engine, || {
        engine.count_direct_call();
        match uring_io_core::read_cached(fd, position, buffer) {
            result if result == -libc::EOPNOTSUPP => None,
            result => Some(result),
        }
    })
}

/// Lets other fibers run if it is their turn, before an attempt that does not wait. Fails if the detour's buffer has
/// gone meanwhile.
fn let_others_run(
    engine: &Engine,
    ruby: &Ruby,
    io: OpenIo,
    detour: Option<&Detour<'_>>,
) -> Result<(), Error> {
    if engine.may_do_at_once() {
        return Ok(());
    }
    engine.yield_turn_on(ruby, io.fd)?;
    detour.map_or(Ok(()), |detour| detour.check(ruby))
}

/// Makes an attempt that does not wait, and counts its system call. None if the attempt made no call.
fn at_once(engine: &Engine, attempt: impl FnOnce() -> Option<i32>) -> Option<i32> {
    let result = attempt();
    if result.is_some() {
        engine.count_direct_call();
    }
    result
}

/// Ruby's message when an IO's timeout passes (io.c, callers of rb_io_timeout_error).
pub fn timeout_message(interest: Interest) -> &'static str {
    match interest {
        Interest::READABLE => "Timed out waiting for IO to become readable!",
        Interest::WRITABLE => "Timed out waiting for IO to become writable!",
        _ => "Timed out waiting for IO to become ready!",
    }
}

/// The target of the next transfer, `done` bytes further on.
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

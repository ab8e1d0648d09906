//! Class UringIO::Ring::Call: a call of the ring that has not been made, and what it came to.
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::ffi::CString;
use std::sync::Arc;

use magnus::value::ReprValue;
use magnus::{
    function, gc, method, prelude::*, typed_data::Obj, DataTypeFunctions, Error, Exception,
    Integer, RArray, RString, Ruby, TryConvert, TypedData, Value,
};
use uring_io_core::{
    empty_child, empty_status, numbers, Address, Call, Direction, FileStatus, LentBuffer, Memory,
    Message, OpenHow, SharedMemory, Subject, Target, Vectors,
};

use crate::engine::outcome::Outcome;
use crate::engine::Engine;
use crate::memory::buffer::BufferMemory;
use crate::memory::held::{Held, LENGTH_MAX};
use crate::memory::registered::Registered;
use crate::ruby::{duration, errors, io};

type Constructed = Result<Obj<Prepared>, Error>;

/// Memory behind a UringIO::Ring::Call.
#[derive(TypedData)]
#[magnus(class = "UringIO::Ring::Call", mark, size, free_immediately)]
pub struct Prepared {
    call: Cell<Option<Call>>,
    /// Of the call, for its errors.
    name: Cell<&'static str>,
    pub held: Held,
}

// SAFETY: used by whichever thread of its Ractor holds the GVL, one at a time. What it holds points nowhere but to
// memory that `held` keeps.
unsafe impl Send for Prepared {}

impl DataTypeFunctions for Prepared {
    fn mark(&self, marker: &gc::Marker) {
        self.held.mark(marker);
    }
}

/// Memory behind a UringIO::Ring::Memory: what the steps of a chain hand on.
#[derive(TypedData)]
#[magnus(class = "UringIO::Ring::Memory", size, free_immediately)]
pub struct ChainMemory(RefCell<Option<Arc<SharedMemory>>>);

impl DataTypeFunctions for ChainMemory {
    fn size(&self) -> usize {
        self.0.borrow().as_ref().map_or(0, |memory| memory.length())
    }
}

impl ChainMemory {
    fn new(ruby: &Ruby, length: usize) -> Result<Self, Error> {
        let memory = (length <= LENGTH_MAX).then(|| SharedMemory::new(length));
        let Some(memory) = memory.flatten() else {
            let message =
                format!("length must be at most {LENGTH_MAX} and fit in memory, {length} given");
            return Err(errors::argument(ruby, message));
        };
        Ok(Self(RefCell::new(Some(Arc::new(memory)))))
    }

    /// The memory, for one more call.
    fn share(&self, ruby: &Ruby) -> Result<Memory, Error> {
        let shared = self.0.borrow().clone();
        let message = "this memory was that of a chain which is over";
        shared
            .map(Memory::Shared)
            .ok_or_else(|| errors::base(ruby, message))
    }

    /// Gives the memory back, once the calls that use it are over: the collector knows nothing of its
    /// size, and would let much of it pile up.
    fn free(&self) {
        self.0.take();
    }
}

impl Prepared {
    fn new(call: Call) -> Self {
        Self {
            name: Cell::new(call.name()),
            call: Cell::new(Some(call)),
            held: Held::default(),
        }
    }

    /// A call that holds on to Ruby's memory. The object is made first: only what it holds is marked,
    /// and any allocation may collect what is not.
    fn holding(ruby: &Ruby, make: impl FnOnce(&Held) -> Result<Call, Error>) -> Constructed {
        let this = ruby.obj_wrap(Self {
            name: Cell::new(""),
            call: Cell::new(None),
            held: Held::default(),
        });
        match make(&this.held) {
            Ok(call) => {
                this.name.set(call.name());
                this.call.set(Some(call));
                Ok(this)
            }
            Err(error) => {
                this.held.release(ruby);
                Err(error)
            }
        }
    }

    /// The call, which can be taken once.
    pub fn take(&self, ruby: &Ruby) -> Result<Call, Error> {
        self.call
            .take()
            .ok_or_else(|| errors::base(ruby, "this call was made already"))
    }

    /// The call, to be made by this engine.
    pub fn take_for(&self, ruby: &Ruby, engine: &Engine) -> Result<Call, Error> {
        if !self.held.is_known_to(ruby, engine.address()) {
            return Err(registered_elsewhere(ruby));
        }
        self.take(ruby)
    }

    /// Lets go of what it holds, or keeps that for good where the kernel may go on using it, unheard.
    pub fn let_go(&self, ruby: &Ruby, lost: bool) {
        if lost {
            self.held.leak(ruby);
        } else {
            self.held.release(ruby);
        }
    }

    /// Of the call, for its errors.
    pub fn name(&self) -> &'static str {
        self.name.get()
    }

    fn nop() -> Self {
        Self::new(Call::Nop)
    }

    /// `into`: a number of bytes, an IO::Buffer or a Memory.
    fn read(ruby: &Ruby, fd: i32, into: Value, offset: Option<u64>) -> Constructed {
        let target = position(offset);
        Self::holding(ruby, |held| {
            let memory = room(ruby, into, held)?;
            Ok(Call::Read { fd, target, memory })
        })
    }

    /// `from`: a String, an IO::Buffer or a Memory.
    fn write(ruby: &Ruby, fd: i32, from: Value, offset: Option<u64>) -> Constructed {
        let target = position(offset);
        Self::holding(ruby, |held| {
            let memory = bytes(ruby, from, held)?;
            Ok(Call::Write { fd, target, memory })
        })
    }

    fn readv(ruby: &Ruby, fd: i32, into: RArray, offset: Option<u64>) -> Constructed {
        let target = position(offset);
        Self::holding(ruby, |held| {
            let vectors = vectors(ruby, into, |buffer| {
                let memory = held.buffer(ruby, buffer, Direction::Read)?;
                if matches!(memory, Memory::Lent(_)) {
                    return Ok(memory);
                }
                let message =
                    "a slice, or a buffer over a string, cannot be read into together with \
                               others: read into the buffer that it is a part of";
                Err(errors::argument(ruby, message.to_owned()))
            })?;
            Ok(Call::ReadVectors {
                fd,
                target,
                vectors,
            })
        })
    }

    fn writev(ruby: &Ruby, fd: i32, from: RArray, offset: Option<u64>) -> Constructed {
        let target = position(offset);
        Self::holding(ruby, |held| {
            let vectors = vectors(ruby, from, |data| bytes(ruby, data, held))?;
            Ok(Call::WriteVectors {
                fd,
                target,
                vectors,
            })
        })
    }

    /// A range of a registered buffer.
    fn fixed(
        ruby: &Ruby,
        fd: i32,
        registered: Obj<Registered>,
        (at, length): (usize, usize),
        offset: Option<u64>,
        writes: bool,
    ) -> Constructed {
        Self::holding(ruby, |held| {
            let (index, memory) = held.registered(ruby, registered)?;
            if at > memory.size() || length > memory.size() - at {
                let message = format!(
                    "{length} bytes from {at} on are not inside the buffer of {} bytes",
                    memory.size()
                );
                return Err(errors::argument(ruby, message));
            }
            let buffer = memory.lend(at, length);
            Ok(if writes {
                Call::WriteFixed {
                    fd,
                    offset,
                    buffer,
                    index,
                }
            } else {
                Call::ReadFixed {
                    fd,
                    offset,
                    buffer,
                    index,
                }
            })
        })
    }

    fn recv(ruby: &Ruby, fd: i32, into: Value, flags: i32) -> Constructed {
        Self::holding(ruby, |held| {
            let memory = room(ruby, into, held)?;
            Ok(Call::Recv {
                fd,
                memory,
                flags,
                done: 0,
            })
        })
    }

    fn send(ruby: &Ruby, fd: i32, from: Value, flags: i32) -> Constructed {
        Self::holding(ruby, |held| {
            let memory = bytes(ruby, from, held)?;
            Ok(Call::Send {
                fd,
                memory,
                flags,
                done: 0,
            })
        })
    }

    /// Of a frozen String or an IO::Buffer that owns its memory.
    fn send_zc(ruby: &Ruby, fd: i32, from: Value, flags: i32) -> Constructed {
        Self::holding(ruby, |held| {
            if let Memory::Lent(buffer) = bytes(ruby, from, held)? {
                return Ok(Call::SendZeroCopy { fd, buffer, flags });
            }
            let message =
                "only a frozen String or an IO::Buffer that is no slice can be sent without \
                           a copy: freeze the String, or use send";
            Err(errors::argument(ruby, message.to_owned()))
        })
    }

    fn recvmsg(ruby: &Ruby, fd: i32, length: usize, control: usize, flags: i32) -> Constructed {
        if control > 1 << 20 {
            let message = format!("controllen must be at most 1048576, {control} given");
            return Err(errors::argument(ruby, message));
        }
        Self::holding(ruby, |held| {
            let memory = held.string(ruby, length)?;
            let message = Box::new(Message::to_receive(memory, control));
            Ok(Call::ReceiveMessage { fd, message, flags })
        })
    }

    fn sendmsg(
        ruby: &Ruby,
        fd: i32,
        from: Value,
        address: Option<RString>,
        control: RString,
        flags: i32,
    ) -> Constructed {
        let address = address.map(|address| address_of(ruby, address));
        let address = address.transpose()?;
        // SAFETY: the bytes are copied before Ruby can change or free the string.
        let control = unsafe { control.as_slice() }.to_vec();
        Self::holding(ruby, |held| {
            let memory = bytes(ruby, from, held)?;
            let message = Box::new(Message::to_send(memory, address, &control));
            Ok(Call::SendMessage { fd, message, flags })
        })
    }

    fn open(
        ruby: &Ruby,
        directory: i32,
        path: RString,
        flags: i32,
        mode: u32,
    ) -> Result<Self, Error> {
        Ok(Self::new(Call::Open {
            directory,
            path: path_of(ruby, path)?,
            flags: flags | libc::O_CLOEXEC,
            mode,
        }))
    }

    fn openat2(
        ruby: &Ruby,
        directory: i32,
        path: RString,
        flags: i32,
        mode: u32,
        resolve: u64,
    ) -> Result<Self, Error> {
        let makes = flags & (libc::O_CREAT | numbers::O_TMPFILE) != 0;
        let how = OpenHow {
            flags: (flags | libc::O_CLOEXEC) as u64,
            mode: if makes { mode.into() } else { 0 },
            resolve,
        };
        Ok(Self::new(Call::OpenHow {
            directory,
            path: path_of(ruby, path)?,
            how: Box::new(how),
        }))
    }

    fn close(fd: i32) -> Self {
        Self::new(Call::Close { fd })
    }

    fn install(fd: i32) -> Self {
        Self::new(Call::Install { fd })
    }

    fn stat(ruby: &Ruby, directory: i32, path: RString, flags: i32) -> Result<Self, Error> {
        Ok(Self::new(Call::Stat {
            directory,
            path: path_of(ruby, path)?,
            flags,
            mask: numbers::STATX_BASIC_STATS | numbers::STATX_BTIME,
            found: Box::new(empty_status()),
        }))
    }

    fn sync(fd: i32, data_only: bool) -> Self {
        Self::new(Call::Sync { fd, data_only })
    }

    fn sync_range(fd: i32, offset: u64, length: u32, flags: u32) -> Self {
        Self::new(Call::SyncRange {
            fd,
            offset,
            length,
            flags,
        })
    }

    fn allocate(fd: i32, mode: i32, offset: u64, length: u64) -> Self {
        Self::new(Call::Allocate {
            fd,
            mode,
            offset,
            length,
        })
    }

    fn truncate(fd: i32, length: u64) -> Self {
        Self::new(Call::Truncate { fd, length })
    }

    fn advise(fd: i32, offset: u64, length: u32, advice: i32) -> Self {
        Self::new(Call::Advise {
            fd,
            offset,
            length,
            advice,
        })
    }

    fn advise_memory(
        ruby: &Ruby,
        buffer: Value,
        at: usize,
        length: Option<u32>,
        advice: i32,
    ) -> Constructed {
        Self::holding(ruby, |held| {
            let buffer_memory = own_memory(ruby, buffer, "advice is for")?;
            let size = buffer_memory.size();
            let length = match length {
                Some(length) => length as usize,
                None => size.saturating_sub(at),
            };
            let fits = at.checked_add(length).is_some_and(|end| end <= size);
            if !fits || length > LENGTH_MAX {
                let message = format!(
                    "at: {at} and length: {length} must lie in the buffer of {size} bytes, and length be at most \
                     {LENGTH_MAX} (one system call)"
                );
                return Err(errors::argument(ruby, message));
            }
            let memory = buffer_memory.lend(at, length);
            held.lock(ruby, buffer, buffer_memory)?;
            Ok(Call::AdviseMemory { memory, advice })
        })
    }

    fn rename(ruby: &Ruby, from: RString, to: RString, flags: u32) -> Result<Self, Error> {
        Ok(Self::new(Call::Rename {
            from: (libc::AT_FDCWD, path_of(ruby, from)?),
            to: (libc::AT_FDCWD, path_of(ruby, to)?),
            flags,
        }))
    }

    fn unlink(ruby: &Ruby, path: RString, flags: i32) -> Result<Self, Error> {
        Ok(Self::new(Call::Unlink {
            directory: libc::AT_FDCWD,
            path: path_of(ruby, path)?,
            flags,
        }))
    }

    fn mkdir(ruby: &Ruby, path: RString, mode: u32) -> Result<Self, Error> {
        Ok(Self::new(Call::MakeDirectory {
            directory: libc::AT_FDCWD,
            path: path_of(ruby, path)?,
            mode,
        }))
    }

    fn symlink(ruby: &Ruby, target: RString, path: RString) -> Result<Self, Error> {
        Ok(Self::new(Call::Symlink {
            target: path_of(ruby, target)?,
            directory: libc::AT_FDCWD,
            path: path_of(ruby, path)?,
        }))
    }

    fn link(ruby: &Ruby, from: RString, to: RString) -> Result<Self, Error> {
        Ok(Self::new(Call::Link {
            from: (libc::AT_FDCWD, path_of(ruby, from)?),
            to: (libc::AT_FDCWD, path_of(ruby, to)?),
            flags: 0,
        }))
    }

    /// `subject`: a path, or a descriptor.
    fn getxattr(ruby: &Ruby, subject: Value, name: RString, length: usize) -> Constructed {
        let subject = subject_of(ruby, subject)?;
        let name = path_of(ruby, name)?;
        Self::holding(ruby, |held| {
            let memory = held.string(ruby, length)?;
            Ok(Call::GetAttribute {
                subject,
                name,
                memory,
            })
        })
    }

    fn setxattr(
        ruby: &Ruby,
        subject: Value,
        name: RString,
        value: RString,
        flags: i32,
    ) -> Constructed {
        let subject = subject_of(ruby, subject)?;
        let name = path_of(ruby, name)?;
        Self::holding(ruby, |held| {
            Ok(Call::SetAttribute {
                subject,
                name,
                value: held.bytes(value),
                flags,
            })
        })
    }

    fn splice(from: i32, from_offset: i64, to: i32, to_offset: i64, length: u32) -> Self {
        Self::new(Call::Splice {
            from,
            from_offset,
            to,
            to_offset,
            length,
            flags: 0,
        })
    }

    fn tee(from: i32, to: i32, length: u32) -> Self {
        Self::new(Call::Tee {
            from,
            to,
            length,
            flags: 0,
        })
    }

    fn pipe(flags: i32) -> Self {
        Self::new(Call::Pipe {
            flags: flags | libc::O_CLOEXEC,
            ends: Box::new([-1; 2]),
        })
    }

    fn socket(domain: i32, kind: i32, protocol: i32) -> Self {
        Self::new(Call::Socket {
            domain,
            kind: kind | numbers::SOCK_CLOEXEC,
            protocol,
        })
    }

    fn bind(ruby: &Ruby, fd: i32, address: RString) -> Result<Self, Error> {
        let address = address_of(ruby, address)?;
        Ok(Self::new(Call::Bind { fd, address }))
    }

    fn listen(fd: i32, backlog: i32) -> Self {
        Self::new(Call::Listen { fd, backlog })
    }

    fn accept(fd: i32) -> Self {
        Self::new(Call::Accept {
            fd,
            flags: numbers::SOCK_CLOEXEC,
        })
    }

    fn connect(ruby: &Ruby, fd: i32, address: RString) -> Result<Self, Error> {
        let address = address_of(ruby, address)?;
        Ok(Self::new(Call::Connect { fd, address }))
    }

    fn setsockopt(ruby: &Ruby, fd: i32, level: i32, option: i32, value: RString) -> Constructed {
        Self::holding(ruby, |held| {
            Ok(Call::SetOption {
                fd,
                level,
                option,
                value: held.bytes(value),
            })
        })
    }

    fn shutdown(fd: i32, how: i32) -> Self {
        Self::new(Call::Shutdown { fd, how })
    }

    fn poll(ruby: &Ruby, fd: i32, events: Value) -> Result<Self, Error> {
        let interest = io::interest(ruby, events)?;
        Ok(Self::new(Call::Poll { fd, interest }))
    }

    fn timeout(ruby: &Ruby, seconds: Value) -> Result<Self, Error> {
        let length = duration::required(ruby, seconds)?;
        Ok(Self::new(Call::Timeout {
            length: Box::new(length.into()),
        }))
    }

    fn waitid(kind: libc::idtype_t, id: libc::id_t, options: i32) -> Self {
        Self::new(Call::WaitForChild {
            kind,
            id,
            options,
            found: Box::new(empty_child()),
            pidfd: None,
        })
    }

    fn futex_wait(ruby: &Ruby, buffer: Value, at: usize, expected: u32) -> Constructed {
        Self::holding(ruby, |held| {
            let memory = own_memory(ruby, buffer, "a futex must be in")?;
            let word = word_of(ruby, &memory, at)?;
            held.lock(ruby, buffer, memory)?;
            Ok(Call::FutexWait { word, expected })
        })
    }

    fn futex_wake(ruby: &Ruby, buffer: Value, at: usize, count: u32) -> Constructed {
        Self::holding(ruby, |held| {
            let memory = own_memory(ruby, buffer, "a futex must be in")?;
            let word = word_of(ruby, &memory, at)?;
            held.lock(ruby, buffer, memory)?;
            Ok(Call::FutexWake { word, count })
        })
    }

    fn accept_each(fd: i32) -> Self {
        Self::new(Call::AcceptEach {
            fd,
            flags: numbers::SOCK_CLOEXEC,
        })
    }

    fn recv_each(fd: i32, flags: i32) -> Self {
        Self::new(Call::RecvEach { fd, flags })
    }

    fn read_each(fd: i32) -> Self {
        Self::new(Call::ReadEach { fd })
    }

    fn poll_each(ruby: &Ruby, fd: i32, events: Value) -> Result<Self, Error> {
        let interest = io::interest(ruby, events)?;
        Ok(Self::new(Call::PollEach { fd, interest }))
    }
}

/// A call uses memory that another ring knows.
pub fn registered_elsewhere(ruby: &Ruby) -> Error {
    let message = "this buffer is registered with another ring: inside of a fiber that is its \
                   scheduler's, elsewhere the ring itself";
    errors::base(ruby, message)
}

/// What a call came to: nothing, its result, a String for what it read or nil at the end, an Array for
/// what the kernel filled in; or else the exception of one that failed. Fails with what is raised from outside
/// meanwhile, which is no outcome of the call.
pub fn value(
    ruby: &Ruby,
    outcome: &Outcome,
    name: &'static str,
    held: &Held,
) -> Result<Result<Value, Exception>, Error> {
    if let Some(error) = failure(ruby, outcome, name)? {
        return errors::exception(error).map(Err);
    }
    let made = match &outcome.call {
        Some(call) => success(ruby, outcome.result, call, held),
        None => Ok(ruby.integer_from_i64(outcome.result.into()).as_value()),
    };
    match made {
        Ok(value) => Ok(Ok(value)),
        Err(error) => errors::exception(error).map(Err),
    }
}

/// How a call has failed, if it has. Fails as [`value`].
fn failure(ruby: &Ruby, outcome: &Outcome, name: &'static str) -> Result<Option<Error>, Error> {
    if let Some((error, fd)) = outcome.refused {
        return errors::made_refusal(ruby, error, fd).map(Some);
    }
    if outcome.timed_out {
        let message = "the operation took longer than its timeout";
        return Ok(Some(errors::io_timeout(ruby, message)));
    }
    if outcome.closed {
        return Ok(Some(errors::stream_closed(ruby)));
    }
    let result = outcome.result;
    let timed = matches!(outcome.call.as_deref(), Some(Call::Timeout { .. }));
    if result < 0 && !(timed && result == -numbers::ETIME) {
        let error = uring_io_core::Error::new(name, -result);
        return errors::made_errno(ruby, error).map(Some);
    }
    Ok(None)
}

fn success(ruby: &Ruby, result: i32, call: &Call, held: &Held) -> Result<Value, Error> {
    let integer = |number: i64| ruby.integer_from_i64(number).as_value();
    Ok(match call {
        Call::Read { memory, .. } | Call::Recv { memory, .. } => {
            let is_end = result == 0 && memory_length(memory) > 0;
            match read_value(ruby, result as usize, memory, held)? {
                value if is_end && RString::from_value(value).is_some() => ruby.qnil().as_value(),
                value => value,
            }
        }
        // Asked for their length, attributes answer with it and fill nothing in.
        Call::GetAttribute { memory, .. } => match memory {
            Memory::Lent(room) if room.length() == 0 => integer(result.into()),
            memory => read_value(ruby, result as usize, memory, held)?,
        },
        Call::ReceiveMessage { message, .. } => received(ruby, result as usize, message, held)?,
        Call::Stat { found, .. } => status(ruby, found)?.as_value(),
        Call::Pipe { ends, .. } => ruby.ary_from_iter(ends.iter().copied()).as_value(),
        Call::Poll { interest, .. } => io::events(ruby, interest.satisfied_by(result)),
        Call::WaitForChild { found, .. } => child(ruby, found)?.as_value(),
        Call::Nop
        | Call::Timeout { .. }
        | Call::Close { .. }
        | Call::Sync { .. }
        | Call::SyncRange { .. }
        | Call::Allocate { .. }
        | Call::Truncate { .. }
        | Call::Advise { .. }
        | Call::AdviseMemory { .. }
        | Call::Rename { .. }
        | Call::Unlink { .. }
        | Call::MakeDirectory { .. }
        | Call::Symlink { .. }
        | Call::Link { .. }
        | Call::SetAttribute { .. }
        | Call::Bind { .. }
        | Call::Listen { .. }
        | Call::Connect { .. }
        | Call::SetOption { .. }
        | Call::Shutdown { .. } => ruby.qnil().as_value(),
        _ => integer(result.into()),
    })
}

fn memory_length(memory: &Memory) -> usize {
    match memory {
        Memory::Owned(bytes) => bytes.len(),
        Memory::Shared(shared) => shared.length(),
        Memory::Lent(room) => room.length(),
    }
}

fn read_value(ruby: &Ruby, length: usize, memory: &Memory, held: &Held) -> Result<Value, Error> {
    match memory {
        Memory::Owned(bytes) => held.copy_back(ruby, &bytes[..length.min(bytes.len())])?,
        Memory::Shared(shared) => {
            // SAFETY: whoever asks for values has waited for all calls of the chain.
            let bytes = unsafe { shared.bytes(length) };
            return Ok(ruby.str_from_slice(bytes).as_value());
        }
        Memory::Lent(room) => {
            if let Some(string) = held.filled(ruby, length, room.length())? {
                return Ok(string.as_value());
            }
        }
    }
    Ok(ruby.integer_from_i64(length as i64).as_value())
}

/// Data, the address as a packed sockaddr, flags, and pairs of level, type and data.
fn received(ruby: &Ruby, length: usize, message: &Message, held: &Held) -> Result<Value, Error> {
    let values = ruby.ary_new();
    values.push(read_value(ruby, length, message.memory(), held)?)?;
    values.push(ruby.str_from_slice(message.address()))?;
    values.push(message.flags())?;
    let controls = ruby.ary_new();
    let mut failed = Ok(());
    message.each_control(|level, kind, data| {
        let control = (level, kind, ruby.str_from_slice(data));
        let pushed = controls.push(control);
        if failed.is_ok() {
            failed = pushed;
        }
    });
    failed?;
    values.push(controls)?;
    Ok(values.as_value())
}

/// pid, uid, code and status of waitid(2).
fn child(ruby: &Ruby, found: &libc::siginfo_t) -> Result<RArray, Error> {
    // SAFETY: waitid(2) has filled in the fields of SIGCHLD.
    let (pid, uid, status) = unsafe { (found.si_pid(), found.si_uid(), found.si_status()) };
    let fields = ruby.ary_new();
    for number in [pid.into(), uid.into(), found.si_code.into(), status.into()] {
        let number: i64 = number;
        fields.push(number)?;
    }
    Ok(fields)
}

/// dev_major, dev_minor, ino, mode, nlink, uid, gid, size, blocks, blksize, then atime, mtime, ctime
/// and btime as seconds and nanoseconds.
fn status(ruby: &Ruby, found: &FileStatus) -> Result<RArray, Error> {
    let fields = ruby.ary_new();
    for number in [
        found.stx_dev_major.into(),
        found.stx_dev_minor.into(),
        found.stx_ino,
        found.stx_mode.into(),
        found.stx_nlink.into(),
        found.stx_uid.into(),
        found.stx_gid.into(),
        found.stx_size,
        found.stx_blocks,
        found.stx_blksize.into(),
    ] {
        fields.push(ruby.integer_from_u64(number))?;
    }
    for time in [
        found.stx_atime,
        found.stx_mtime,
        found.stx_ctime,
        found.stx_btime,
    ] {
        fields.push(ruby.integer_from_i64(time.tv_sec))?;
        fields.push(ruby.integer_from_u64(time.tv_nsec.into()))?;
    }
    Ok(fields)
}

/// Memory to read into: a new string of so many bytes, an IO::Buffer, or a Memory.
fn room(ruby: &Ruby, into: Value, held: &Held) -> Result<Memory, Error> {
    if let Some(length) = Integer::from_value(into) {
        return held.string(ruby, length.to_usize()?);
    }
    handed_or_buffer(ruby, into, held, Direction::Read)
}

fn handed_or_buffer(
    ruby: &Ruby,
    object: Value,
    held: &Held,
    direction: Direction,
) -> Result<Memory, Error> {
    // Not by trying: that makes an exception for another class, and loses one that is raised meanwhile.
    if object.is_kind_of(ChainMemory::class(ruby)) {
        return Obj::<ChainMemory>::try_convert(object)?.share(ruby);
    }
    held.buffer(ruby, object, direction)
}

/// Memory to write from: that of a String, an IO::Buffer, or a Memory.
fn bytes(ruby: &Ruby, from: Value, held: &Held) -> Result<Memory, Error> {
    if let Some(string) = RString::from_value(from) {
        return Ok(held.bytes(string));
    }
    handed_or_buffer(ruby, from, held, Direction::Write)
}

fn vectors(
    ruby: &Ruby,
    array: RArray,
    memory: impl Fn(Value) -> Result<Memory, Error>,
) -> Result<Vectors, Error> {
    /// `IOV_MAX` of Linux.
    const VECTORS_MAX: usize = 1024;
    if array.is_empty() || array.len() > VECTORS_MAX {
        let message = format!(
            "there must be from 1 to {VECTORS_MAX} pieces of memory, {} given",
            array.len()
        );
        return Err(errors::argument(ruby, message));
    }
    let mut memories = Vec::with_capacity(array.len());
    for index in 0..array.len() {
        memories.push(memory(array.entry(index as isize)?)?);
    }
    Ok(Vectors::new(memories))
}

/// The memory of an IO::Buffer that owns it; `what` begins the message about one that does not.
fn own_memory(ruby: &Ruby, buffer: Value, what: &str) -> Result<BufferMemory, Error> {
    let memory = BufferMemory::new(ruby, buffer, Direction::Write)?;
    if memory.is_own() {
        return Ok(memory);
    }
    let message =
        format!("{what} an IO::Buffer that owns its memory, and this is a slice or a string's");
    Err(errors::argument(ruby, message))
}

/// The 32 bits of a futex.
fn word_of(ruby: &Ruby, memory: &BufferMemory, at: usize) -> Result<LentBuffer, Error> {
    if at % 4 != 0 || at.checked_add(4).is_none_or(|end| end > memory.size()) {
        let message = format!(
            "a futex is 4 bytes at a multiple of 4 inside the buffer of {} bytes, {at} given",
            memory.size()
        );
        return Err(errors::argument(ruby, message));
    }
    Ok(memory.lend(at, 4))
}

fn path_of(ruby: &Ruby, path: RString) -> Result<CString, Error> {
    // SAFETY: the bytes are copied before Ruby can change or free the string.
    let bytes = unsafe { path.as_slice() }.to_vec();
    CString::new(bytes).map_err(|_| errors::argument(ruby, "string contains null byte".to_owned()))
}

fn subject_of(ruby: &Ruby, subject: Value) -> Result<Subject, Error> {
    match RString::from_value(subject) {
        Some(path) => path_of(ruby, path).map(Subject::Path),
        None => i32::try_convert(subject).map(Subject::Descriptor),
    }
}

fn address_of(ruby: &Ruby, address: RString) -> Result<Address, Error> {
    // SAFETY: the bytes are copied before Ruby can change or free the string.
    let bytes = unsafe { address.as_slice() }.to_vec();
    Address::from_bytes(&bytes).ok_or_else(|| {
        let message = format!(
            "a socket address has at most 128 bytes, {} given",
            bytes.len()
        );
        errors::argument(ruby, message)
    })
}

/// A position makes it a file; otherwise the kernel knows what it is.
pub fn position(offset: Option<u64>) -> Option<Target> {
    offset.map(|_| Target::File { offset })
}

pub fn init(ruby: &Ruby, ring: impl magnus::Module) -> Result<(), Error> {
    let memory = ring.define_class("Memory", ruby.class_object())?;
    memory.undef_default_alloc_func();
    ChainMemory::class(ruby);
    memory.define_singleton_method("new", function!(ChainMemory::new, 1))?;
    memory.define_method("free", method!(ChainMemory::free, 0))?;
    let call = ring.define_class("Call", ruby.class_object())?;
    call.undef_default_alloc_func();
    call.const_set("AT_EMPTY_PATH", numbers::AT_EMPTY_PATH)?;
    call.const_set("AT_FDCWD", libc::AT_FDCWD)?;
    call.const_set("AT_REMOVEDIR", libc::AT_REMOVEDIR)?;
    call.const_set("AT_SYMLINK_NOFOLLOW", libc::AT_SYMLINK_NOFOLLOW)?;
    Prepared::class(ruby);
    call.define_singleton_method("nop", function!(Prepared::nop, 0))?;
    call.define_singleton_method("read", function!(Prepared::read, 3))?;
    call.define_singleton_method("write", function!(Prepared::write, 3))?;
    call.define_singleton_method("readv", function!(Prepared::readv, 3))?;
    call.define_singleton_method("writev", function!(Prepared::writev, 3))?;
    call.define_singleton_method("fixed", function!(Prepared::fixed, 5))?;
    call.define_singleton_method("recv", function!(Prepared::recv, 3))?;
    call.define_singleton_method("send", function!(Prepared::send, 3))?;
    call.define_singleton_method("send_zc", function!(Prepared::send_zc, 3))?;
    call.define_singleton_method("recvmsg", function!(Prepared::recvmsg, 4))?;
    call.define_singleton_method("sendmsg", function!(Prepared::sendmsg, 5))?;
    call.define_singleton_method("open", function!(Prepared::open, 4))?;
    call.define_singleton_method("openat2", function!(Prepared::openat2, 5))?;
    call.define_singleton_method("close", function!(Prepared::close, 1))?;
    call.define_singleton_method("install", function!(Prepared::install, 1))?;
    call.define_singleton_method("stat", function!(Prepared::stat, 3))?;
    call.define_singleton_method("sync", function!(Prepared::sync, 2))?;
    call.define_singleton_method("sync_range", function!(Prepared::sync_range, 4))?;
    call.define_singleton_method("allocate", function!(Prepared::allocate, 4))?;
    call.define_singleton_method("truncate", function!(Prepared::truncate, 2))?;
    call.define_singleton_method("advise", function!(Prepared::advise, 4))?;
    call.define_singleton_method("advise_memory", function!(Prepared::advise_memory, 4))?;
    call.define_singleton_method("rename", function!(Prepared::rename, 3))?;
    call.define_singleton_method("unlink", function!(Prepared::unlink, 2))?;
    call.define_singleton_method("mkdir", function!(Prepared::mkdir, 2))?;
    call.define_singleton_method("symlink", function!(Prepared::symlink, 2))?;
    call.define_singleton_method("link", function!(Prepared::link, 2))?;
    call.define_singleton_method("getxattr", function!(Prepared::getxattr, 3))?;
    call.define_singleton_method("setxattr", function!(Prepared::setxattr, 4))?;
    call.define_singleton_method("splice", function!(Prepared::splice, 5))?;
    call.define_singleton_method("tee", function!(Prepared::tee, 3))?;
    call.define_singleton_method("pipe", function!(Prepared::pipe, 1))?;
    call.define_singleton_method("socket", function!(Prepared::socket, 3))?;
    call.define_singleton_method("bind", function!(Prepared::bind, 2))?;
    call.define_singleton_method("listen", function!(Prepared::listen, 2))?;
    call.define_singleton_method("accept", function!(Prepared::accept, 1))?;
    call.define_singleton_method("connect", function!(Prepared::connect, 2))?;
    call.define_singleton_method("setsockopt", function!(Prepared::setsockopt, 4))?;
    call.define_singleton_method("shutdown", function!(Prepared::shutdown, 2))?;
    call.define_singleton_method("poll", function!(Prepared::poll, 2))?;
    call.define_singleton_method("timeout", function!(Prepared::timeout, 1))?;
    call.define_singleton_method("waitid", function!(Prepared::waitid, 3))?;
    call.define_singleton_method("futex_wait", function!(Prepared::futex_wait, 3))?;
    call.define_singleton_method("futex_wake", function!(Prepared::futex_wake, 3))?;
    call.define_singleton_method("accept_each", function!(Prepared::accept_each, 1))?;
    call.define_singleton_method("recv_each", function!(Prepared::recv_each, 2))?;
    call.define_singleton_method("read_each", function!(Prepared::read_each, 1))?;
    call.define_singleton_method("poll_each", function!(Prepared::poll_each, 2))?;
    Ok(())
}

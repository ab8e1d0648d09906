//! Class UringIO::Ring: calls that no scheduler hook expresses, one at a time or many at once.
//!
//! `lib/uring_io/ring.rb` has the methods; here a call is prepared (class `UringIO::Ring::Call`),
//! made, and its outcome turned into a Ruby value.
#![allow(unsafe_code)]

use std::cell::{Cell, OnceCell};
use std::ffi::CString;

use magnus::scan_args::scan_args;
use magnus::value::ReprValue;
use magnus::{
    function, gc, method, prelude::*, typed_data::Obj, DataTypeFunctions, Error, RArray, RHash,
    RModule, RString, Ruby, Symbol, TypedData, Value,
};
use uring_io_core::{empty_status, Address, Call, FileStatus, Memory, Target};

use crate::engine::{Engine, Flow};
use crate::options::{self, Made};
use crate::scheduler::Scheduler;
use crate::{duration, errors};

type Hook<T> = Result<T, Error>;

/// Memory behind a UringIO::Ring.
#[derive(TypedData, Default)]
#[magnus(class = "UringIO::Ring", mark, size, free_immediately)]
pub struct Ring {
    /// Absent until `initialize` has run.
    engine: OnceCell<Engine>,
}

// SAFETY: Ruby objects are used by whichever thread holds the GVL, one at a time; all methods but
// questions refuse threads that do not own the ring. The GC's marking may run while the owner waits
// without the GVL, and touches only what Driver::wait leaves alone.
unsafe impl Send for Ring {}

impl DataTypeFunctions for Ring {
    fn mark(&self, marker: &gc::Marker) {
        if let Some(engine) = self.engine.get() {
            engine.mark(marker);
        }
    }
}

impl Ring {
    /// UringIO::Ring.new(entries: 256, backend: nil, sqpoll: false, workers: nil)
    fn initialize(ruby: &Ruby, this: Obj<Self>, arguments: &[Value]) -> Hook<()> {
        let arguments = scan_args::<(), (), (), (), RHash, ()>(arguments)?;
        if this.engine.get().is_some() {
            return Err(errors::base(ruby, "this ring is initialized already"));
        }
        let Made { driver, .. } = options::driver(ruby, arguments.keywords, 256)?;
        // Somebody else's `initialize` cannot have run in between: the check above and this
        // assignment are made without letting go of the GVL.
        let _ = this.engine.set(Engine::new(ruby, driver, Flow::Nobody));
        Ok(())
    }

    fn made(&self, ruby: &Ruby) -> Hook<&Engine> {
        self.engine
            .get()
            .ok_or_else(|| errors::closed(ruby, "ring"))
    }

    fn engine(&self, ruby: &Ruby) -> Hook<&Engine> {
        self.made(ruby)?.usable(ruby, "ring")
    }

    fn backend(ruby: &Ruby, this: Obj<Self>) -> Hook<Symbol> {
        Ok(ruby.to_symbol(this.made(ruby)?.driver.backend().name()))
    }

    fn is_closed(&self) -> bool {
        self.engine.get().is_none_or(Engine::is_closed)
    }

    fn close(ruby: &Ruby, this: Obj<Self>) -> Hook<()> {
        if this.is_closed() {
            return Ok(());
        }
        this.engine(ruby)?.close(ruby)
    }

    /// System calls that wait or submit, submissions and completions so far.
    fn counts(ruby: &Ruby, this: Obj<Self>) -> Hook<RArray> {
        let stats = this.engine(ruby)?.driver.stats();
        Ok(ruby.ary_from_iter([stats.enters, stats.submissions, stats.completions]))
    }

    /// Makes a call, on the ring of the scheduler that the fiber runs under, if that is ours. The
    /// result as `Prepared::value` says; nil when the timeout passed first.
    fn perform(ruby: &Ruby, this: Obj<Self>, call: Obj<Prepared>, timeout: Value) -> Hook<Value> {
        let own = this.engine(ruby)?;
        let timeout = duration::optional(ruby, timeout)?;
        let request = call.take(ruby)?;
        let scheduler = Scheduler::current(ruby);
        let engine = match &scheduler {
            Some(scheduler) => scheduler.engine(ruby)?,
            None => own,
        };
        let (result, made) = engine.call(ruby, request, timeout)?;
        match (result, made) {
            (Some(result), Some(made)) => value(ruby, result, *made),
            _ => Ok(ruby.qnil().as_value()),
        }
    }

    /// Makes several calls at the same time. Their results, in the order of the calls.
    fn perform_all(ruby: &Ruby, this: Obj<Self>, calls: RArray) -> Hook<RArray> {
        let own = this.engine(ruby)?;
        let mut requests = Vec::with_capacity(calls.len());
        for index in 0..calls.len() {
            let call: Obj<Prepared> = calls.entry(index as isize)?;
            requests.push(call.take(ruby)?);
        }
        let scheduler = Scheduler::current(ruby);
        let engine = match &scheduler {
            Some(scheduler) => scheduler.engine(ruby)?,
            None => own,
        };
        let values = ruby.ary_new_capa(requests.len());
        for (result, made) in engine.calls(ruby, requests)? {
            values.push(match made {
                Some(made) => value(ruby, result, *made)?,
                None => ruby.qnil().as_value(),
            })?;
        }
        Ok(values)
    }
}

/// Memory behind a UringIO::Ring::Call: a call that has not been made.
#[derive(TypedData)]
#[magnus(class = "UringIO::Ring::Call", free_immediately, size)]
pub struct Prepared(Cell<Option<Call>>);

// SAFETY: used by whichever thread holds the GVL, one at a time. What it holds points nowhere else.
unsafe impl Send for Prepared {}

impl DataTypeFunctions for Prepared {}

impl Prepared {
    fn new(call: Call) -> Self {
        Self(Cell::new(Some(call)))
    }

    fn take(&self, ruby: &Ruby) -> Hook<Call> {
        self.0
            .take()
            .ok_or_else(|| errors::base(ruby, "this call was made already"))
    }

    fn nop() -> Self {
        Self::new(Call::Nop)
    }

    fn read(ruby: &Ruby, fd: i32, length: usize, offset: Option<u64>) -> Hook<Self> {
        let memory = room(ruby, length)?;
        let target = target(ruby, fd, offset)?;
        Ok(Self::new(Call::Read { fd, target, memory }))
    }

    fn write(ruby: &Ruby, fd: i32, data: RString, offset: Option<u64>) -> Hook<Self> {
        let target = target(ruby, fd, offset)?;
        let memory = copied(data);
        Ok(Self::new(Call::Write { fd, target, memory }))
    }

    fn recv(ruby: &Ruby, fd: i32, length: usize, flags: i32) -> Hook<Self> {
        let memory = room(ruby, length)?;
        Ok(Self::new(Call::Recv { fd, memory, flags }))
    }

    fn send(fd: i32, data: RString, flags: i32) -> Self {
        let memory = copied(data);
        Self::new(Call::Send { fd, memory, flags })
    }

    fn open(ruby: &Ruby, directory: i32, path: RString, flags: i32, mode: u32) -> Hook<Self> {
        Ok(Self::new(Call::Open {
            directory,
            path: path_of(ruby, path)?,
            flags: flags | libc::O_CLOEXEC,
            mode,
        }))
    }

    fn close(fd: i32) -> Self {
        Self::new(Call::Close { fd })
    }

    fn stat(ruby: &Ruby, directory: i32, path: RString, flags: i32) -> Hook<Self> {
        Ok(Self::new(Call::Stat {
            directory,
            path: path_of(ruby, path)?,
            flags,
            mask: libc::STATX_BASIC_STATS | libc::STATX_BTIME,
            found: Box::new(empty_status()),
        }))
    }

    fn sync(fd: i32, data_only: bool) -> Self {
        Self::new(Call::Sync { fd, data_only })
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

    fn rename(ruby: &Ruby, from: RString, to: RString) -> Hook<Self> {
        Ok(Self::new(Call::Rename {
            from: (libc::AT_FDCWD, path_of(ruby, from)?),
            to: (libc::AT_FDCWD, path_of(ruby, to)?),
            flags: 0,
        }))
    }

    fn unlink(ruby: &Ruby, path: RString, flags: i32) -> Hook<Self> {
        Ok(Self::new(Call::Unlink {
            directory: libc::AT_FDCWD,
            path: path_of(ruby, path)?,
            flags,
        }))
    }

    fn mkdir(ruby: &Ruby, path: RString, mode: u32) -> Hook<Self> {
        Ok(Self::new(Call::MakeDirectory {
            directory: libc::AT_FDCWD,
            path: path_of(ruby, path)?,
            mode,
        }))
    }

    fn symlink(ruby: &Ruby, target: RString, path: RString) -> Hook<Self> {
        Ok(Self::new(Call::Symlink {
            target: path_of(ruby, target)?,
            directory: libc::AT_FDCWD,
            path: path_of(ruby, path)?,
        }))
    }

    fn link(ruby: &Ruby, from: RString, to: RString) -> Hook<Self> {
        Ok(Self::new(Call::Link {
            from: (libc::AT_FDCWD, path_of(ruby, from)?),
            to: (libc::AT_FDCWD, path_of(ruby, to)?),
            flags: 0,
        }))
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

    fn socket(domain: i32, kind: i32, protocol: i32) -> Self {
        Self::new(Call::Socket {
            domain,
            kind: kind | libc::SOCK_CLOEXEC,
            protocol,
        })
    }

    fn bind(ruby: &Ruby, fd: i32, address: RString) -> Hook<Self> {
        let address = address_of(ruby, address)?;
        Ok(Self::new(Call::Bind { fd, address }))
    }

    fn listen(fd: i32, backlog: i32) -> Self {
        Self::new(Call::Listen { fd, backlog })
    }

    fn accept(fd: i32) -> Self {
        Self::new(Call::Accept {
            fd,
            flags: libc::SOCK_CLOEXEC,
        })
    }

    fn connect(ruby: &Ruby, fd: i32, address: RString) -> Hook<Self> {
        let address = address_of(ruby, address)?;
        Ok(Self::new(Call::Connect { fd, address }))
    }

    fn shutdown(fd: i32, how: i32) -> Self {
        Self::new(Call::Shutdown { fd, how })
    }
}

/// What a call came to: its result, a String for what it read, an Array for what statx(2) told; the
/// exception, not raised, when it failed.
fn value(ruby: &Ruby, result: i32, call: Call) -> Hook<Value> {
    if result < 0 {
        let error = uring_io_core::Error::new(call.name(), -result);
        return Ok(errors::exception(ruby, error));
    }
    Ok(match call {
        Call::Read { memory, .. } | Call::Recv { memory, .. } => match memory {
            Memory::Owned(bytes) => ruby.str_from_slice(&bytes[..result as usize]).as_value(),
            Memory::Lent(_) => ruby.integer_from_i64(result.into()).as_value(),
        },
        Call::Stat { found, .. } => status(ruby, &found)?.as_value(),
        _ => ruby.integer_from_i64(result.into()).as_value(),
    })
}

/// dev_major, dev_minor, ino, mode, nlink, uid, gid, size, blocks, blksize, then atime, mtime, ctime
/// and btime as seconds and nanoseconds.
fn status(ruby: &Ruby, found: &FileStatus) -> Hook<RArray> {
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

/// Room for this many bytes.
fn room(ruby: &Ruby, length: usize) -> Hook<Memory> {
    let mut bytes = Vec::new();
    if length > 0x7fff_f000 || bytes.try_reserve_exact(length).is_err() {
        let message =
            format!("length must be at most 2147479552 and fit in memory, {length} given");
        return Err(errors::argument(ruby, message));
    }
    bytes.resize(length, 0);
    Ok(Memory::Owned(bytes))
}

fn copied(data: RString) -> Memory {
    // SAFETY: the bytes are copied before Ruby can change or free the string.
    Memory::Owned(unsafe { data.as_slice() }.to_vec())
}

fn path_of(ruby: &Ruby, path: RString) -> Hook<CString> {
    // SAFETY: the bytes are copied before Ruby can change or free the string.
    let bytes = unsafe { path.as_slice() }.to_vec();
    CString::new(bytes).map_err(|_| errors::argument(ruby, "string contains null byte".to_owned()))
}

fn address_of(ruby: &Ruby, address: RString) -> Hook<Address> {
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

/// A position makes it a file; otherwise the kernel says what it is.
fn target(ruby: &Ruby, fd: i32, offset: Option<u64>) -> Hook<Target> {
    match offset {
        Some(_) => Ok(Target::File { offset }),
        None => uring_io_core::target_of(fd).map_err(|error| errors::errno(ruby, error)),
    }
}

pub fn init(ruby: &Ruby, module: RModule) -> Result<(), Error> {
    let class = module.define_class("Ring", ruby.class_object())?;
    class.define_alloc_func::<Ring>();
    class.define_method("initialize", method!(Ring::initialize, -1))?;
    class.define_method("backend", method!(Ring::backend, 0))?;
    class.define_method("closed?", method!(Ring::is_closed, 0))?;
    class.define_method("close", method!(Ring::close, 0))?;
    class.define_private_method("counts", method!(Ring::counts, 0))?;
    class.define_private_method("perform", method!(Ring::perform, 2))?;
    class.define_private_method("perform_all", method!(Ring::perform_all, 1))?;
    let call = class.define_class("Call", ruby.class_object())?;
    call.undef_default_alloc_func();
    call.define_singleton_method("nop", function!(Prepared::nop, 0))?;
    call.define_singleton_method("read", function!(Prepared::read, 3))?;
    call.define_singleton_method("write", function!(Prepared::write, 3))?;
    call.define_singleton_method("recv", function!(Prepared::recv, 3))?;
    call.define_singleton_method("send", function!(Prepared::send, 3))?;
    call.define_singleton_method("open", function!(Prepared::open, 4))?;
    call.define_singleton_method("close", function!(Prepared::close, 1))?;
    call.define_singleton_method("stat", function!(Prepared::stat, 3))?;
    call.define_singleton_method("sync", function!(Prepared::sync, 2))?;
    call.define_singleton_method("allocate", function!(Prepared::allocate, 4))?;
    call.define_singleton_method("truncate", function!(Prepared::truncate, 2))?;
    call.define_singleton_method("advise", function!(Prepared::advise, 4))?;
    call.define_singleton_method("rename", function!(Prepared::rename, 2))?;
    call.define_singleton_method("unlink", function!(Prepared::unlink, 2))?;
    call.define_singleton_method("mkdir", function!(Prepared::mkdir, 2))?;
    call.define_singleton_method("symlink", function!(Prepared::symlink, 2))?;
    call.define_singleton_method("link", function!(Prepared::link, 2))?;
    call.define_singleton_method("splice", function!(Prepared::splice, 5))?;
    call.define_singleton_method("tee", function!(Prepared::tee, 3))?;
    call.define_singleton_method("socket", function!(Prepared::socket, 3))?;
    call.define_singleton_method("bind", function!(Prepared::bind, 2))?;
    call.define_singleton_method("listen", function!(Prepared::listen, 2))?;
    call.define_singleton_method("accept", function!(Prepared::accept, 1))?;
    call.define_singleton_method("connect", function!(Prepared::connect, 2))?;
    call.define_singleton_method("shutdown", function!(Prepared::shutdown, 2))?;
    Ok(())
}

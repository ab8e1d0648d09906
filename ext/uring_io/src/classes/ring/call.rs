//! Class UringIO::Ring::Call: a constructor for each operation. Those on files and names are in `file_call.rs`.
#![allow(unsafe_code)]

use magnus::{
    function, method, prelude::*, typed_data::Obj, Error, RArray, RClass, RString, Ruby, TypedData,
    Value,
};
use uring_io_core::{empty_child, numbers, Call, Direction, Memory, Message};

use super::arguments::{address_of, bytes, own_memory, position, room, vectors, word_of};
use super::ring_call::{Constructed, RingCall};
use crate::memory::registered::Registered;
use crate::ruby::{duration, errors, io};

impl RingCall {
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
                    "readv needs buffers that own their memory, and this is a slice or a String's: \
                               give the buffer that the slice is part of";
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

    /// Reads into, or writes from, a range of a registered buffer.
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
                    "at: {at} and length: {length} must lie in the buffer of {} bytes",
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
            Ok(Call::recv(fd, memory, flags))
        })
    }

    fn send(ruby: &Ruby, fd: i32, from: Value, flags: i32) -> Constructed {
        Self::holding(ruby, |held| {
            let memory = bytes(ruby, from, held)?;
            Ok(Call::send(fd, memory, flags))
        })
    }

    /// Sends from a frozen String, or from an IO::Buffer that owns its memory.
    fn send_zc(ruby: &Ruby, fd: i32, from: Value, flags: i32) -> Constructed {
        Self::holding(ruby, |held| {
            if let Memory::Lent(buffer) = bytes(ruby, from, held)? {
                return Ok(Call::SendZeroCopy { fd, buffer, flags });
            }
            let message =
                "send_zc needs a frozen String, or an IO::Buffer that owns its memory: freeze the \
                           String, or use send";
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
            Ok(Call::send_message(fd, message, flags))
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
            let memory = own_memory(ruby, buffer, "a futex")?;
            let word = word_of(ruby, &memory, at)?;
            held.lock(ruby, buffer, memory)?;
            Ok(Call::FutexWait { word, expected })
        })
    }

    fn futex_wake(ruby: &Ruby, buffer: Value, at: usize, count: u32) -> Constructed {
        Self::holding(ruby, |held| {
            let memory = own_memory(ruby, buffer, "a futex")?;
            let word = word_of(ruby, &memory, at)?;
            held.lock(ruby, buffer, memory)?;
            Ok(Call::FutexWake { word, count })
        })
    }

    fn accept_each(fd: i32) -> Self {
        Self::stream(Call::AcceptEach {
            fd,
            flags: numbers::SOCK_CLOEXEC,
        })
    }

    fn recv_each(fd: i32, flags: i32) -> Self {
        Self::stream(Call::RecvEach { fd, flags })
    }

    fn read_each(fd: i32) -> Self {
        Self::stream(Call::ReadEach { fd })
    }

    fn poll_each(ruby: &Ruby, fd: i32, events: Value) -> Result<Self, Error> {
        let interest = io::interest(ruby, events)?;
        Ok(Self::stream(Call::PollEach { fd, interest }))
    }
}

/// See [`RingCall::discard`].
fn discard(ruby: &Ruby, this: Obj<RingCall>) {
    this.discard(ruby);
}

pub fn init(ruby: &Ruby, ring: RClass) -> Result<RClass, Error> {
    let call = ring.define_class("Call", ruby.class_object())?;
    call.undef_default_alloc_func();
    RingCall::class(ruby);
    call.define_method("opens?", method!(RingCall::opens, 0))?;
    call.define_method("try_at_once", method!(RingCall::try_at_once, 0))?;
    call.define_method("discard", method!(discard, 0))?;
    call.define_singleton_method("nop", function!(RingCall::nop, 0))?;
    call.define_singleton_method("read", function!(RingCall::read, 3))?;
    call.define_singleton_method("write", function!(RingCall::write, 3))?;
    call.define_singleton_method("readv", function!(RingCall::readv, 3))?;
    call.define_singleton_method("writev", function!(RingCall::writev, 3))?;
    call.define_singleton_method("fixed", function!(RingCall::fixed, 5))?;
    call.define_singleton_method("recv", function!(RingCall::recv, 3))?;
    call.define_singleton_method("send", function!(RingCall::send, 3))?;
    call.define_singleton_method("send_zc", function!(RingCall::send_zc, 3))?;
    call.define_singleton_method("recvmsg", function!(RingCall::recvmsg, 4))?;
    call.define_singleton_method("sendmsg", function!(RingCall::sendmsg, 5))?;
    call.define_singleton_method("splice", function!(RingCall::splice, 5))?;
    call.define_singleton_method("tee", function!(RingCall::tee, 3))?;
    call.define_singleton_method("pipe", function!(RingCall::pipe, 1))?;
    call.define_singleton_method("socket", function!(RingCall::socket, 3))?;
    call.define_singleton_method("bind", function!(RingCall::bind, 2))?;
    call.define_singleton_method("listen", function!(RingCall::listen, 2))?;
    call.define_singleton_method("accept", function!(RingCall::accept, 1))?;
    call.define_singleton_method("connect", function!(RingCall::connect, 2))?;
    call.define_singleton_method("setsockopt", function!(RingCall::setsockopt, 4))?;
    call.define_singleton_method("shutdown", function!(RingCall::shutdown, 2))?;
    call.define_singleton_method("poll", function!(RingCall::poll, 2))?;
    call.define_singleton_method("timeout", function!(RingCall::timeout, 1))?;
    call.define_singleton_method("waitid", function!(RingCall::waitid, 3))?;
    call.define_singleton_method("futex_wait", function!(RingCall::futex_wait, 3))?;
    call.define_singleton_method("futex_wake", function!(RingCall::futex_wake, 3))?;
    call.define_singleton_method("accept_each", function!(RingCall::accept_each, 1))?;
    call.define_singleton_method("recv_each", function!(RingCall::recv_each, 2))?;
    call.define_singleton_method("read_each", function!(RingCall::read_each, 1))?;
    call.define_singleton_method("poll_each", function!(RingCall::poll_each, 2))?;
    Ok(call)
}

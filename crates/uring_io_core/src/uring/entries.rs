//! Turns calls into submission queue entries.

use std::os::fd::RawFd;

use io_uring::squeue::{Entry, Flags};
use io_uring::{opcode, types};

use crate::call::{Call, Link, Subject};
use crate::memory::Memory;
use crate::operation::Target;
use crate::token::Token;

/// The group of buffers that streams receive into.
pub(super) const BUFFER_GROUP: u16 = 0;

/// The entry for a call. Its pointers lead into the call, which the in-flight table keeps in place until the
/// completion.
pub(super) fn entry(token: Token, call: &mut Call) -> Entry {
    let fd = types::Fd;
    let entry = match call {
        Call::Nop => opcode::Nop::new().build(),
        Call::Read {
            fd: from,
            target,
            memory,
        } => {
            let (address, length) = place(memory);
            opcode::Read::new(fd(*from), address, length)
                .offset(position(*target))
                .build()
        }
        Call::Write {
            fd: to,
            target,
            memory,
        } => {
            let (address, length) = place(memory);
            opcode::Write::new(fd(*to), address, length)
                .offset(position(*target))
                .build()
        }
        Call::Recv {
            fd: from,
            memory,
            flags,
            ..
        } => {
            let (address, length) = place(memory);
            opcode::Recv::new(fd(*from), address, length)
                .flags(*flags)
                .build()
        }
        Call::Send {
            fd: to,
            memory,
            flags,
            at_once,
            ..
        } => {
            let (address, length) = place(memory);
            opcode::Send::new(fd(*to), address, length)
                .flags(sent(*flags, *at_once))
                .build()
        }
        Call::ReadVectors {
            fd: from,
            target,
            vectors,
        } => {
            let (place, count) = vectors.place();
            opcode::Readv::new(fd(*from), place, count)
                .offset(position(*target))
                .build()
        }
        Call::WriteVectors {
            fd: to,
            target,
            vectors,
        } => {
            let (place, count) = vectors.place();
            opcode::Writev::new(fd(*to), place, count)
                .offset(position(*target))
                .build()
        }
        Call::ReadFixed {
            fd: from,
            offset,
            buffer,
            index,
        } => {
            let (address, length) = (buffer.address(), buffer.length() as u32);
            opcode::ReadFixed::new(fd(*from), address, length, *index)
                .offset(offset.unwrap_or(u64::MAX))
                .build()
        }
        Call::WriteFixed {
            fd: to,
            offset,
            buffer,
            index,
        } => {
            let (address, length) = (buffer.address(), buffer.length() as u32);
            opcode::WriteFixed::new(fd(*to), address, length, *index)
                .offset(offset.unwrap_or(u64::MAX))
                .build()
        }
        Call::SendZeroCopy {
            fd: to,
            buffer,
            flags,
        } => opcode::SendZc::new(fd(*to), buffer.address(), buffer.length() as u32)
            .flags(*flags | libc::MSG_NOSIGNAL)
            .build(),
        Call::ReceiveMessage {
            fd: from,
            message,
            flags,
        } => opcode::RecvMsg::new(fd(*from), message.header())
            .flags((*flags | libc::MSG_CMSG_CLOEXEC) as u32)
            .build(),
        Call::SendMessage {
            fd: to,
            message,
            flags,
            at_once,
        } => opcode::SendMsg::new(fd(*to), message.header())
            .flags(sent(*flags, *at_once) as u32)
            .build(),
        Call::OpenHow {
            directory,
            path,
            how,
        } => {
            let how = std::ptr::from_ref(&**how).cast();
            opcode::OpenAt2::new(fd(*directory), path.as_ptr(), how).build()
        }
        // `fd` is a direct descriptor, whatever the link says.
        Call::Install { fd: slot } => {
            opcode::FixedFdInstall::new(types::Fixed(*slot as u32), 0).build()
        }
        Call::GetAttribute {
            subject,
            name,
            memory,
        } => {
            let (address, length) = place(memory);
            let (name, address) = (name.as_ptr(), address.cast());
            match subject {
                Subject::Descriptor(of) => {
                    opcode::FGetXattr::new(fd(*of), name, address, length).build()
                }
                Subject::Path(path) => {
                    opcode::GetXattr::new(name, address, path.as_ptr(), length).build()
                }
            }
        }
        Call::SetAttribute {
            subject,
            name,
            value,
            flags,
        } => {
            let (address, length) = place(value);
            let (name, address) = (name.as_ptr(), address.cast());
            match subject {
                Subject::Descriptor(of) => opcode::FSetXattr::new(fd(*of), name, address, length)
                    .flags(*flags)
                    .build(),
                Subject::Path(path) => opcode::SetXattr::new(name, address, path.as_ptr(), length)
                    .flags(*flags)
                    .build(),
            }
        }
        Call::Pipe { flags, ends } => opcode::Pipe::new(ends.as_mut_ptr())
            .flags(*flags as u32)
            .build(),
        Call::Poll { fd: of, interest } => {
            opcode::PollAdd::new(fd(*of), interest.poll_events() as u32).build()
        }
        Call::Timeout { length } => {
            opcode::Timeout::new(std::ptr::from_ref(&**length).cast()).build()
        }
        Call::WaitForChild {
            kind,
            id,
            options,
            found,
            ..
        } => opcode::WaitId::new(*kind, *id, *options)
            .infop(std::ptr::from_mut(&mut **found).cast_const())
            .build(),
        Call::FutexWait { word, expected } => {
            let value = u64::from(*expected);
            opcode::FutexWait::new(word.address().cast(), value, ANY_BITS, FUTEX_FLAGS).build()
        }
        Call::FutexWake { word, count } => {
            let count = u64::from(*count);
            opcode::FutexWake::new(word.address().cast(), count, ANY_BITS, FUTEX_FLAGS).build()
        }
        Call::Nudge { ring, token } => {
            opcode::MsgRingData::new(fd(*ring), 0, token.user_data(), None).build()
        }
        Call::AcceptEach { fd: it, flags } => {
            opcode::AcceptMulti::new(fd(*it)).flags(*flags).build()
        }
        Call::RecvEach { fd: from, flags } => opcode::RecvMulti::new(fd(*from), BUFFER_GROUP)
            .flags(*flags)
            .build(),
        Call::ReadEach { fd: from } => opcode::ReadMulti::new(fd(*from), 0, BUFFER_GROUP)
            .offset(u64::MAX)
            .build(),
        Call::PollEach { fd: of, interest } => {
            opcode::PollAdd::new(fd(*of), interest.poll_events() as u32)
                .multi(true)
                .build()
        }
        Call::Open {
            directory,
            path,
            flags,
            mode,
        } => opcode::OpenAt::new(fd(*directory), path.as_ptr())
            .flags(*flags)
            .mode(*mode)
            .build(),
        Call::Close { fd: it } => opcode::Close::new(fd(*it)).build(),
        Call::Stat {
            directory,
            path,
            flags,
            mask,
            found,
        } => {
            let found = std::ptr::from_mut(&mut **found).cast();
            opcode::Statx::new(fd(*directory), path.as_ptr(), found)
                .flags(*flags)
                .mask(*mask)
                .build()
        }
        Call::Sync { fd: it, data_only } => {
            let flags = if *data_only {
                types::FsyncFlags::DATASYNC
            } else {
                types::FsyncFlags::empty()
            };
            opcode::Fsync::new(fd(*it)).flags(flags).build()
        }
        Call::SyncRange {
            fd: it,
            offset,
            length,
            flags,
        } => opcode::SyncFileRange::new(fd(*it), *length)
            .offset(*offset)
            .flags(*flags)
            .build(),
        Call::Allocate {
            fd: it,
            mode,
            offset,
            length,
        } => opcode::Fallocate::new(fd(*it), *length)
            .offset(*offset)
            .mode(*mode)
            .build(),
        Call::Truncate { fd: it, length } => opcode::Ftruncate::new(fd(*it), *length).build(),
        Call::Advise {
            fd: it,
            offset,
            length,
            advice,
        } => opcode::Fadvise::new(fd(*it), *length as libc::off_t, *advice)
            .offset(*offset)
            .build(),
        Call::AdviseMemory { memory, advice } => {
            let length = memory.length() as libc::off_t;
            opcode::Madvise::new(memory.address().cast(), length, *advice).build()
        }
        Call::Rename { from, to, flags } => {
            opcode::RenameAt::new(fd(from.0), from.1.as_ptr(), fd(to.0), to.1.as_ptr())
                .flags(*flags)
                .build()
        }
        Call::Unlink {
            directory,
            path,
            flags,
        } => opcode::UnlinkAt::new(fd(*directory), path.as_ptr())
            .flags(*flags)
            .build(),
        Call::MakeDirectory {
            directory,
            path,
            mode,
        } => opcode::MkDirAt::new(fd(*directory), path.as_ptr())
            .mode(*mode)
            .build(),
        Call::Symlink {
            target,
            directory,
            path,
        } => opcode::SymlinkAt::new(fd(*directory), target.as_ptr(), path.as_ptr()).build(),
        Call::Link { from, to, flags } => {
            opcode::LinkAt::new(fd(from.0), from.1.as_ptr(), fd(to.0), to.1.as_ptr())
                .flags(*flags)
                .build()
        }
        Call::Splice {
            from,
            from_offset,
            to,
            to_offset,
            length,
            flags,
        } => opcode::Splice::new(fd(*from), *from_offset, fd(*to), *to_offset, *length)
            .flags(*flags)
            .build(),
        Call::Tee {
            from,
            to,
            length,
            flags,
        } => opcode::Tee::new(fd(*from), fd(*to), *length)
            .flags(*flags)
            .build(),
        Call::Socket {
            domain,
            kind,
            protocol,
        } => opcode::Socket::new(*domain, *kind, *protocol).build(),
        Call::Bind { fd: it, address } => {
            let place = std::ptr::from_ref(&address.storage).cast();
            opcode::Bind::new(fd(*it), place, address.length).build()
        }
        Call::Listen { fd: it, backlog } => opcode::Listen::new(fd(*it), *backlog).build(),
        Call::Accept { fd: it, flags } => {
            let nowhere = std::ptr::null_mut();
            opcode::Accept::new(fd(*it), nowhere, nowhere.cast())
                .flags(*flags)
                .build()
        }
        Call::Connect { fd: it, address } => {
            let place = std::ptr::from_ref(&address.storage).cast();
            opcode::Connect::new(fd(*it), place, address.length).build()
        }
        Call::SetOption {
            fd: it,
            level,
            option,
            value,
        } => {
            let (address, length) = place(value);
            let address = address.cast_const().cast();
            opcode::SetSockOpt::new(fd(*it), *level as u32, *option as u32, address, length).build()
        }
        Call::Shutdown { fd: it, how } => opcode::Shutdown::new(fd(*it), *how).build(),
    };
    entry.user_data(token.user_data())
}

/// The entry for the guard of a stream: a poll for no events, which only an error or a hang-up of either side ends.
pub(super) fn guard(stream: Token, fd: RawFd) -> Entry {
    let poll = opcode::PollAdd::new(types::Fd(fd), 0).build();
    poll.user_data(stream.guard().user_data())
}

/// The entry for a call of a chain. `last` says that the chain ends with this call, and `expires` that the kernel can
/// count the end of a timeout as a success.
pub(super) fn linked_entry(
    token: Token,
    call: &mut Call,
    link: Link,
    last: bool,
    expires: bool,
) -> Entry {
    const SPLICE_SOURCE_IS_DIRECT: u32 = 1 << 31;
    if let Call::Splice { flags, .. } | Call::Tee { flags, .. } = call {
        if link.direct_source {
            *flags |= SPLICE_SOURCE_IS_DIRECT;
        }
    }
    let slot = link
        .into
        .and_then(|slot| types::DestinationSlot::try_from_slot_target(slot).ok());
    let mut flags = Flags::empty();
    if link.direct {
        flags |= Flags::FIXED_FILE;
    }
    let entry = match (&mut *call, slot) {
        // A close has the slot in a field of its own, without `FIXED_FILE`. An install has that flag already.
        (Call::Close { fd }, _) if link.direct => {
            flags = Flags::empty();
            opcode::Close::new(types::Fixed(*fd as u32)).build()
        }
        (Call::Install { .. }, _) => {
            flags = Flags::empty();
            entry(token, call)
        }
        // Without this flag the end of the timeout counts as a failure and breaks the chain.
        (Call::Timeout { length }, _) if expires => {
            opcode::Timeout::new(std::ptr::from_ref(&**length).cast())
                .flags(types::TimeoutFlags::ETIME_SUCCESS)
                .build()
        }
        // The kernel refuses `O_CLOEXEC` for a direct descriptor. It needs none: a program that exec(2) starts does not
        // get the ring's table.
        (
            Call::Open {
                directory,
                path,
                flags,
                mode,
            },
            Some(slot),
        ) => opcode::OpenAt::new(types::Fd(*directory), path.as_ptr())
            .flags(*flags & !libc::O_CLOEXEC)
            .mode(*mode)
            .file_index(Some(slot))
            .build(),
        (
            Call::OpenHow {
                directory,
                path,
                how,
            },
            Some(slot),
        ) => {
            how.flags &= !(libc::O_CLOEXEC as u64);
            let how = std::ptr::from_ref(&**how).cast();
            opcode::OpenAt2::new(types::Fd(*directory), path.as_ptr(), how)
                .file_index(Some(slot))
                .build()
        }
        (
            Call::Socket {
                domain,
                kind,
                protocol,
            },
            Some(slot),
        ) => opcode::Socket::new(*domain, *kind & !libc::SOCK_CLOEXEC, *protocol)
            .file_index(Some(slot))
            .build(),
        (Call::Accept { fd, flags }, Some(slot)) => {
            let nowhere = std::ptr::null_mut();
            opcode::Accept::new(types::Fd(*fd), nowhere, nowhere.cast())
                .flags(*flags & !libc::SOCK_CLOEXEC)
                .file_index(Some(slot))
                .build()
        }
        (call, _) => entry(token, call),
    };
    if !last {
        flags |= if link.hard {
            Flags::IO_HARDLINK
        } else {
            Flags::IO_LINK
        };
    }
    entry.flags(flags).user_data(token.user_data())
}

/// `FUTEX_BITSET_MATCH_ANY`.
const ANY_BITS: u64 = 0xffff_ffff;
/// `FUTEX2_SIZE_U32 | FUTEX2_PRIVATE`.
const FUTEX_FLAGS: u32 = 0x02 | 128;

/// The flags of a send.
fn sent(flags: i32, at_once: bool) -> i32 {
    let more = if at_once { libc::MSG_DONTWAIT } else { 0 };
    flags | more | libc::MSG_NOSIGNAL
}

fn place(memory: &Memory) -> (*mut u8, u32) {
    let buffer = memory.lend();
    (buffer.address(), buffer.length() as u32)
}

/// Offset -1 means the file's own position (Linux 5.6). It is also right for sockets and pipes.
fn position(target: Option<Target>) -> u64 {
    target.and_then(Target::offset).unwrap_or(u64::MAX)
}

//! Calls as submission queue entries.

use io_uring::{opcode, squeue::Entry, types};

use crate::call::{Call, Memory};
use crate::operation::Target;
use crate::token::Token;

/// The entry for a call. Its pointers lead into the call, which the in-flight table keeps until the
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
        } => {
            let (address, length) = place(memory);
            opcode::Send::new(fd(*to), address, length)
                .flags(*flags | libc::MSG_NOSIGNAL)
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
        Call::Shutdown { fd: it, how } => opcode::Shutdown::new(fd(*it), *how).build(),
    };
    entry.user_data(token.user_data())
}

fn place(memory: &Memory) -> (*mut u8, u32) {
    let buffer = memory.lend();
    (buffer.address(), buffer.length() as u32)
}

/// Offset -1 means the file's own position (Linux 5.6), and is what sockets and pipes want.
fn position(target: Target) -> u64 {
    match target {
        Target::File {
            offset: Some(offset),
        } => offset,
        _ => u64::MAX,
    }
}

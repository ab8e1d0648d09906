//! The result of a call as a Ruby value.
#![allow(unsafe_code)]

use magnus::value::ReprValue;
use magnus::{Error, Exception, RArray, RString, Ruby, Value};
use uring_io_core::{numbers, Call, FileStatus, Memory, Message};

use crate::engine::outcome::Outcome;
use crate::memory::held::Held;
use crate::ruby::{errors, io};

/// The result of a call for Ruby: nil, a number, a String of the bytes that it read (nil at the end), or an Array of
/// the numbers that the kernel filled in. The inner error is the exception of a call that failed. The outer error is
/// an exception that somebody raises from outside meanwhile, which is no result of the call.
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

/// The exception of a call that has failed; `None` for any other. Fails as [`value`] does.
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
        // Without room the kernel answers with the length of the attribute, and fills nothing in.
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
        // The number of bytes, a descriptor, or how many waiters were woken.
        Call::Write { .. }
        | Call::ReadVectors { .. }
        | Call::WriteVectors { .. }
        | Call::ReadFixed { .. }
        | Call::WriteFixed { .. }
        | Call::Send { .. }
        | Call::SendZeroCopy { .. }
        | Call::SendMessage { .. }
        | Call::Splice { .. }
        | Call::Tee { .. }
        | Call::Open { .. }
        | Call::OpenHow { .. }
        | Call::Install { .. }
        | Call::Socket { .. }
        | Call::Accept { .. }
        | Call::FutexWait { .. }
        | Call::FutexWake { .. } => integer(result.into()),
        // The ring itself makes nudges, and streams yield their results as shots: nobody asks for them here.
        Call::Nudge { .. }
        | Call::AcceptEach { .. }
        | Call::RecvEach { .. }
        | Call::ReadEach { .. }
        | Call::PollEach { .. } => integer(result.into()),
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
            // SAFETY: the caller has waited for all calls of the chain, so none of them writes to it now.
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

/// An Array: the data, the address as a packed sockaddr, the flags, and for each control message its level, type and
/// data.
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

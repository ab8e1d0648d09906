//! Converts the arguments of calls for the core.
#![allow(unsafe_code)]

use std::ffi::CString;

use magnus::value::ReprValue;
use magnus::{
    typed_data::Obj, Error, Integer, RArray, RString, Ruby, TryConvert, TypedData, Value,
};
use uring_io_core::{Address, Direction, LentBuffer, Memory, Subject, Target, Vectors};

use super::memory::ChainMemory;
use crate::memory::buffer::BufferMemory;
use crate::memory::held::Held;
use crate::ruby::errors;

/// Memory to read into: a new string if `into` is a number of bytes, else an IO::Buffer or a Memory.
pub fn room(ruby: &Ruby, into: Value, held: &Held) -> Result<Memory, Error> {
    if let Some(length) = Integer::from_value(into) {
        return held.string(ruby, length.to_usize()?);
    }
    memory_of(ruby, into, held, Direction::Read)
}

fn memory_of(
    ruby: &Ruby,
    object: Value,
    held: &Held,
    direction: Direction,
) -> Result<Memory, Error> {
    // Check the class before the conversion: a conversion that fails makes an exception, and loses one that another
    // thread raises here meanwhile.
    if object.is_kind_of(ChainMemory::class(ruby)) {
        return Obj::<ChainMemory>::try_convert(object)?.share(ruby);
    }
    held.buffer(ruby, object, direction)
}

/// Memory to write from: a String, an IO::Buffer or a Memory.
pub fn bytes(ruby: &Ruby, from: Value, held: &Held) -> Result<Memory, Error> {
    if let Some(string) = RString::from_value(from) {
        return Ok(held.bytes(string));
    }
    memory_of(ruby, from, held, Direction::Write)
}

pub fn vectors(
    ruby: &Ruby,
    array: RArray,
    memory: impl Fn(Value) -> Result<Memory, Error>,
) -> Result<Vectors, Error> {
    /// `IOV_MAX` of Linux.
    const VECTORS_MAX: usize = 1024;
    if array.is_empty() || array.len() > VECTORS_MAX {
        let message = format!(
            "the array must have from 1 to {VECTORS_MAX} buffers or Strings, {} given",
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

/// The memory of an IO::Buffer. Fails if the buffer does not own it; `what` begins the message.
pub fn own_memory(ruby: &Ruby, buffer: Value, what: &str) -> Result<BufferMemory, Error> {
    let memory = BufferMemory::new(ruby, buffer, Direction::Write)?;
    if memory.is_own() {
        return Ok(memory);
    }
    let message = format!(
        "{what} needs an IO::Buffer that owns its memory, and this is a slice or a String's: use IO::Buffer.new \
         or IO::Buffer.map"
    );
    Err(errors::argument(ruby, message))
}

/// The 32 bits of a futex, `at` bytes from the beginning.
pub fn word_of(ruby: &Ruby, memory: &BufferMemory, at: usize) -> Result<LentBuffer, Error> {
    if at % 4 != 0 || at.checked_add(4).is_none_or(|end| end > memory.size()) {
        let message = format!(
            "at: must be a multiple of 4 with 4 bytes after it in the buffer of {} bytes, {at} given",
            memory.size()
        );
        return Err(errors::argument(ruby, message));
    }
    Ok(memory.lend(at, 4))
}

pub fn path_of(ruby: &Ruby, path: RString) -> Result<CString, Error> {
    // SAFETY: the bytes are copied before Ruby can change or free the string.
    let bytes = unsafe { path.as_slice() }.to_vec();
    CString::new(bytes).map_err(|_| errors::argument(ruby, "string contains null byte".to_owned()))
}

pub fn subject_of(ruby: &Ruby, subject: Value) -> Result<Subject, Error> {
    match RString::from_value(subject) {
        Some(path) => path_of(ruby, path).map(Subject::Path),
        None => i32::try_convert(subject).map(Subject::Descriptor),
    }
}

pub fn address_of(ruby: &Ruby, address: RString) -> Result<Address, Error> {
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

/// The target of a transfer with a position is a file. Without one, the kernel knows what the descriptor is.
pub fn position(offset: Option<u64>) -> Option<Target> {
    offset.map(|_| Target::File { offset })
}

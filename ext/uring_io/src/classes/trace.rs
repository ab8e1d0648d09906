//! Class UringIO::Trace: begins and ends a recording. `lib/uring_io/trace.rb` makes sense of the records.

use magnus::{function, prelude::*, Error, RArray, RModule, Ruby};
use uring_io_core::{BackendKind, Record};

use crate::engine::closing::Registry;
use crate::engine::Engine;

/// The size of a packed record in bytes. `lib/uring_io/trace/reading.rb` unpacks it.
const SIZE: usize = 37;

/// Begins to record. Returns false if somebody records already.
fn begin(ruby: &Ruby, most: usize) -> Result<bool, Error> {
    Registry::of(ruby).begin_recording(ruby, most)
}

/// Ends the recording. Returns a row for each engine.
fn end(ruby: &Ruby) -> Result<RArray, Error> {
    let found = ruby.ary_new();
    for (backend, mut log) in Registry::of(ruby).end_recording(ruby)? {
        let loops = log.loops();
        let (records, gone, names) = log.take();
        found.push(row(ruby, backend, &records, gone, names, loops)?)?;
    }
    Ok(found)
}

/// The records of an engine so far, as a row; nil when nobody records it.
pub fn recorded(ruby: &Ruby, engine: Option<&Engine>) -> Result<Option<RArray>, Error> {
    let Some(engine) = engine else {
        return Ok(None);
    };
    // This makes a copy first: making Ruby objects may collect garbage, and the engine records that.
    let recorded = engine.recorded();
    recorded
        .map(|(records, gone, names, loops)| {
            row(ruby, engine.backend(), &records, gone, &names, loops)
        })
        .transpose()
}

/// A row: the backend, the number of records that are gone, the names, the records, and whether the engine is that of a
/// loop, which is then among the code that runs.
fn row(
    ruby: &Ruby,
    backend: BackendKind,
    records: &[Record],
    gone: u64,
    names: &[String],
    loops: bool,
) -> Result<RArray, Error> {
    let row = ruby.ary_new();
    row.push(ruby.to_symbol(backend.name()))?;
    row.push(gone)?;
    row.push(ruby.ary_from_iter(names.iter().map(|name| ruby.str_new(name))))?;
    row.push(ruby.str_from_slice(&packed(records)))?;
    row.push(loops)?;
    Ok(row)
}

fn packed(records: &[Record]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(records.len() * SIZE);
    for record in records {
        bytes.extend(record.at.to_ne_bytes());
        bytes.extend(record.party.to_ne_bytes());
        bytes.extend(record.token.to_ne_bytes());
        bytes.extend(record.value.to_ne_bytes());
        bytes.extend(record.fd.to_ne_bytes());
        bytes.extend(record.name.to_ne_bytes());
        bytes.extend(record.about.to_ne_bytes());
        bytes.push(record.event as u8);
    }
    bytes
}

pub fn init(ruby: &Ruby, module: RModule) -> Result<(), Error> {
    let class = module.define_class("Trace", ruby.class_object())?;
    let singleton = class.singleton_class()?;
    singleton.define_private_method("begin_recording", function!(begin, 1))?;
    singleton.define_private_method("end_recording", function!(end, 0))?;
    Ok(())
}

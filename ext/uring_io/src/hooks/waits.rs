//! The waits of the fibers of a scheduler or selector, as Ruby objects.

use std::time::Instant;

use magnus::value::ReprValue;
use magnus::{Error, RArray, Ruby, Value};
use uring_io_core::Address;

use crate::engine::looks::FiberLook;
use crate::engine::Engine;

/// A row for each parked fiber, the longest waits first: the fiber, the blocker or nil, the names of calls, the
/// descriptors (each with the addresses of its peer and itself, or nil), the seconds left or nil, the seconds that
/// the fiber has waited at most or nil, whether it may go on, and whether it runs the others.
///
/// Making the rows calls no methods of Ruby, so no other thread runs before the last row is made, and the engine
/// marks all fibers until then.
pub fn of(ruby: &Ruby, engine: Option<&Engine>) -> Result<RArray, Error> {
    let looks = engine.map_or_else(Vec::new, |engine| engine.looks(ruby));
    let now = Instant::now();
    let rows = ruby.ary_new_capa(looks.len());
    for look in looks {
        rows.push(row(ruby, look, now)?)?;
    }
    Ok(rows)
}

fn row(ruby: &Ruby, look: FiberLook, now: Instant) -> Result<RArray, Error> {
    let nil = ruby.qnil().as_value();
    let seconds = |length: std::time::Duration| ruby.float_from_f64(length.as_secs_f64());
    let optional = |float: Option<magnus::Float>| float.map_or(nil, ReprValue::as_value);
    let left = look.deadline.map(|at| at.saturating_duration_since(now));
    let waited = look.since.map(|at| now.saturating_duration_since(at));
    let row = ruby.ary_new_capa(8);
    row.push(ruby.get_inner(look.fiber))?;
    row.push(look.blocker.map_or(nil, |blocker| ruby.get_inner(blocker)))?;
    let calls = ruby.ary_new_capa(look.calls.len());
    for call in look.calls {
        calls.push(ruby.to_symbol(call))?;
    }
    row.push(calls)?;
    let descriptors = ruby.ary_new_capa(look.descriptors.len());
    for fd in look.descriptors {
        let address = |address: Option<Address>| {
            address.map_or(nil, |address| {
                ruby.str_from_slice(address.as_bytes()).as_value()
            })
        };
        let (peer, own) = (Address::of_peer(fd), Address::of_socket(fd));
        descriptors.push(ruby.ary_from_iter([
            ruby.integer_from_i64(fd.into()).as_value(),
            address(peer),
            address(own),
        ]))?;
    }
    row.push(descriptors)?;
    row.push::<Value>(optional(left.map(seconds)))?;
    row.push::<Value>(optional(waited.map(seconds)))?;
    row.push(look.ready)?;
    row.push(look.runs)?;
    Ok(row)
}

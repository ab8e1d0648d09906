//! The timeout_after hook: an exception in the middle of whatever the block waits for.

use magnus::value::Opaque;
use magnus::{block::Proc, Error, Ruby, Value};

use crate::engine::{Engine, Timeout};
use crate::ruby::duration;

/// Calls the block with `seconds`. When they pass before it ends, `exception` is raised in the
/// fiber, at what it waits for. Returns the block's value.
pub fn after(
    engine: &Engine,
    ruby: &Ruby,
    seconds: Value,
    exception: Value,
    message: Value,
    block: Proc,
) -> Result<Value, Error> {
    let limit = duration::required(ruby, seconds)?;
    let timeout = Timeout {
        exception: Opaque::from(exception),
        message: Opaque::from(message),
    };
    let token = engine.begin_timeout(ruby.fiber_current(), limit, timeout);
    let result = block.call::<_, Value>((seconds,));
    engine.end_timeout(token);
    result
}

//! The hook timeout_after: raises an exception at the wait of a block that takes too long.

use magnus::value::Opaque;
use magnus::{block::Proc, Error, Ruby, Value};

use crate::engine::{Engine, Timeout};
use crate::ruby::duration;

/// Calls the block with `seconds` and returns its value. If they pass before the block ends, the engine raises
/// `exception` in the fiber, at its wait.
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

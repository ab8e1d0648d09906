//! The timeout_after hook: an exception in the middle of whatever the block waits for.

use magnus::value::Opaque;
use magnus::{block::Proc, prelude::*, Error, Exception, Ruby, Value};

use crate::engine::{Engine, Purpose, Timeout};
use crate::{duration, errors};

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
    let fiber = ruby.fiber_current();
    let token = engine.park_beside(fiber, Purpose::Deadline);
    let timeout = Timeout {
        exception: Opaque::from(exception),
        message: Opaque::from(message),
    };
    engine.timeouts.borrow_mut().insert(token, timeout);
    engine.driver.set_timeout(token, Some(limit));
    let result = block.call::<_, Value>((seconds,));
    engine.driver.leave(token);
    engine.forget_timeout(token);
    result
}

/// What a timeout raises: `exception` itself, or a new one of that class with `message`.
pub fn make_exception(ruby: &Ruby, exception: Value, message: Value) -> Result<Exception, Error> {
    if let Some(exception) = Exception::from_value(exception) {
        return Ok(exception);
    }
    let arguments = if message.is_nil() {
        vec![]
    } else {
        vec![message]
    };
    let made: Value = exception.funcall("exception", arguments.as_slice())?;
    Exception::from_value(made).ok_or_else(|| {
        errors::wrong_type(
            ruby,
            format!("exception class/object expected, {} given", made.class()),
        )
    })
}

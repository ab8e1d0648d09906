//! The hook fiber_interrupt.

use magnus::fiber::Fiber;
use magnus::value::ReprValue;
use magnus::{Error, Exception, Ruby, Value};

use crate::engine::Engine;
use crate::ruby::errors;

/// Raises an exception in a fiber at its wait, or in a proxy that stands for a wait.
pub fn raise_at_wait(
    engine: &Engine,
    ruby: &Ruby,
    target: Value,
    exception: Value,
) -> Result<(), Error> {
    match (Fiber::from_value(target), Exception::from_value(exception)) {
        (Some(fiber), Some(exception)) => engine.interrupt_wait(fiber, exception),
        (Some(_), None) => {
            let message = format!("{} given where an Exception is needed", exception.class());
            return Err(errors::wrong_type(ruby, message));
        }
        (None, _) if target.respond_to("alive?", false)? => {
            engine.interrupt_proxy(target, exception)
        }
        (None, _) => {
            return Err(errors::wrong_type(
                ruby,
                format!("{} given where a Fiber is needed", target.class()),
            ));
        }
    }
    Ok(())
}

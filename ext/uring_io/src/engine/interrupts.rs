//! Exceptions that the engine has yet to raise: in a fiber at its next park, in a fiber whose timeout passes, or in a
//! proxy. A proxy is an object that stands for a wait.

use std::cell::RefCell;
use std::collections::HashMap;

use magnus::fiber::Fiber;
use magnus::rb_sys::AsRawValue;
use magnus::value::Opaque;
use magnus::{gc, prelude::*, Error, Exception, Ruby, Value};
use uring_io_core::Token;

use super::party::{Interrupt, Raised, Timeout};
use crate::ruby::errors;

/// Interrupts that have not been raised.
#[derive(Default)]
pub struct Interrupts {
    /// The exceptions that fibers raise at their next park.
    pending: RefCell<Vec<(Opaque<Fiber>, Interrupt)>>,
    /// Proxies, each with the exception that it raises in its wait.
    proxies: RefCell<Vec<(Opaque<Value>, Opaque<Value>)>>,
    /// The running timeouts, by the tokens of their deadlines.
    timeouts: RefCell<HashMap<Token, Timeout>>,
}

impl Interrupts {
    pub fn mark(&self, marker: &gc::Marker) {
        for timeout in self.timeouts.borrow().values() {
            marker.mark(timeout.exception);
            marker.mark(timeout.message);
        }
        for (fiber, interrupt) in self.pending.borrow().iter() {
            marker.mark(*fiber);
            if let Interrupt::Exception(exception) = interrupt {
                marker.mark(*exception);
            }
        }
        for (proxy, exception) in self.proxies.borrow().iter() {
            marker.mark(*proxy);
            marker.mark(*exception);
        }
    }

    /// Makes a fiber raise an exception at its next park.
    pub fn add(&self, fiber: Fiber, interrupt: Interrupt) {
        let entry = (Opaque::from(fiber), interrupt);
        self.pending.borrow_mut().push(entry);
    }

    /// Takes the pending interrupt of the current fiber and fails with it. Succeeds if there is none.
    pub fn take(&self, ruby: &Ruby) -> Result<(), Raised> {
        if self.pending.borrow().is_empty() {
            return Ok(());
        }
        let current = ruby.fiber_current().as_raw();
        let mut pending = self.pending.borrow_mut();
        let is_current =
            |(fiber, _): &(Opaque<Fiber>, Interrupt)| ruby.get_inner(*fiber).as_raw() == current;
        let Some(found) = pending.iter().position(is_current) else {
            return Ok(());
        };
        let (_, interrupt) = pending.remove(found);
        drop(pending);
        Err(Raised {
            error: self.exception(ruby, interrupt)?.into(),
            interrupt: Some(interrupt),
        })
    }

    /// The exception that an interrupt asks for.
    pub fn exception(&self, ruby: &Ruby, interrupt: Interrupt) -> Result<Exception, Error> {
        let deadline = match interrupt {
            Interrupt::Exception(exception) => return unfrozen(ruby.get_inner(exception)),
            Interrupt::Deadline(deadline) => deadline,
        };
        let timeouts = self.timeouts.borrow();
        let Some(timeout) = timeouts.get(&deadline) else {
            return Err(errors::base(
                ruby,
                "a timeout came after its block had ended",
            ));
        };
        let exception = ruby.get_inner(timeout.exception);
        let message = ruby.get_inner(timeout.message);
        drop(timeouts);
        made_exception(ruby, exception, message)
    }

    /// Queues an exception that a proxy is to raise in its wait.
    pub fn add_proxy(&self, proxy: Value, exception: Value) {
        let entry = (Opaque::from(proxy), Opaque::from(exception));
        self.proxies.borrow_mut().push(entry);
    }

    /// Raises in one proxy. Returns false if there was none.
    pub fn raise_in_proxy(&self, ruby: &Ruby) -> Result<bool, Error> {
        if self.proxies.borrow().is_empty() {
            return Ok(false);
        }
        let (proxy, exception) = self.proxies.borrow_mut().remove(0);
        let (proxy, exception) = (ruby.get_inner(proxy), ruby.get_inner(exception));
        if proxy.funcall::<_, _, bool>("alive?", ())? {
            proxy.funcall::<_, _, Value>("raise", (exception,))?;
        }
        Ok(true)
    }

    /// Sets the exception for the deadline of this token.
    pub fn begin_timeout(&self, token: Token, timeout: Timeout) {
        self.timeouts.borrow_mut().insert(token, timeout);
    }

    /// Forgets a deadline whose block has ended.
    pub fn end_timeout(&self, token: Token) {
        self.timeouts.borrow_mut().remove(&token);
        let is_other = |(_, interrupt): &(Opaque<Fiber>, Interrupt)| !matches!(interrupt, Interrupt::Deadline(deadline) if *deadline == token);
        self.pending.borrow_mut().retain(is_other);
    }
}

/// The exception of a timeout: `exception` itself, or a new one of that class with `message`.
fn made_exception(ruby: &Ruby, exception: Value, message: Value) -> Result<Exception, Error> {
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

/// Returns an exception that can take the backtrace of where it is raised: a copy of a frozen one. Ruby uses one frozen
/// exception for all IOs that somebody closes while others use them (thread.c, ruby_error_stream_closed), and does not
/// copy it.
fn unfrozen(exception: Exception) -> Result<Exception, Error> {
    if exception.is_frozen() {
        return exception.funcall("dup", ());
    }
    Ok(exception)
}

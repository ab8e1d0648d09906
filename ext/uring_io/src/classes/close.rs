//! Modules UringIO::Close and UringIO::CloseHalf: the methods of IO that close a descriptor, or give it another
//! file. They first end the operations on it (`engine/closing.rs`).
#![allow(unsafe_code)]

use magnus::rb_sys::FromRawValue;
use magnus::value::ReprValue;
use magnus::{function, method, prelude::*, Error, RModule, Ruby, Value};

use crate::engine::closing::ending;
use crate::ruby::io::Descriptors;

fn close(ruby: &Ruby, this: Value) -> Result<Value, Error> {
    ending(ruby, this, Descriptors::Both, || ruby.call_super(()))
}

fn close_read(ruby: &Ruby, this: Value) -> Result<Value, Error> {
    ending(ruby, this, Descriptors::ForReading, || ruby.call_super(()))
}

fn close_write(ruby: &Ruby, this: Value) -> Result<Value, Error> {
    ending(ruby, this, Descriptors::ForWriting, || ruby.call_super(()))
}

fn reopen(ruby: &Ruby, this: Value, arguments: &[Value]) -> Result<Value, Error> {
    ending(ruby, this, Descriptors::Own, || call_super_with(arguments))
}

/// Calls `super` with the arguments as they came, keywords as keywords.
fn call_super_with(arguments: &[Value]) -> Result<Value, Error> {
    // SAFETY: this runs in the frame of a method, and the arguments are on its caller's stack. `protect` catches
    // exceptions.
    let value = magnus::rb_sys::protect(|| unsafe {
        rb_sys::rb_call_super_kw(
            arguments.len() as i32,
            arguments.as_ptr().cast(),
            rb_sys::rb_keyword_given_p(),
        )
    })?;
    // SAFETY: the call returned a value.
    Ok(unsafe { Value::from_raw(value) })
}

/// Ends the operations on an IO, for a caller that closes it without calling its methods.
fn end_uses(ruby: &Ruby, io: Value) -> Result<Value, Error> {
    ending(ruby, io, Descriptors::Both, || Ok(ruby.qnil().as_value()))
}

/// Defines the modules that `lib/uring_io/core_ext/close.rb` prepends to IO and BasicSocket.
pub fn init(module: RModule) -> Result<(), Error> {
    let halves = module.define_module("CloseHalf")?;
    halves.define_method("close_read", method!(close_read, 0))?;
    halves.define_method("close_write", method!(close_write, 0))?;
    let whole = module.define_module("Close")?;
    whole.define_method("close", method!(close, 0))?;
    whole.define_method("reopen", method!(reopen, -1))?;
    whole.define_singleton_method("end_uses", function!(end_uses, 1))?;
    Ok(())
}

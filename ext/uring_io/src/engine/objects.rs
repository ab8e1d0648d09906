//! The Ruby objects that engines belong to.
//!
//! An engine is a part of a scheduler, selector or ring, and goes when the collector frees that object. A method of the
//! object has it on its stack, but a close finds engines in a list (`closing.rs`). Before it runs Ruby code with one, it
//! gets the object here and keeps it. The list alone would not do: the object may be garbage that the collector has
//! found, but not freed yet, and nothing can keep such an object.

use std::cell::OnceCell;

use magnus::typed_data::Obj;
use magnus::value::{Opaque, ReprValue};
use magnus::{Error, Module, RClass, RModule, Ruby, TypedData, Value};

/// The address of an object's Rust part, which stays the same although Ruby may move the object.
pub fn address<T>(part: &T) -> usize {
    std::ptr::from_ref(part).addr()
}

/// An ObjectSpace::WeakMap with the objects of a Ractor, by the addresses of their Rust parts.
#[derive(Default)]
pub struct Objects(OnceCell<Opaque<Value>>);

impl Objects {
    /// Notes an object, before it has an engine.
    pub fn note<T: TypedData>(&self, ruby: &Ruby, object: Obj<T>) -> Result<(), Error> {
        let map = match self.0.get() {
            Some(map) => ruby.get_inner(*map),
            None => {
                let space: RModule = ruby.class_object().const_get("ObjectSpace")?;
                let map: Value = space
                    .const_get::<_, RClass>("WeakMap")?
                    .funcall("new", ())?;
                ruby.gc_register_mark_object(map);
                // Another thread may have made one meanwhile. That one stays.
                ruby.get_inner(*self.0.get_or_init(|| map.into()))
            }
        };
        map.funcall::<_, _, Value>("[]=", (address::<T>(&object), object))?;
        Ok(())
    }

    /// The object whose Rust part is at this address, if it was noted and is not garbage.
    pub fn at(&self, ruby: &Ruby, address: usize) -> Result<Option<Value>, Error> {
        match self.0.get() {
            Some(map) => ruby.get_inner(*map).funcall("[]", (address,)),
            None => Ok(None),
        }
    }
}

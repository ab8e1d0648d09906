//! The object that a method was called on, for methods that are called often.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::atomic::{AtomicPtr, Ordering};

use magnus::rb_sys::AsRawValue;
use magnus::typed_data::Obj;
use magnus::{Error, RTypedData, TryConvert, TypedData, Value};
use rb_sys::{rb_data_type_t, RTYPEDDATA_GET_DATA, RTYPEDDATA_TYPE};

/// A class with methods that take a [`Receiver`].
pub trait Receives: TypedData {
    /// The address of Ruby's data type for this class. The first conversion fills it in; it is null before.
    fn known_type() -> &'static AtomicPtr<rb_data_type_t>;
}

/// An object with a `T` behind it, as magnus's `Obj`. `Obj` checks the object by a call that may raise, so it needs
/// `protect`. That takes as long as many of these methods themselves.
pub struct Receiver<T> {
    object: RTypedData,
    kind: PhantomData<T>,
}

impl<T: Receives> TryConvert for Receiver<T> {
    fn try_convert(value: Value) -> Result<Self, Error> {
        let known = T::known_type();
        let object = RTypedData::from_value(value);
        // SAFETY: an RTypedData has a data type.
        let kind_of = |object: RTypedData| unsafe { RTYPEDDATA_TYPE(object.as_raw()) }.cast_mut();
        let object = match object {
            Some(object) if kind_of(object) == known.load(Ordering::Relaxed) => object,
            _ => {
                let object = RTypedData::from(Obj::<T>::try_convert(value)?);
                known.store(kind_of(object), Ordering::Relaxed);
                object
            }
        };
        Ok(Self {
            object,
            kind: PhantomData,
        })
    }
}

impl<T> Deref for Receiver<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: `try_convert` has found that the object's data type is that of `T`. The GC keeps an object alive
        // while it is on the stack, and the Receiver that is borrowed here is there.
        unsafe { &*RTYPEDDATA_GET_DATA(self.object.as_raw()).cast::<T>() }
    }
}

//! Ractors share this library, but nothing in it that one of them could wait for.
//!
//! Each Ractor has a GVL of its own, so holding one does not keep other Ractors out. It need not: nobody can share,
//! copy or move schedulers, selectors, rings and their calls, and no method of another Ractor reaches them. The garbage
//! collector runs while all Ractors are stopped or without their GVL, as it does with the threads of a single Ractor.
//! Freeing an object touches that object, and the list of engines that it is in (`engine/closing.rs`).
//!
//! Ractors share static values. Nobody may wait for one, or run Ruby code while making one. The garbage collector waits
//! for all Ractors and may stop the maker, and in a forked child the maker may be missing. So this library makes static
//! values when Ruby loads it, or one for each Ractor: see [`Local`].
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::marker::PhantomData;
use std::sync::OnceLock;

use magnus::{method, prelude::*, Error, RClass, Ruby, Value};
use rb_sys::{
    rb_ext_ractor_safe, rb_ractor_local_key_t, rb_ractor_local_storage_ptr,
    rb_ractor_local_storage_ptr_newkey, rb_ractor_local_storage_ptr_set,
    rb_ractor_local_storage_type,
};

use crate::ruby::errors;

/// A static with a value for each Ractor, which the threads of that Ractor share. The first use makes the value.
pub struct Local<T> {
    key: OnceLock<Key>,
    /// How Ruby marks and frees a value. Ruby keeps the address of this field.
    kind: rb_ractor_local_storage_type,
    value: PhantomData<fn() -> T>,
}

/// Ruby's key for the values.
struct Key(rb_ractor_local_key_t);

// SAFETY: Ruby makes the key once and never frees it. This library only passes its address back to Ruby.
unsafe impl Send for Key {}
// SAFETY: as above.
unsafe impl Sync for Key {}

// SAFETY: a Local holds no value, only a key that is made once, and two functions. The values stay with the threads of
// their Ractor, which use them by turns.
unsafe impl<T> Sync for Local<T> {}

unsafe extern "C" fn free<T>(value: *mut c_void) {
    // SAFETY: `Local::of` has boxed the value. Ruby calls this once, when the Ractor and its threads have ended.
    drop(unsafe { Box::from_raw(value.cast::<T>()) });
}

impl<T: Default> Local<T> {
    pub const fn new() -> Self {
        Self {
            key: OnceLock::new(),
            kind: rb_ractor_local_storage_type {
                mark: None,
                free: Some(free::<T>),
            },
            value: PhantomData,
        }
    }

    /// Makes the key, while Ruby loads the library.
    pub fn init(&'static self) {
        // SAFETY: Ruby keeps the address of `kind`. `self` is a static, which lives as long as the process.
        let name = || Key(unsafe { rb_ractor_local_storage_ptr_newkey(&raw const self.kind) });
        self.key.get_or_init(name);
    }

    /// The value of the calling thread's Ractor, if there is one already. It makes nothing, so Ruby may call it while
    /// it collects garbage.
    pub fn made<'a>(&self, _ruby: &'a Ruby) -> Option<&'a T> {
        let key = self.key.get()?;
        // SAFETY: under the key is a null pointer, or a T that Ruby frees after the last thread of its Ractor. The
        // caller has a `Ruby`, so it holds the GVL.
        unsafe { rb_ractor_local_storage_ptr(key.0).cast::<T>().as_ref() }
    }

    /// The value of the calling thread's Ractor. The thread holds the GVL. It may let go of the GVL while it borrows
    /// the value.
    pub fn of<'a>(&self, _ruby: &'a Ruby) -> &'a T {
        // SAFETY: `init` has made the key. Under it is a null pointer, or a T that Ruby frees after the last thread of
        // its Ractor. The caller has a `Ruby`, so it holds the GVL, and nobody else makes a value for the same Ractor
        // in between.
        unsafe {
            let Some(key) = self.key.get() else {
                unreachable!("init has made the key");
            };
            let mut value = rb_ractor_local_storage_ptr(key.0);
            if value.is_null() {
                value = Box::into_raw(Box::<T>::default()).cast();
                rb_ractor_local_storage_ptr_set(key.0, value);
            }
            &*value.cast()
        }
    }
}

/// Tells Ruby that Ractors may call the methods that the library defines from here on.
pub fn init() {
    // SAFETY: Ruby calls this while it loads the library.
    unsafe { rb_ext_ractor_safe(true) };
    // Registers the handler that counts forks.
    uring_io_core::forks();
}

/// Makes objects of a class raise when somebody copies them, as Ractors copy the objects that they send: the copy would
/// have no data behind it. Ruby itself refuses to share them.
pub fn refuse_copies(class: RClass) -> Result<(), Error> {
    fn refuse(ruby: &Ruby, this: Value, _original: Value) -> Result<Value, Error> {
        let class = this.class();
        let message = format!(
            "a {class} cannot be copied or sent to another Ractor: make one in each thread that uses it"
        );
        Err(errors::wrong_type(ruby, message))
    }
    class.define_private_method("initialize_copy", method!(refuse, 1))
}

/// Binds the calling Ruby thread to its native thread, because the kernel takes a native thread for the user of a ring.
/// In a Ractor other than the main one, and with `RUBY_MN_THREADS=1`, Ruby threads change their native thread when they
/// wait. Returns false when that may happen and Ruby cannot prevent it (below Ruby 3.4).
pub fn keep_native_thread(ruby: &Ruby) -> Result<bool, Error> {
    #[cfg(ruby_gte_3_4)]
    {
        let _ = ruby;
        // SAFETY: the caller is a Ruby thread with the GVL. A thread may call this again.
        unsafe { rb_sys::rb_thread_lock_native_thread() };
        Ok(true)
    }
    #[cfg(not(ruby_gte_3_4))]
    {
        use magnus::rb_sys::AsRawValue;
        let ractor: RClass = ruby.class_object().const_get("Ractor")?;
        let current: Value = ractor.funcall("current", ())?;
        let main: Value = ractor.funcall("main", ())?;
        let is_main = current.as_raw() == main.as_raw();
        Ok(is_main && std::env::var_os("RUBY_MN_THREADS").is_none())
    }
}

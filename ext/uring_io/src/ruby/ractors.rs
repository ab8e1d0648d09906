//! Ractors share this library, and nothing in it that one of them could wait for.
//!
//! Each Ractor has a GVL of its own, so holding one keeps no other Ractor away. It need not: schedulers,
//! selectors, rings and their calls cannot be shared, copied or moved, and no method of another Ractor
//! reaches them. Garbage is collected with all Ractors stopped or without their GVL, which is what
//! happens to the threads of one; freeing touches the object alone.
//!
//! Static values are shared. Nobody may wait for one, or run Ruby in the middle of making it: the garbage
//! collector, which waits for all Ractors, may stop the maker, or the maker may be missing in a forked
//! child. So this library makes them when Ruby loads it, or for each Ractor: see [`Local`].
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

/// Something that the threads of one Ractor have in common: a static, of which each Ractor has a value of
/// its own, made at its first use.
pub struct Local<T> {
    key: OnceLock<Key>,
    /// How Ruby treats a value; Ruby keeps the address of this.
    kind: rb_ractor_local_storage_type,
    value: PhantomData<fn() -> T>,
}

/// Ruby's name for the place of the values.
struct Key(rb_ractor_local_key_t);

// SAFETY: Ruby makes it once, never frees it, and only compares its address.
unsafe impl Send for Key {}
// SAFETY: as above.
unsafe impl Sync for Key {}

// SAFETY: it has no value itself: a name that is made once, and two functions. The values stay with the threads of
// their Ractor, which have them by turns.
unsafe impl<T> Sync for Local<T> {}

unsafe extern "C" fn free<T>(value: *mut c_void) {
    // SAFETY: `Local::of` made it; Ruby calls this once, when the Ractor and its threads have ended.
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

    /// Makes the name, while the library is loaded.
    pub fn init(&'static self) {
        // SAFETY: Ruby keeps the address of a static.
        let name = || Key(unsafe { rb_ractor_local_storage_ptr_newkey(&raw const self.kind) });
        self.key.get_or_init(name);
    }

    /// The value of the calling thread's Ractor, if it has one already: makes nothing, so that Ruby may call it while it
    /// collects garbage.
    pub fn made<'a>(&self, _ruby: &'a Ruby) -> Option<&'a T> {
        let key = self.key.get()?;
        // SAFETY: the value under the key is a T, which Ruby frees after the last thread of its Ractor; a null pointer
        // where none was made. The caller has a `Ruby`, so it holds the GVL.
        unsafe { rb_ractor_local_storage_ptr(key.0).cast::<T>().as_ref() }
    }

    /// The value of the calling thread's Ractor. The thread holds the GVL, or lets go of it only while this
    /// is borrowed.
    pub fn of<'a>(&self, _ruby: &'a Ruby) -> &'a T {
        // SAFETY: `init` has made the key. The value under it is a T, which Ruby frees after the last thread of
        // its Ractor. The caller has a `Ruby`, so it holds the GVL, and nobody else makes a value for the same
        // Ractor in between.
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

/// Tells Ruby that Ractors may call what is defined from here on.
pub fn init() {
    // SAFETY: called while the library is loaded.
    unsafe { rb_ext_ractor_safe(true) };
    // Registers the counting of forks.
    uring_io_core::forks();
}

/// Makes objects of a class raise when somebody copies them, as Ractors do with objects that they send: the copy
/// would have nothing behind it. Ruby itself refuses to share them.
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

/// Binds the calling Ruby thread to its native one, which is what the kernel knows as the user of a ring.
/// In a Ractor other than the main one, and with `RUBY_MN_THREADS=1`, Ruby threads change it when they
/// wait. False where that cannot be had (below Ruby 3.4) and may happen.
pub fn keep_native_thread(ruby: &Ruby) -> Result<bool, Error> {
    #[cfg(ruby_gte_3_4)]
    {
        let _ = ruby;
        // SAFETY: for a Ruby thread with the GVL. It may be called again.
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

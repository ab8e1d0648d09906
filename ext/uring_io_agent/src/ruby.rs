//! The functions of CRuby that the agent calls, as the headers of Ruby 3.3 and later have them: thread.h,
//! debug.h, io.h, internal/intern/thread.h and others. Written out, so that the agent is small and quick to
//! build and load.

use std::ffi::{c_char, c_int, c_long, c_void};

/// VALUE.
pub type Value = usize;
/// ID.
pub type Id = usize;

/// The numbers of special_consts.h, since Ruby 3.2 and where a pointer has 64 bits.
pub const FALSE: Value = 0;
pub const NIL: Value = 4;
pub const TRUE: Value = 20;

/// thread.h: RUBY_INTERNAL_THREAD_EVENT_READY and the others.
pub const READY: u32 = 1 << 1;
pub const RESUMED: u32 = 1 << 2;
pub const EXITED: u32 = 1 << 4;

/// internal/event.h: RUBY_INTERNAL_EVENT_GC_START and the others.
pub const GC_START: u32 = 0x0040_0000;
pub const GC_ENTER: u32 = 0x0200_0000;
pub const GC_EXIT: u32 = 0x0400_0000;

/// rb_internal_thread_event_data_t.
#[repr(C)]
pub struct EventData {
    pub thread: Value,
}

pub type ThreadHook = extern "C" fn(u32, *const EventData, *mut c_void);
pub type TraceHook = extern "C" fn(Value, *mut c_void);

extern "C" {
    pub fn rb_internal_thread_add_event_hook(
        hook: ThreadHook,
        events: u32,
        data: *mut c_void,
    ) -> *mut c_void;
    pub fn rb_internal_thread_specific_key_create() -> c_int;
    pub fn rb_internal_thread_specific_get(thread: Value, key: c_int) -> *mut c_void;
    pub fn rb_internal_thread_specific_set(thread: Value, key: c_int, data: *mut c_void);
    pub fn rb_tracepoint_new(
        thread: Value,
        events: u32,
        hook: TraceHook,
        data: *mut c_void,
    ) -> Value;
    pub fn rb_tracepoint_enable(tracepoint: Value) -> Value;
    pub fn rb_gc_register_mark_object(object: Value);
    pub fn rb_define_module(name: *const c_char) -> Value;
    pub fn rb_define_singleton_method(
        object: Value,
        name: *const c_char,
        function: *const c_void,
        arity: c_int,
    );
    pub fn rb_ext_ractor_safe(flag: bool);
    pub fn rb_intern(name: *const c_char) -> Id;
    pub fn rb_thread_current() -> Value;
    pub fn rb_thread_local_aref(thread: Value, id: Id) -> Value;
    pub fn rb_thread_local_aset(thread: Value, id: Id, value: Value) -> Value;
    pub fn rb_obj_frozen_p(object: Value) -> Value;
    pub fn rb_io_descriptor(io: Value) -> c_int;
    pub fn rb_protect(
        function: extern "C" fn(Value) -> Value,
        argument: Value,
        state: *mut c_int,
    ) -> Value;
    pub fn rb_errinfo() -> Value;
    pub fn rb_set_errinfo(error: Value);
    pub fn rb_string_value_cstr(string: *mut Value) -> *const c_char;
}

/// An Integer of Ruby's that needs no object.
pub const fn fixnum(number: u64) -> Value {
    ((number as Value) << 1) | 1
}

/// The number of such an Integer.
pub const fn number(value: Value) -> u64 {
    (value as c_long >> 1) as u64
}

//! Who called a hook.
#![allow(unsafe_code)]

use std::ptr::null_mut;

use rb_sys::{
    rb_profile_frame_absolute_path, rb_profile_frame_classpath, rb_profile_frame_method_name,
    rb_profile_frames, ruby_value_type, RB_TYPE_P, RSTRING_LEN, RSTRING_PTR, VALUE,
};

/// Frames that are looked at. A scheduler above ours may pass the hook on through some of its own.
const FRAMES: usize = 8;

/// Whether the method that called the scheduler's `io_read` is one of IO's that are native, such as
/// IO#gets and IO#sysread: they have nothing else to do than to wait. IO#read_nonblock, whose hook
/// looks the same, is Ruby code (io.rb), ARGF's is not IO's, and IO::Buffer#read reports what it is told.
pub fn waits() -> bool {
    let mut frames: [VALUE; FRAMES] = [0; FRAMES];
    // SAFETY: room for so many frames. The caller has the GVL.
    let found = unsafe { rb_profile_frames(0, FRAMES as _, frames.as_mut_ptr(), null_mut()) };
    // SAFETY: frames that were just found: their methods are on the stack still.
    let native = |frame: VALUE| unsafe { is(rb_profile_frame_absolute_path(frame), b"<cfunc>") };
    // SAFETY: as above.
    let class = |frame: VALUE, name: &[u8]| unsafe { is(rb_profile_frame_classpath(frame), name) };
    // SAFETY: as above.
    let hook = |frame: VALUE| unsafe { is(rb_profile_frame_method_name(frame), b"io_read") };
    // Ruby may tell a native frame more than once. Behind ours are those of a subclass, or of Async's
    // scheduler, which passes the call on to its selector.
    let mut callers = frames[..found.max(0) as usize]
        .iter()
        .skip_while(|frame| hook(**frame));
    callers
        .next()
        .is_some_and(|frame| native(*frame) && class(*frame, b"IO"))
}

/// Whether a value is a String of these bytes.
///
/// # Safety
///
/// The value must be alive.
unsafe fn is(value: VALUE, bytes: &[u8]) -> bool {
    // SAFETY: the caller's promise. Nothing of Ruby's runs while the bytes are borrowed.
    unsafe {
        RB_TYPE_P(value, ruby_value_type::RUBY_T_STRING)
            && std::slice::from_raw_parts(
                RSTRING_PTR(value).cast::<u8>(),
                RSTRING_LEN(value) as usize,
            ) == bytes
    }
}

//! Who called a hook.
#![allow(unsafe_code)]

use std::ptr::null_mut;

use rb_sys::{
    rb_profile_frame_absolute_path, rb_profile_frame_classpath, rb_profile_frame_method_name,
    rb_profile_frames, ruby_value_type, RB_TYPE_P, RSTRING_LEN, RSTRING_PTR, VALUE,
};

/// The most frames to look at. A scheduler above ours may pass the hook on through frames of its own.
const FRAMES: usize = 8;

/// Whether a native method of IO, such as IO#gets or IO#sysread, called the scheduler's `io_read`: these methods have
/// to wait in any case. IO#read_nonblock calls the hook in the same way, but it is Ruby code (io.rb). The method of
/// ARGF does not belong to IO, and IO::Buffer#read reports the result of the hook as it is.
pub fn waits() -> bool {
    let mut frames = [0; FRAMES];
    let mut frames = frames_of(&mut frames).iter().copied();
    // Ruby may list a native frame more than once. Between `io_read` and its caller there may be frames of a subclass,
    // or of Async's scheduler, which passes the call on to its selector.
    let caller = frames.find(|frame| !is_named(*frame, &[b"io_read"]));
    caller.is_some_and(|frame| is_native(frame) && is_of(frame, b"IO"))
}

/// Whether a native method that sends on a socket called the scheduler's `io_wait`, because its send(2) came to
/// `EAGAIN`.
pub fn sends() -> bool {
    let mut frames = [0; FRAMES];
    let mut frames = frames_of(&mut frames).iter().copied();
    let caller = frames.find(|frame| !is_named(*frame, &[b"io_wait"]));
    caller.is_some_and(|frame| is_native(frame) && is_named(frame, &[b"send", b"__sendmsg"]))
}

/// Whether Kernel#load or Kernel#require called the scheduler's `io_read`, to read a program. They do so up to Ruby
/// 3.3: later Rubies read the file without the hook (prism_compile.c, pm_load_file).
pub fn loads() -> bool {
    let mut frames = [0; FRAMES];
    let mut frames = frames_of(&mut frames).iter().copied();
    // A scheduler above ours may define the hook in Ruby.
    let caller = frames.find(|frame| !is_named(*frame, &[b"io_read"]));
    caller.is_some_and(is_load)
}

/// The method that hands work over to the hook `blocking_operation_wait`.
pub enum Handing {
    /// IO#close.
    Close,
    /// IO.copy_stream, which waits for input and for room, however long that takes.
    Copy,
    /// Another method. Its work takes as long as the disk or the processor needs.
    Other,
}

/// The method that called the hook `blocking_operation_wait`.
pub fn handing() -> Handing {
    let mut frames = [0; FRAMES];
    let mut frames = frames_of(&mut frames).iter().copied();
    const HOOK: [&[u8]; 2] = [b"handed_by", b"blocking_operation_wait"];
    let caller = frames.find(|frame| !is_named(*frame, &HOOK));
    let caller = caller.filter(|frame| is_native(*frame) && is_of(*frame, b"IO"));
    match caller {
        Some(frame) if is_named(frame, &[b"close"]) => Handing::Close,
        Some(frame) if is_named(frame, &[b"copy_stream"]) => Handing::Copy,
        _ => Handing::Other,
    }
}

/// Whether the current fiber is loading a program: Kernel#load or Kernel#require is among its frames, at any depth.
/// Autoloading calls Kernel#require (variable.c, rb_autoload_load).
pub fn is_loading() -> bool {
    let mut frames = vec![0; FRAMES_MOST];
    // This makes no object, so no collection moves these frames, which the GC does not know.
    frames_of(&mut frames).iter().copied().any(is_load)
}

/// Whether the hook that asks this runs because the current fiber sleeps with a Mutex (thread_sync.c, rb_mutex_sleep).
/// Up to Ruby 3.4, ConditionVariable#wait calls the method Mutex#sleep. IO#close never calls it.
pub fn sleeps_with_mutex() -> bool {
    let mut frames = [0; 32];
    let mut frames = frames_of(&mut frames).iter().copied();
    frames.any(|frame| {
        (is_named(frame, &[b"sleep"]) && is_of(frame, b"Thread::Mutex"))
            || (is_named(frame, &[b"wait"]) && is_of(frame, b"Thread::ConditionVariable"))
            || (is_named(frame, &[b"close", b"reopen"]) && is_of(frame, b"IO"))
    })
}

/// More frames than Ruby's stack of one fiber has room for.
const FRAMES_MOST: usize = 16 * 1024;

/// The innermost frames of the current fiber, as many as `room` holds.
fn frames_of(room: &mut [VALUE]) -> &[VALUE] {
    let most = i32::try_from(room.len()).unwrap_or(i32::MAX);
    // SAFETY: `room` holds `most` frames, and Ruby writes to it only during the call. The caller has the GVL.
    let found = unsafe { rb_profile_frames(0, most, room.as_mut_ptr(), null_mut()) };
    &room[..found.max(0) as usize]
}

/// Whether a frame belongs to Kernel#load or Kernel#require, or to another native method of such a name, which loads
/// something as well.
fn is_load(frame: VALUE) -> bool {
    is_native(frame) && is_named(frame, &[b"load", b"require", b"require_relative"])
}

/// Whether a frame belongs to a method with one of these names.
fn is_named(frame: VALUE, names: &[&[u8]]) -> bool {
    // SAFETY: `frames_of` has just found the frame, so its method is still on the stack.
    let name = unsafe { rb_profile_frame_method_name(frame) };
    // SAFETY: Ruby keeps the names of methods alive.
    names.iter().any(|known| unsafe { is(name, known) })
}

/// Whether a frame belongs to a method that is not written in Ruby.
fn is_native(frame: VALUE) -> bool {
    // SAFETY: `frames_of` has just found the frame, so its method is still on the stack.
    unsafe { is(rb_profile_frame_absolute_path(frame), b"<cfunc>") }
}

/// Whether a frame belongs to a method of this class or module.
fn is_of(frame: VALUE, class: &[u8]) -> bool {
    // SAFETY: as in `is_native`.
    unsafe { is(rb_profile_frame_classpath(frame), class) }
}

/// Whether a value is a String of these bytes.
///
/// # Safety
///
/// The value must be alive.
unsafe fn is(value: VALUE, bytes: &[u8]) -> bool {
    // SAFETY: the caller keeps the value alive, and no Ruby code runs while the bytes are borrowed.
    unsafe {
        RB_TYPE_P(value, ruby_value_type::RUBY_T_STRING)
            && std::slice::from_raw_parts(
                RSTRING_PTR(value).cast::<u8>(),
                RSTRING_LEN(value) as usize,
            ) == bytes
    }
}

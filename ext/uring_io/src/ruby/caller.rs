//! Who called a hook.
#![allow(unsafe_code)]

use std::ptr::null_mut;

use rb_sys::{
    rb_profile_frame_absolute_path, rb_profile_frame_classpath, rb_profile_frame_method_name,
    rb_profile_frames, ruby_value_type, RB_TYPE_P, RSTRING_LEN, RSTRING_PTR, VALUE,
};

/// Frames that are looked at. A scheduler above ours may pass the hook on through some of its own.
const FRAMES: usize = 8;

/// Whether a native method of IO called the scheduler's `io_read`, such as IO#gets and IO#sysread: these have to
/// wait in any case. IO#read_nonblock calls the hook in the same way, but it is Ruby code (io.rb). ARGF's method
/// is not IO's, and IO::Buffer#read reports the result of the hook as it is.
pub fn waits() -> bool {
    let mut frames = [0; FRAMES];
    let mut frames = frames_of(&mut frames).iter().copied();
    // Ruby may tell a native frame more than once. Behind ours are those of a subclass, or of Async's
    // scheduler, which passes the call on to its selector.
    let caller = frames.find(|frame| !is_named(*frame, &[b"io_read"]));
    caller.is_some_and(|frame| is_native(frame) && is_of(frame, b"IO"))
}

/// Whether a native method that sends on a socket called the scheduler's `io_wait`: its send(2) came to `EAGAIN`.
pub fn sends() -> bool {
    let mut frames = [0; FRAMES];
    let mut frames = frames_of(&mut frames).iter().copied();
    let caller = frames.find(|frame| !is_named(*frame, &[b"io_wait"]));
    caller.is_some_and(|frame| is_native(frame) && is_named(frame, &[b"send", b"__sendmsg"]))
}

/// Whether Kernel#load or Kernel#require called a scheduler's hook, to read the program's text. Up to
/// Ruby 3.3: later ones read it by themselves (prism_compile.c, pm_load_file).
pub fn loads() -> bool {
    let mut frames = [0; FRAMES];
    let mut frames = frames_of(&mut frames).iter().copied();
    // A scheduler above ours may have the hook in Ruby.
    let caller = frames.find(|frame| !is_named(*frame, &[b"io_read"]));
    caller.is_some_and(is_load)
}

/// The method that hands work over by `blocking_operation_wait`.
pub enum Handing {
    /// IO#close.
    Close,
    /// IO.copy_stream, which waits for input and for room as long as that takes.
    Copy,
    /// Another method, whose work takes as long as the disk or the processor does.
    Other,
}

/// The method that called the hook `blocking_operation_wait`.
pub fn handing() -> Handing {
    let mut frames = [0; 8];
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

/// Whether the current fiber is loading a program: Kernel#load or Kernel#require is among its frames, at
/// whatever depth. Autoloading calls the latter (variable.c, rb_autoload_load).
pub fn is_loading() -> bool {
    let mut frames = vec![0; FRAMES_MOST];
    // Makes no object, so that nothing moves: the GC does not know these frames.
    frames_of(&mut frames).iter().copied().any(is_load)
}

/// Whether the current fiber sleeps with a Mutex (thread_sync.c, rb_mutex_sleep), by the hook that this is
/// called from. Up to Ruby 3.4 ConditionVariable#wait calls Mutex#sleep; IO#close never does.
pub fn sleeps_with_mutex() -> bool {
    let mut frames = [0; 32];
    let mut frames = frames_of(&mut frames).iter().copied();
    frames.any(|frame| {
        (is_named(frame, &[b"sleep"]) && is_of(frame, b"Thread::Mutex"))
            || (is_named(frame, &[b"wait"]) && is_of(frame, b"Thread::ConditionVariable"))
            || (is_named(frame, &[b"close", b"reopen"]) && is_of(frame, b"IO"))
    })
}

/// Ruby's stack of one fiber has no room for as many frames.
const FRAMES_MOST: usize = 16 * 1024;

/// The innermost frames of the current fiber, as many as there are or have room.
fn frames_of(room: &mut [VALUE]) -> &[VALUE] {
    let most = i32::try_from(room.len()).unwrap_or(i32::MAX);
    // SAFETY: there is room for as many frames. The caller has the GVL.
    let found = unsafe { rb_profile_frames(0, most, room.as_mut_ptr(), null_mut()) };
    &room[..found.max(0) as usize]
}

/// Whether it is Kernel#load or Kernel#require, or another native method of that name, which loads
/// something as well.
fn is_load(frame: VALUE) -> bool {
    is_native(frame) && is_named(frame, &[b"load", b"require", b"require_relative"])
}

/// Whether it is a method of one of these names.
fn is_named(frame: VALUE, names: &[&[u8]]) -> bool {
    // SAFETY: a frame that was just found: its method is on the stack still.
    let name = unsafe { rb_profile_frame_method_name(frame) };
    // SAFETY: the name of a method, which Ruby keeps.
    names.iter().any(|known| unsafe { is(name, known) })
}

/// Whether it is a method that is not written in Ruby.
fn is_native(frame: VALUE) -> bool {
    // SAFETY: a frame that was just found: its method is on the stack still.
    unsafe { is(rb_profile_frame_absolute_path(frame), b"<cfunc>") }
}

/// Whether it is a method of this class or module.
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
    // SAFETY: the caller's promise. Nothing of Ruby's runs while the bytes are borrowed.
    unsafe {
        RB_TYPE_P(value, ruby_value_type::RUBY_T_STRING)
            && std::slice::from_raw_parts(
                RSTRING_PTR(value).cast::<u8>(),
                RSTRING_LEN(value) as usize,
            ) == bytes
    }
}

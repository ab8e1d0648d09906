//! Waits for child processes without reaping them; `lib/uring_io/process_wait.rb` reaps them.

use std::os::fd::AsRawFd;

use magnus::{Error, Ruby};
use uring_io_core::{pidfd_open, Children, Interest, Operation};

use crate::engine::Engine;
use crate::ruby::gvl;

/// The errors of a kernel that lacks the wait for children, or of a filter that denies it.
const CANNOT: [i32; 3] = [libc::EINVAL, libc::ENOSYS, libc::EACCES];

/// Waits until a child among those that `pid` and `flags` mean (waitpid(2)) changes its state. Returns true if there
/// is something to reap or nothing to wait for. Returns false if this kernel or backend cannot wait for it, or if a
/// filter denies it: the caller then uses [`block`] in a thread.
///
/// io_uring waits for any of them (Linux 6.7). Elsewhere a pidfd waits for the end of one child (Linux 5.3).
pub fn wait(ruby: &Ruby, engine: &Engine, pid: i32, flags: i32) -> Result<bool, Error> {
    let children = Children::of_waitpid(pid, flags);
    match engine.perform(ruby, &Operation::WaitChild(children), None)? {
        Some(result) if !CANNOT.contains(&-result) => Ok(true),
        _ if children.kind == libc::P_PID && children.changes == libc::WEXITED => {
            wait_for_exit(ruby, engine, pid)
        }
        _ => Ok(false),
    }
}

/// As [`wait`], but blocks the calling thread. Any thread may call it.
pub fn block(ruby: &Ruby, pid: i32, flags: i32) -> Result<(), Error> {
    let children = Children::of_waitpid(pid, flags);
    while gvl::wait_for_child(children).is_none_or(|errno| errno == libc::EINTR) {
        ruby.thread_check_ints()?;
    }
    Ok(())
}

/// Waits with a pidfd until a process ends.
fn wait_for_exit(ruby: &Ruby, engine: &Engine, pid: i32) -> Result<bool, Error> {
    engine.count_direct_call();
    let process = match pidfd_open(pid) {
        Ok(process) => process,
        Err(error) if error.errno == libc::ENOSYS => return Ok(false),
        Err(_) => return Ok(true),
    };
    engine.poll(ruby, process.as_raw_fd(), Interest::READABLE, None)?;
    Ok(true)
}

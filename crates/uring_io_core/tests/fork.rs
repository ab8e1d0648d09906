//! A child process that inherits a ring must leave it to its parent.
#![cfg(target_os = "linux")]
#![allow(unsafe_code)]

mod parties;

use std::io::Write;
use std::time::Duration;

use parties::*;
use uring_io_core::{Driver, Target, Wakeup};

#[test]
fn a_child_that_drops_the_driver_does_not_disturb_the_parent() {
    each_backend(|driver| {
        let (ours, mut theirs) = sockets();
        let mut buffer = [0; 4];
        let operation = read(fd(&ours), Target::Socket, &mut buffer);
        let (token, _) = start(&driver, 1, &operation);
        assert_eq!(next_within(&driver, Duration::from_millis(5)), None);
        // SAFETY: the child calls nothing but the drop under test and _exit.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: this drops the child's copy once, and the process ends right after.
            unsafe {
                std::ptr::drop_in_place(std::ptr::from_ref::<Driver<u32>>(&driver).cast_mut());
                libc::_exit(0);
            }
        }
        let mut status = 0;
        // SAFETY: the call waits for our own child, and writes to a local.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0);
        theirs.write_all(b"data").unwrap();
        assert_eq!(next(&driver), (1, Wakeup::Completed(4)));
        assert_eq!(&buffer, b"data");
        driver.leave(token);
    });
}

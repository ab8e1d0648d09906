//! The path that a call opens, and whether the file there may make the open wait.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::os::fd::RawFd;

use crate::descriptor::may_wait_in_open;

/// The path and flags of an open.
pub(crate) struct Opening<'a> {
    pub directory: RawFd,
    pub path: &'a CString,
    pub flags: i32,
    /// `RESOLVE_*` of openat2(2).
    pub resolve: u64,
}

impl Opening<'_> {
    /// Whether the file that an open names may make it wait. Also false when there is no such file.
    pub fn names_what_waits(&self) -> bool {
        let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
        let flags = match self.flags & libc::O_NOFOLLOW {
            0 => 0,
            _ => libc::AT_SYMLINK_NOFOLLOW,
        };
        let (directory, path) = (self.directory, self.path.as_ptr());
        // SAFETY: the path outlives the call. fstatat fills the structure when it returns 0, and only then does this
        // read it.
        unsafe {
            libc::fstatat(directory, path, stat.as_mut_ptr(), flags) == 0
                && may_wait_in_open(stat.assume_init().st_mode)
        }
    }
}

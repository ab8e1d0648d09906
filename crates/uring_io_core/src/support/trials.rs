//! Tries each backend for real.

use std::time::Duration;

use super::Releases;
use crate::error::{Error, Result};
#[cfg(not(target_os = "linux"))]
use crate::platform::kqueue;
use crate::posix::{self, DescriptorSet};
use crate::waker::Waker;
#[cfg(target_os = "linux")]
use crate::{
    platform::epoll,
    ring_options::{Mask, Options as RingOptions},
    uring::{releases, setup, trial},
};

/// Facts about the kernel, learned from a working ring.
#[derive(Clone, Default)]
pub(super) struct Inventory {
    pub operations: Vec<(&'static str, bool)>,
    pub denied: Vec<&'static str>,
    pub features: Vec<(&'static str, bool)>,
    pub setup_flags: Vec<(&'static str, bool)>,
}

impl Inventory {
    #[cfg(target_os = "linux")]
    pub fn of_no_ring() -> Self {
        Self {
            operations: releases::Operations::default().named(),
            denied: Vec::new(),
            features: releases::named_features(0),
            setup_flags: releases::named_setup_flags(0),
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub fn of_no_ring() -> Self {
        Self::default()
    }
}

/// The first Linux with each operation, feature and setup flag of a ring.
#[cfg(target_os = "linux")]
pub(super) fn first_releases() -> Releases {
    Releases {
        operations: releases::of_operations(),
        features: releases::of_features(),
        setup_flags: releases::of_setup_flags(),
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn first_releases() -> Releases {
    Releases::default()
}

#[cfg(target_os = "linux")]
const SMALLEST_RING: RingOptions = RingOptions {
    entries: 1,
    sqpoll: None,
    any_thread: false,
    restrict: false,
    limits: Mask::NOTHING,
    intake: None,
};

/// Makes the three calls of io_uring in turn, on the smallest ring.
#[cfg(target_os = "linux")]
pub(super) fn try_io_uring() -> Result<Inventory> {
    let mut ring = setup::create(&SMALLEST_RING)?;
    let operations = setup::probe(&ring, &SMALLEST_RING.limits)?;
    let denied = trial::denied(&mut ring, operations)?;
    Ok(Inventory {
        operations: operations.named(),
        denied: denied.names(),
        features: releases::named_features(setup::features(&ring, &SMALLEST_RING.limits)),
        setup_flags: releases::named_setup_flags(setup::setup_flags(&ring)),
    })
}

#[cfg(not(target_os = "linux"))]
pub(super) fn try_io_uring() -> Result<Inventory> {
    Err(Error::new("io_uring_setup", libc::ENOSYS))
}

/// Whether a setup works without options, after it has failed with an error that options can cause.
#[cfg(target_os = "linux")]
pub(super) fn plain_ring_works(error: &Error) -> bool {
    const BY_OPTIONS: [i32; 4] = [libc::EPERM, libc::EACCES, libc::EINVAL, libc::EOPNOTSUPP];
    error.call == "io_uring_setup"
        && BY_OPTIONS.contains(&error.errno)
        && setup::create(&SMALLEST_RING).is_ok()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn plain_ring_works(_: &Error) -> bool {
    false
}

/// Makes every call that the epoll backend needs: creates a set, adds a waker to it, and takes the waker's event.
#[cfg(target_os = "linux")]
pub(super) fn try_epoll() -> Result<()> {
    let set = epoll::create()?;
    let waker = Waker::new()?;
    waker.wake();
    epoll::control(
        &set,
        libc::EPOLL_CTL_ADD,
        waker.fd(),
        libc::EPOLLIN as u32,
        0,
    )?;
    let mut events = Vec::with_capacity(1);
    uninterrupted(|| epoll::wait(&set, &mut events, Some(Duration::ZERO)))?;
    match events.len() {
        1 => Ok(()),
        _ => Err(Error::new("epoll_wait", libc::EIO)),
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn try_epoll() -> Result<()> {
    Err(Error::new("epoll_create1", libc::ENOSYS))
}

/// Does the same as [`try_epoll`] for the kqueue backend.
#[cfg(not(target_os = "linux"))]
pub(super) fn try_kqueue() -> Result<()> {
    let queue = kqueue::create()?;
    let waker = Waker::new()?;
    waker.wake();
    kqueue::change(&queue, waker.fd(), libc::POLLIN, kqueue::ADD, 0)?;
    let mut events = Vec::with_capacity(1);
    uninterrupted(|| kqueue::wait(&queue, &mut events, Some(Duration::ZERO)))?;
    match events.len() {
        1 => Ok(()),
        _ => Err(Error::new("kevent", libc::EIO)),
    }
}

#[cfg(target_os = "linux")]
pub(super) fn try_kqueue() -> Result<()> {
    Err(Error::new("kqueue", libc::ENOSYS))
}

pub(super) fn try_poll() -> Result<()> {
    uninterrupted(|| posix::poll(&mut [], Some(Duration::ZERO))).map(drop)
}

pub(super) fn try_select() -> Result<()> {
    let mut sets = std::array::from_fn(|_| DescriptorSet::new());
    uninterrupted(|| posix::select(0, &mut sets, Some(Duration::ZERO))).map(drop)
}

/// Repeats a call that a signal interrupted. A pending signal interrupts even a call with a zero timeout.
fn uninterrupted<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(error) if error.errno == libc::EINTR => {}
            outcome => return outcome,
        }
    }
}

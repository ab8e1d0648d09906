//! One thread in epoll_wait(2): the kernel keeps the set, and reports only the descriptors that are ready.

use std::os::fd::{AsRawFd, OwnedFd};

use super::answer::{answer, words};
use super::calls;
use super::meter::Meter;
use crate::error::Result;
use crate::platform::epoll::{control, create};

/// The most events that one call returns.
const EVENTS: usize = 128;

/// Serves until the client hangs up.
pub(super) fn serve(connections: &[OwnedFd], meter: &mut Meter) -> Result<()> {
    let set = create()?;
    for connection in connections {
        let number = connection.as_raw_fd();
        let readable = libc::EPOLLIN as u32;
        control(&set, libc::EPOLL_CTL_ADD, number, readable, number as u64)?;
    }
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
    loop {
        let words = |found: &Result<usize>| words(1, found).replacen("1 descriptors", "the set", 1);
        let set = set.as_raw_fd();
        let found = meter.call("epoll_wait", words, || calls::epoll_wait(set, &mut events))?;
        for event in &events[..found] {
            if !answer(event.u64 as i32, meter)? {
                return Ok(());
            }
        }
    }
}

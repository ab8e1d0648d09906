//! One thread in poll(2): each call hands over an array of all descriptors, and the server then searches all of it.

use std::os::fd::{AsRawFd, OwnedFd};

use super::answer::{answer, words};
use super::calls;
use super::meter::Meter;
use crate::error::Result;

/// Serves until the client hangs up.
pub(super) fn serve(connections: &[OwnedFd], meter: &mut Meter) -> Result<()> {
    let entry = |connection: &OwnedFd| libc::pollfd {
        fd: connection.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let mut entries: Vec<_> = connections.iter().map(entry).collect();
    loop {
        let words = |found: &Result<usize>| words(connections.len(), found);
        meter.call("poll", words, || calls::poll(&mut entries))?;
        for entry in &entries {
            if entry.revents != 0 && !answer(entry.fd, meter)? {
                return Ok(());
            }
        }
    }
}

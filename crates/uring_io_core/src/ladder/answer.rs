//! How every rung below io_uring serves a connection that has a request.

use std::os::fd::RawFd;

use super::calls::{receive, send, Packet, ANSWER, LENGTH};
use super::meter::Meter;
use crate::error::Result;

/// Receives a request, waiting for it if necessary, and answers it. Returns false when the client has hung up.
pub(super) fn answer(fd: RawFd, meter: &mut Meter) -> Result<bool> {
    let mut request: Packet = [0; LENGTH];
    let bytes = |done: &Result<bool>| match done {
        Ok(true) => format!("descriptor {fd} → {LENGTH} bytes"),
        Ok(false) => format!("descriptor {fd} → the end"),
        Err(error) => format!("descriptor {fd} → {error}"),
    };
    if !meter.call("recv", bytes, || receive(fd, &mut request))? {
        return Ok(false);
    }
    meter.received(request[0]);
    meter.call("send", bytes, || send(fd, &ANSWER))
}

/// Describes a call that waited for one of `count` descriptors: its arguments and its result.
pub(super) fn words(count: usize, found: &Result<usize>) -> String {
    match found {
        Ok(found) => format!("{count} descriptors → {found} ready"),
        Err(error) => format!("{count} descriptors → {error}"),
    }
}

//! A thread for each connection: it waits in recv(2) until a request comes.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, ScopedJoinHandle};
use std::time::Instant;

use super::answer::answer;
use super::calls::hang_up;
use super::meter::Meter;
use crate::error::{Error, Result};
use crate::posix::block_signals;

/// The stack of a thread. Only touched pages take memory, so a small stack saves just address space.
const STACK_BYTES: usize = 64 * 1024;

/// Serves until the client hangs up. If a thread cannot be started, returns the number of started threads and the
/// error.
pub(super) fn serve(
    connections: &[OwnedFd],
    epoch: Instant,
    end: &AtomicBool,
) -> Result<std::result::Result<Vec<Meter>, (usize, Error)>> {
    let one = |connection: &OwnedFd| {
        block_signals();
        let mut meter = Meter::new(epoch);
        while answer(connection.as_raw_fd(), &mut meter)? {}
        Ok(meter)
    };
    std::thread::scope(|scope| {
        let mut threads: Vec<ScopedJoinHandle<'_, Result<Meter>>> = Vec::new();
        let mut refused = None;
        // The client asks the first connections first, so their threads start last: their answers show that all threads
        // have begun.
        for connection in connections.iter().rev() {
            let builder = Builder::new().stack_size(STACK_BYTES).name("ladder".into());
            match builder.spawn_scoped(scope, move || one(connection)) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    // Ends the client, which may wait for a thread that does not exist, and all started threads.
                    end.store(true, Ordering::Relaxed);
                    connections.iter().for_each(|it| hang_up(it.as_raw_fd()));
                    refused = Some((threads.len(), Error::from_io("clone", &error)));
                    break;
                }
            }
        }
        let meters: Result<Vec<Meter>> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| std::process::abort()))
            .collect();
        match refused {
            Some(refused) => Ok(Err(refused)),
            None => Ok(Ok(meters?)),
        }
    })
}

//! The recordings of a Ractor.

use std::sync::{Mutex, MutexGuard, PoisonError};

use uring_io_core::{BackendKind, Log};

/// A log, and the backend of the engine that wrote it.
pub type Recording = (BackendKind, Box<Log>);

/// The most records of each engine, and the logs of engines that are gone.
type Running = (usize, Vec<Recording>);

/// The logs of engines that are gone. Each other engine has its own log. Nobody ever waits for the lock, because no
/// thread calls Ruby while it holds it.
#[derive(Default)]
pub struct Recordings(Mutex<Option<Running>>);

impl Recordings {
    fn get(&self) -> MutexGuard<'_, Option<Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to record, at most `most` records of each engine. Returns false if a recording is running already.
    pub fn begin(&self, most: usize) -> bool {
        let mut running = self.get();
        let begins = running.is_none();
        if begins {
            *running = Some((most, Vec::new()));
        }
        begins
    }

    /// A log for an engine, if a recording is running. `loops`: see [`Log::new`].
    pub fn new_log(&self, loops: bool) -> Option<Box<Log>> {
        let most = self.get().as_ref().map(|(most, _)| *most)?;
        Some(Box::new(Log::new(most, loops)))
    }

    /// Keeps the log of an engine, unless it is empty or a forked child has inherited it.
    pub fn keep(&self, backend: BackendKind, mut log: Box<Log>) {
        if log.is_inherited() || log.is_empty() {
            return;
        }
        log.give_back();
        if let Some((_, logs)) = self.get().as_mut() {
            logs.push((backend, log));
        }
    }

    /// Ends the recordings. Returns the logs, the oldest first.
    pub fn end(&self) -> Vec<Recording> {
        let (_, mut found) = self.get().take().unwrap_or_default();
        found.sort_by_key(|(_, log)| log.since());
        found
    }
}

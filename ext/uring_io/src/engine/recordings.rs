//! What is being recorded in a Ractor.

use std::sync::{Mutex, MutexGuard, PoisonError};

use uring_io_core::{BackendKind, Log};

/// A log, and the backend of the engine that wrote it.
pub type Recording = (BackendKind, Box<Log>);

/// How many records there are to be of each engine, and the logs of engines that are gone.
type Running = (usize, Vec<Recording>);

/// Each engine has its log while it is there: this one has those of the others. The lock is never waited for, as all
/// have the GVL.
#[derive(Default)]
pub struct Recordings(Mutex<Option<Running>>);

impl Recordings {
    fn get(&self) -> MutexGuard<'_, Option<Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins, so many records of each engine. False when there are some already.
    pub fn begin(&self, most: usize) -> bool {
        let mut running = self.get();
        let begins = running.is_none();
        if begins {
            *running = Some((most, Vec::new()));
        }
        begins
    }

    /// A log for an engine, while there are recordings. `loops`: see [`Log::new`].
    pub fn new_log(&self, loops: bool) -> Option<Box<Log>> {
        let most = self.get().as_ref().map(|(most, _)| *most)?;
        Some(Box::new(Log::new(most, loops)))
    }

    /// Keeps what an engine has recorded. Not what was inherited by a forked child.
    pub fn keep(&self, backend: BackendKind, mut log: Box<Log>) {
        if log.is_inherited() || log.is_empty() {
            return;
        }
        log.give_back();
        if let Some((_, logs)) = self.get().as_mut() {
            logs.push((backend, log));
        }
    }

    /// Ends them: what was kept, the oldest log first.
    pub fn end(&self) -> Vec<Recording> {
        let (_, mut found) = self.get().take().unwrap_or_default();
        found.sort_by_key(|(_, log)| log.since());
        found
    }
}

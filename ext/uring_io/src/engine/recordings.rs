//! What is being recorded in a Ractor.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uring_io_core::{BackendKind, Log, SharedLog};

/// A log, and the backend of the engine that wrote it.
pub type Recording = (BackendKind, SharedLog);

/// How many records there are to be of each engine, and what was recorded.
type Running = (usize, Vec<Recording>);

/// A log for each engine that was there or came since, also for those that are gone. The lock is never waited for, as
/// all have the GVL.
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

    /// A log for an engine, while there are recordings.
    pub fn log_for(&self, backend: BackendKind) -> Option<SharedLog> {
        let mut running = self.get();
        let (most, logs) = running.as_mut()?;
        let log = Arc::new(Mutex::new(Log::new(*most)));
        logs.push((backend, Arc::clone(&log)));
        Some(log)
    }

    /// Ends them: what was recorded in this process.
    pub fn end(&self) -> Vec<Recording> {
        let (_, mut found) = self.get().take().unwrap_or_default();
        found.retain(|(_, log)| {
            let log = log.lock().unwrap_or_else(PoisonError::into_inner);
            !log.is_inherited()
        });
        found
    }
}

//! The counts of a scheduler, and the waits of its fibers.

use std::time::Duration;

use magnus::{typed_data::Obj, Error, RArray, RHash, Ruby};

use super::Scheduler;
use crate::classes::trace;
use crate::hooks::waits;
use crate::ruby::errors;

impl Scheduler {
    /// The waits of all parked fibers: see [`waits::of`]. Any thread may call it.
    pub fn waits(ruby: &Ruby, this: Obj<Self>) -> Result<RArray, Error> {
        waits::of(ruby, this.engine.get())
    }

    /// The records so far: see [`trace::recorded`]. Any thread may call it.
    pub fn recorded(ruby: &Ruby, this: Obj<Self>) -> Result<Option<RArray>, Error> {
        trace::recorded(ruby, this.engine.get())
    }

    pub fn stats(ruby: &Ruby, this: Obj<Self>) -> Result<RHash, Error> {
        if this.since.get().is_none() {
            return Err(errors::closed(ruby, "scheduler"));
        }
        let engine = this.engine.get();
        if engine.is_some_and(|engine| !engine.is_owner(ruby)) {
            return Err(errors::wrong_thread(ruby, "scheduler"));
        }
        let stats = engine.map(|engine| engine.stats());
        let stats = stats.unwrap_or_default();
        let alive = this
            .since
            .get()
            .map_or(Duration::ZERO, |since| since.elapsed());
        let hash = ruby.hash_new();
        for (name, count) in [
            ("enters", stats.enters),
            ("submissions", stats.submissions),
            ("completions", stats.completions),
            ("direct_calls", stats.direct_calls),
            ("switches", engine.map_or(0, |engine| engine.switches.get())),
        ] {
            hash.aset(ruby.to_symbol(name), count)?;
        }
        hash.aset(
            ruby.to_symbol("waiting_seconds"),
            stats.waiting.as_secs_f64(),
        )?;
        let running = alive.saturating_sub(stats.waiting);
        hash.aset(ruby.to_symbol("running_seconds"), running.as_secs_f64())?;
        Ok(hash)
    }
}

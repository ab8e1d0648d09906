//! Turns: who runs next, when the driver looks at the backend, and when the thread waits there.

use std::time::{Duration, Instant};

use super::lead::Lead;
use super::{Driver, Turn};
use crate::completion::Completion;
use crate::error::Result;
use crate::in_flight::{Turnabout, Wakeup};
use crate::platform;
use crate::recorder::Event;
use crate::token::Token;

/// Entries of the ready queue that the driver serves before it looks at a backend whose look costs a system call.
const SERVED_MAX: usize = 64;

/// How many operations may complete at once before a party has to wait its turn. So a party whose input never runs dry
/// cannot keep others from running.
const DONE_AT_ONCE_MAX: usize = 256;

impl<P> Driver<P> {
    /// Whether parties are ready to run.
    pub fn is_busy(&self) -> bool {
        !self.parks.borrow().ready.is_empty()
    }

    /// Whether one more operation may complete at once, and counts it if so. False after many in a row: then others
    /// must have a turn first, because this party's input may never run dry. Operations from before another party ran
    /// do not count, so a party that does little at a time always does it in one go.
    pub fn may_do_at_once(&self) -> bool {
        let may = !self.is_row_over();
        if may {
            self.note_done_at_once();
        }
        may
    }

    /// Whether [`may_do_at_once`](Self::may_do_at_once) would say no.
    pub fn is_row_over(&self) -> bool {
        self.done_in_a_row.get() >= DONE_AT_ONCE_MAX
    }

    /// Starts the row of [`may_do_at_once`](Self::may_do_at_once) anew.
    pub fn begin_row(&self) {
        self.done_in_a_row.set(0);
    }

    /// Whether a party that gives control away may have it back before everybody else. False when it has had control
    /// for long since the driver last looked at the backend. The driver then looks before the party's next turn.
    pub fn may_stay_first(&self) -> bool {
        let mut lead = self.lead.get().unwrap_or_else(Lead::new);
        let may = lead.goes_on();
        self.lead.set(Some(lead));
        if !may {
            self.done_at_once.set(DONE_AT_ONCE_MAX);
        }
        may
    }

    pub(super) fn note_done_at_once(&self) {
        self.done_at_once.set(self.done_at_once.get() + 1);
        self.done_in_a_row.set(self.done_in_a_row.get() + 1);
    }

    /// The next party of this turn that may go on.
    pub fn next_ready(&self) -> Option<Token> {
        let mut parks = self.parks.borrow_mut();
        loop {
            let token = parks.ready.pop()?;
            if parks.in_flight.dequeued(token) {
                self.served.set(self.served.get() + 1);
                self.begin_row();
                return Some(token);
            }
        }
    }

    /// Hands out all parties that may go on, for an owner without turns. Returns whether there were any.
    pub fn hand_out_all(&self) -> bool {
        let mut parks = self.parks.borrow_mut();
        let mut any = false;
        while let Some(token) = parks.ready.pop_any() {
            any |= parks.in_flight.dequeued(token);
        }
        any
    }

    /// Begins a turn: submits queued operations, takes completions, expires deadlines.
    pub fn begin_turn(&self) -> Result<Turn> {
        self.collect();
        if !self.parks.borrow().timers.is_empty() {
            self.expire()?;
        }
        if self.parks.borrow().ready.is_empty() {
            let deadline = self.parks.borrow_mut().next_deadline();
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            return Ok(Turn::Idle(left));
        }
        let costly = self.backend.borrow().flush_is_costly();
        if !costly || self.is_look_due() {
            self.look()?;
        }
        self.parks.borrow_mut().ready.begin_turn();
        Ok(Turn::Ready)
    }

    /// Whether it is time to look at a backend whose look costs a system call. The turns since the last look may have
    /// been few and long, so time counts as well: an event waits for two turns if they are long, or for a tick of the
    /// system's clock if they are short.
    fn is_look_due(&self) -> bool {
        let now = platform::coarse();
        let since = self.put_off.get().unwrap_or(now);
        self.put_off.set(Some(since));
        since != now
            || self.served.get() >= SERVED_MAX
            || self.done_at_once.get() >= DONE_AT_ONCE_MAX
    }

    /// Submits queued operations and waits in the kernel. Begin a turn afterwards.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<()> {
        let start = Instant::now();
        self.looked();
        let result = self.backend.borrow_mut().wait(timeout, &self.counts);
        let back = Instant::now();
        let waited = back.saturating_duration_since(start);
        self.counts.waiting_ns.add(waited.as_nanos() as u64);
        self.back
            .set(back.saturating_duration_since(self.origin).as_nanos() as u64);
        self.last_wait.set(waited);
        result
    }

    /// Says whether the owner is in [`wait`](Self::wait) or about to be. If it is, `wake` from another thread reaches
    /// into the kernel. Call this before other threads can run.
    pub fn set_waiting(&self, waiting: bool) {
        self.waiting.set(waiting);
    }

    /// Whether the owner said that it waits.
    pub fn is_waiting(&self) -> bool {
        self.waiting.get()
    }

    /// Fires the deadlines that have passed. An event that is there by now counts as in time, so this looks at
    /// the backend first, unless the driver has just done that.
    fn expire(&self) -> Result<()> {
        let now = Instant::now();
        if !self.parks.borrow_mut().is_due(now) {
            return Ok(());
        }
        if self.submitted.get() || self.served.get() > 0 {
            self.look()?;
        }
        let tell = |token, passed| {
            if self.recorder.is_on() {
                self.record_passed(token, passed);
            }
        };
        self.parks.borrow_mut().expire(now, tell);
        Ok(())
    }

    /// Submits queued operations and takes completions, without waiting.
    pub fn look(&self) -> Result<()> {
        self.looked();
        if self.recorder.is_on() {
            return self.look_recorded();
        }
        self.backend.borrow_mut().flush(&self.counts)?;
        self.collect();
        Ok(())
    }

    #[cold]
    fn look_recorded(&self) -> Result<()> {
        let start = Instant::now();
        self.backend.borrow_mut().flush(&self.counts)?;
        self.record_entered(Event::Looked, start.elapsed(), Duration::ZERO);
        self.collect();
        Ok(())
    }

    fn looked(&self) {
        self.submitted.set(false);
        self.served.set(0);
        self.put_off.set(None);
        self.done_at_once.set(0);
        self.lead.set(None);
        self.begin_row();
    }

    /// Takes the completions that are there, without asking the kernel for more.
    pub fn collect(&self) {
        self.cancel_ending();
        let mut parks = self.parks.borrow_mut();
        let take = |token, completion: Completion| {
            if self.recorder.is_on() {
                self.record_completed(token, completion.result);
            }
            parks.complete(token, completion);
        };
        let mut backend = self.backend.borrow_mut();
        backend.completions(&self.counts, take);
        for (token, turnabout) in parks.in_flight.take_turnabouts() {
            // A ring that refuses this has failed, and says so at the next enter.
            let _ = match turnabout {
                // The stream may have ended by itself meanwhile.
                Turnabout::End if !parks.in_flight.is_submitted(token) => Ok(()),
                Turnabout::End => backend.cancel(token, &self.counts),
                Turnabout::Start => self.start_again(&mut parks, &mut backend, token),
            };
        }
        drop(backend);
        if let Some(workers) = self.workers.borrow().as_ref() {
            for (token, result) in workers.completions() {
                self.counts.completions.add(1);
                if self.recorder.is_on() {
                    self.record_completed(token, result);
                }
                parks.fire(token, Wakeup::Completed(result));
            }
        }
    }
}

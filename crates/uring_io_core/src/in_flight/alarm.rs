//! Alarms: operations that only let time pass. The driver's own timers do them: timeouts on a backend without such an
//! operation, and the pauses of stand-ins.

use std::time::Instant;

use super::InFlight;
use crate::token::Token;

impl<P> InFlight<P> {
    /// Makes the deadline of `token` the operation itself. The caller sets that deadline next.
    pub fn set_alarm(&mut self, token: Token) {
        self.submitted(token, false);
        if let Some(slot) = self.slot_mut(token) {
            slot.alarm = true;
        }
    }

    /// Whether the deadline of `token` is the operation itself.
    pub fn is_alarm(&self, token: Token) -> bool {
        self.slot(token).is_some_and(|slot| slot.alarm)
    }

    /// Returns whether a limit comes before the end of an alarm. If it does, the caller makes it the deadline.
    pub fn limit_alarm(&mut self, token: Token, limit: Option<Instant>) -> bool {
        let slot = self.slot_mut(token);
        slot.is_some_and(|slot| {
            let comes_first = limit.is_some_and(|at| slot.deadline.is_none_or(|end| at < end));
            slot.limited |= comes_first;
            comes_first
        })
    }

    /// Whether the deadline of an alarm is a limit to it, and not its own end.
    pub fn is_limited(&self, token: Token) -> bool {
        self.slot(token).is_some_and(|slot| slot.limited)
    }
}

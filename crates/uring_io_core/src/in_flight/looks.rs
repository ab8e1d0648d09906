//! Facts about a park, for somebody who looks from outside.

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use super::InFlight;
use crate::token::Token;

/// A park as it is now.
#[derive(Debug)]
pub struct Look {
    /// When the thread last came back from the kernel before the park: the park is not older than that. `None` when it
    /// had not been there yet.
    pub since: Option<Instant>,
    /// When the wait is over in any case.
    pub deadline: Option<Instant>,
    /// Whether the party may go on, and waits for its turn.
    pub ready: bool,
    /// The call that is in flight, by its name.
    pub call: Option<&'static str>,
    /// The descriptors that the party uses.
    pub descriptors: Vec<RawFd>,
}

impl<P> InFlight<P> {
    /// The facts about a park; `None` when its party has left. The slot counts its nanoseconds from `origin`.
    pub fn look_at(&self, token: Token, origin: Instant) -> Option<Look> {
        let slot = self.slot(token).filter(|slot| slot.payload.is_some())?;
        Some(Look {
            since: (slot.since > 0).then(|| origin + Duration::from_nanos(slot.since)),
            deadline: slot.deadline,
            ready: slot.wakeup.is_some(),
            call: slot.call.as_ref().map(|call| call.name()),
            descriptors: self.users.descriptors(token.slot()).collect(),
        })
    }
}

//! The waits of parked fibers, as somebody sees them from outside. Everything here comes from the state that the engine
//! keeps for the waits themselves.

use std::collections::HashMap;
use std::os::fd::RawFd;
use std::time::Instant;

use magnus::fiber::Fiber;
use magnus::rb_sys::AsRawValue;
use magnus::value::Opaque;
use magnus::{Ruby, Value};
use uring_io_core::Token;

use super::party::Purpose;
use super::Engine;

/// The wait of a parked fiber.
pub struct FiberLook {
    pub fiber: Opaque<Fiber>,
    /// The object that the fiber waits for, if it is known.
    pub blocker: Option<Opaque<Value>>,
    /// The names of the ring's calls that the fiber waits for.
    pub calls: Vec<&'static str>,
    pub descriptors: Vec<RawFd>,
    /// When its wait ends in any case, by its own timeout or by one around it.
    pub deadline: Option<Instant>,
    /// The last known instant before the wait began.
    pub since: Option<Instant>,
    /// Whether the fiber may go on and only waits for its turn.
    pub ready: bool,
    /// Whether the fiber runs the others until they have ended.
    pub runs: bool,
}

impl Engine {
    /// The waits of all parked fibers, the longest first. Any thread that holds the GVL may call it. The caller must
    /// keep the engine marked as long as it uses the result.
    pub fn looks(&self, ruby: &Ruby) -> Vec<FiberLook> {
        if self.is_closed() {
            return Vec::new();
        }
        let (mut parts, mut timeouts) = (HashMap::new(), HashMap::new());
        self.driver.with_payloads(|token, party| {
            let fiber = ruby.get_inner(party.fiber).as_raw();
            match &party.purpose {
                Purpose::PartOf(whole) => {
                    let parts: &mut Vec<Token> = parts.entry(whole.get()).or_default();
                    parts.push(token);
                }
                Purpose::Deadline => {
                    let timeouts: &mut Vec<Token> = timeouts.entry(fiber).or_default();
                    timeouts.push(token);
                }
                _ => {}
            }
        });
        let parked = self.parked.borrow();
        let looks = parked.iter().filter_map(|(address, token)| {
            let parts = parts.get(&Some(*token)).map_or(&[][..], Vec::as_slice);
            let timeouts = timeouts.get(address).map_or(&[][..], Vec::as_slice);
            Some((*token, self.look_of(*token, parts, timeouts)?))
        });
        let mut looks: Vec<(Token, FiberLook)> = looks.collect();
        looks.sort_by_key(|(token, look)| (look.since, *token));
        looks.into_iter().map(|(_, look)| look).collect()
    }

    fn look_of(&self, token: Token, parts: &[Token], timeouts: &[Token]) -> Option<FiberLook> {
        let own = self.driver.look_at(token)?;
        let known = |party: &super::Party| match party.purpose {
            Purpose::End => (party.fiber, None, true),
            Purpose::Unblock(blocker) => (party.fiber, blocker, false),
            _ => (party.fiber, None, false),
        };
        let (fiber, blocker, runs) = self.driver.with_payload(token, known)?;
        let mut look = FiberLook {
            fiber,
            blocker,
            calls: own.call.into_iter().collect(),
            descriptors: own.descriptors,
            deadline: own.deadline,
            since: own.since,
            ready: own.ready,
            runs,
        };
        for part in parts.iter().filter_map(|part| self.driver.look_at(*part)) {
            look.calls.extend(part.call);
            look.descriptors.extend(part.descriptors);
            look.deadline = earlier(look.deadline, part.deadline);
        }
        for timeout in timeouts
            .iter()
            .filter_map(|timeout| self.driver.look_at(*timeout))
        {
            look.deadline = earlier(look.deadline, timeout.deadline);
        }
        Some(look)
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

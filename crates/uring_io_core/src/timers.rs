//! Deadlines of parks.
//!
//! A binary heap with lazy removal: cancelling a timer only counts it, and a sweep removes the cancelled ones when they
//! are more than half of the heap. Nearly all timers are cancelled, so arming and cancelling must be cheap. Taking out
//! expired ones may take logarithmic time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use crate::token::Token;

/// Live timers, earliest first; two with the same deadline fire in no particular order.
///
/// A timer is live while the caller's `is_live(token, deadline)` says so. The in-flight table keeps the present
/// deadline of each token, and the heap finds out about changes only when it asks.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Token)>>,
    cancelled: usize,
}

impl Timers {
    /// Below this many cancelled timers a sweep is not worth it.
    const SWEEP_MIN: usize = 64;

    /// Adds a timer.
    pub fn arm(&mut self, deadline: Instant, token: Token) {
        self.heap.push(Reverse((deadline, token)));
    }

    /// Notes that one armed timer is no longer live.
    pub fn cancel(&mut self, is_live: impl Fn(Token, Instant) -> bool) {
        self.cancelled += 1;
        if self.cancelled > Self::SWEEP_MIN && self.cancelled > self.heap.len() / 2 {
            self.heap
                .retain(|Reverse((deadline, token))| is_live(*token, *deadline));
            self.cancelled = 0;
        }
    }

    /// Takes out one live timer whose deadline is not after `now`.
    pub fn expire(
        &mut self,
        now: Instant,
        is_live: impl Fn(Token, Instant) -> bool,
    ) -> Option<Token> {
        let next = self.next(is_live)?;
        if next > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, token))| token)
    }

    /// The earliest live deadline.
    pub fn next(&mut self, is_live: impl Fn(Token, Instant) -> bool) -> Option<Instant> {
        while let Some(Reverse((deadline, token))) = self.heap.peek() {
            if is_live(*token, *deadline) {
                return Some(*deadline);
            }
            self.heap.pop();
            self.cancelled = self.cancelled.saturating_sub(1);
        }
        None
    }

    /// Whether there is no timer at all, live or cancelled.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::time::Duration;

    struct Table(HashMap<Token, Instant>, Timers);

    impl Table {
        fn arm(&mut self, slot: u32, deadline: Instant) {
            self.0.insert(Token::new(slot, 0), deadline);
            self.1.arm(deadline, Token::new(slot, 0));
        }

        fn cancel(&mut self, slot: u32) {
            self.0.remove(&Token::new(slot, 0));
            let live = &self.0;
            self.1
                .cancel(|token, deadline| live.get(&token) == Some(&deadline));
        }

        fn expire(&mut self, now: Instant) -> Vec<u32> {
            let mut expired = Vec::new();
            loop {
                let live = &self.0;
                let token = self
                    .1
                    .expire(now, |token, at| live.get(&token) == Some(&at));
                let Some(token) = token else { return expired };
                self.0.remove(&token);
                expired.push(token.slot() as u32);
            }
        }
    }

    #[test]
    fn timers_fire_in_the_order_of_their_deadlines_and_cancelled_ones_never() {
        let start = Instant::now();
        let mut table = Table(HashMap::new(), Timers::default());
        for (slot, ms) in [(1, 30), (2, 10), (3, 20), (4, 10_000)] {
            table.arm(slot, start + Duration::from_millis(ms));
        }
        table.cancel(3);
        assert_eq!(table.expire(start), []);
        assert_eq!(table.expire(start + Duration::from_millis(40)), [2, 1]);
        assert_eq!(table.expire(start + Duration::from_secs(60)), [4]);
        assert!(table.1.is_empty());
    }

    #[test]
    fn cancelled_timers_do_not_pile_up() {
        let start = Instant::now();
        let mut table = Table(HashMap::new(), Timers::default());
        for round in 0..100_000 {
            table.arm(round, start + Duration::from_secs(3600));
            table.cancel(round);
        }
        assert!(table.1.heap.len() <= 2 * Timers::SWEEP_MIN);
    }
}

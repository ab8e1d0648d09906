//! What an engine records while its driver has a log: who parks, runs, begins and ends.

use magnus::fiber::Fiber;
use magnus::rb_sys::AsRawValue;
use uring_io_core::{Event, Token};

use super::party::Purpose;
use super::Engine;

impl Engine {
    /// Whether it records.
    pub fn is_recorded(&self) -> bool {
        self.driver.is_recorded()
    }

    #[cold]
    pub(super) fn record_park(&self, address: u64, token: Token) {
        let words = |party: &super::Party| match party.purpose {
            Purpose::Unblock(Some(_)) => "block",
            Purpose::Unblock(None) => "sleep",
            Purpose::Turn => "turn",
            Purpose::End => "run",
            _ => "",
        };
        let name = self.driver.with_payload(token, words).unwrap_or_default();
        self.driver
            .record_party(Event::Parked, address, Some(token), name);
    }

    #[cold]
    pub(super) fn record_part(&self, fiber: Fiber, token: Token) {
        self.driver
            .record_party(Event::Part, fiber.as_raw(), Some(token), "");
    }

    #[cold]
    pub(super) fn record_leave(&self, address: u64, token: Token) {
        self.driver
            .record_party(Event::Left, address, Some(token), "");
    }

    /// Records the begin of the current fiber; `name` says where its block is.
    pub(super) fn record_start(&self, fiber: Fiber, name: &str) {
        self.driver
            .record_party(Event::Started, fiber.as_raw(), None, name);
    }

    pub(super) fn record_end(&self, fiber: Fiber) {
        self.driver
            .record_party(Event::Ended, fiber.as_raw(), None, "");
    }

    pub(super) fn record_raise(&self, token: Token) {
        let fiber = |party: &super::Party| party.fiber;
        if let Some(fiber) = self.driver.with_payload(token, fiber) {
            let address = magnus::Ruby::get().map_or(0, |ruby| ruby.get_inner(fiber).as_raw());
            self.driver
                .record_party(Event::Raised, address, Some(token), "");
        }
    }
}

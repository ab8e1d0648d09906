//! What an engine records while its driver has a log: which fibers park, run, begin and end.

use magnus::fiber::Fiber;
use magnus::rb_sys::AsRawValue;
use uring_io_core::{Common, Event, Log, Record, Token};

use super::party::{Party, Purpose};
use super::Engine;

/// A copy of a log.
pub type Recorded = (Vec<Record>, u64, Vec<String>, bool);

impl Engine {
    /// Whether the engine records.
    pub fn is_recorded(&self) -> bool {
        self.driver.is_recorded()
    }

    #[cold]
    pub(super) fn record_park(&self, address: u64, token: Token) {
        let name = |party: &Party| match party.purpose {
            Purpose::Unblock(Some(_)) => Common::Block,
            Purpose::Unblock(None) => Common::Sleep,
            Purpose::Turn => Common::Turn,
            Purpose::End => Common::Run,
            _ => Common::Nothing,
        };
        let name = self.driver.with_payload(token, name).unwrap_or_default();
        self.driver.record_park(address, token, name);
    }

    #[cold]
    pub(super) fn record_part(&self, fiber: Fiber, token: Token) {
        self.driver
            .record_party(Event::Part, fiber.as_raw(), Some(token));
    }

    #[cold]
    pub(super) fn record_leave(&self, address: u64, token: Token) {
        self.driver.record_left(address, token);
    }

    /// Records that a fiber begins. `place` says where its block is.
    pub(super) fn record_start(&self, fiber: Fiber, place: &str) {
        self.driver.record_started(fiber.as_raw(), place);
    }

    pub(super) fn record_end(&self, fiber: Fiber) {
        self.driver.record_party(Event::Ended, fiber.as_raw(), None);
    }

    pub(super) fn record_raise(&self, token: Token) {
        let fiber = |party: &Party| party.fiber;
        if let Some(fiber) = self.driver.with_payload(token, fiber) {
            let address = magnus::Ruby::get().map_or(0, |ruby| ruby.get_inner(fiber).as_raw());
            self.driver
                .record_party(Event::Raised, address, Some(token));
        }
    }

    /// A copy of the log: the records, how many older ones are gone, and the names. `None` if the engine does not
    /// record.
    pub fn recorded(&self) -> Option<Recorded> {
        let copy = |log: &mut Log| {
            let loops = log.loops();
            let (records, gone, names) = log.take();
            (records, gone, names.to_vec(), loops)
        };
        self.driver.with_log(copy)
    }
}

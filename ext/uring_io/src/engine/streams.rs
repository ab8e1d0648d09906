//! Streams: calls with one submission and many shots.

use std::cell::Cell;
use std::time::Duration;

use magnus::{Error, Ruby};
use uring_io_core::{Call, Shot, Token, Wakeup};

use super::party::Purpose;
use super::Engine;
use crate::ruby::errors;

impl Engine {
    /// Whether the kernel can go on with such a call by itself.
    pub fn can_stream(&self, call: &Call) -> bool {
        self.driver.can_stream(call)
    }

    /// Makes a stream, and passes each of its shots to `each`. It ends when `each` returns false or fails, or when no
    /// more shots can come. Fails with `waited` if no shot comes within the timeout.
    pub fn stream(
        &self,
        ruby: &Ruby,
        call: &Call,
        timeout: Option<Duration>,
        mut each: impl FnMut(Shot) -> Result<bool, Error>,
        waited: impl FnOnce() -> Error,
    ) -> Result<(), Error> {
        self.raise_pending(ruby)?;
        let stream = Stream::new(self, ruby);
        let token = stream.token;
        loop {
            if let Some(shot) = self.driver.take_shot(token) {
                if shot.result == -libc::ECANCELED {
                    // Fail if somebody has closed the ring or the descriptor: that ends a stream.
                    self.engine_open(ruby)?;
                    self.check_stream(ruby, token)?;
                }
                if !each(shot)? {
                    return stream.end(ruby);
                }
                continue;
            }
            self.engine_open(ruby)?;
            self.check_stream(ruby, token)?;
            if !self.driver.is_submitted(token) {
                // It starts for the first time, or the kernel has ended it by itself.
                let Some(call) = call.again() else {
                    return Ok(());
                };
                self.start_call(ruby, token, call)?;
            }
            let whole = self.place(ruby, Purpose::Operation);
            stream.wait_at(Some(whole.token));
            self.driver.set_timeout(whole.token, timeout);
            while self.driver.is_submitted(token) && self.driver.shots_waiting(token) == 0 {
                // Clear the wakeup, so that the next shot wakes the fiber. An earlier shot may have set it while the
                // fiber waited for something else in the block.
                self.driver.take_wakeup_early(token);
                if self.turn(ruby, whole.token)? == Some(Wakeup::TimedOut) {
                    return Err(waited());
                }
            }
        }
    }

    /// Fails if somebody closes, or has closed, the descriptor of a stream: its number may belong to another file.
    fn check_stream(&self, ruby: &Ruby, token: Token) -> Result<(), Error> {
        if self.driver.is_ended(token) {
            return Err(errors::stream_closed(ruby));
        }
        Ok(())
    }

    fn engine_open(&self, ruby: &Ruby) -> Result<(), Error> {
        if self.is_closed() {
            return Err(errors::closed(ruby, "ring"));
        }
        Ok(())
    }
}

/// A stream. Dropping it ends it.
struct Stream<'a> {
    engine: &'a Engine,
    token: Token,
}

impl<'a> Stream<'a> {
    fn new(engine: &'a Engine, ruby: &Ruby) -> Self {
        let purpose = Purpose::PartOf(Cell::new(None));
        Self {
            engine,
            token: engine.park_beside(ruby.fiber_current(), purpose),
        }
    }

    /// Sets the place at which the fiber waits.
    fn wait_at(&self, whole: Option<Token>) {
        self.engine.driver.with_payload(self.token, |party| {
            if let Purpose::PartOf(place) = &party.purpose {
                place.set(whole);
            }
        });
    }

    /// Ends the stream now, so that it takes no input that is meant for the next call on its descriptor.
    fn end(&self, ruby: &Ruby) -> Result<(), Error> {
        let ended = self.engine.driver.cancel_now(self.token);
        ended.map_err(|error| self.engine.failure(ruby, error))?;
        Ok(())
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        let driver = &self.engine.driver;
        let goes_on = driver.is_submitted(self.token) || driver.is_guarded(self.token);
        if goes_on && !self.engine.is_lost() {
            // This fails only if the ring fails, and then no stream goes on.
            let _ = self.engine.driver.cancel_now(self.token);
        }
        self.engine.driver.leave(self.token);
    }
}

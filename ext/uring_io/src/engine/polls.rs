//! Waiting for readiness.

use std::cell::Cell;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use magnus::{Error, Ruby};
use uring_io_core::{BackendKind, Interest, Operation, Token, Wakeup};

use super::party::{Flow, Purpose};
use super::Engine;
use crate::ruby::errors;

impl Engine {
    /// Waits until a descriptor is ready for some of `interest`, and returns for which. `None` when
    /// the timeout passed first, or, with a loop fiber, when control came back for another reason.
    pub fn poll(
        &self,
        ruby: &Ruby,
        fd: RawFd,
        interest: Interest,
        timeout: Option<Duration>,
    ) -> Result<Option<Interest>, Error> {
        let found = self.poll_found(ruby, fd, interest, timeout)?;
        Ok(found.map(|found| interest.satisfied_by(found)))
    }

    /// As [`poll`](Self::poll), and returns the poll(2) events that were found.
    pub fn poll_found(
        &self,
        ruby: &Ruby,
        fd: RawFd,
        interest: Interest,
        timeout: Option<Duration>,
    ) -> Result<Option<i32>, Error> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let found_now =
            || uring_io_core::found_now(fd, interest).map_err(|error| errors::errno(ruby, error));
        if self.can_poll(interest) {
            let (purpose, about) = (Purpose::Operation, [(fd, interest)]);
            let Some(found) = self.poll_once(ruby, purpose, fd, interest, &about, timeout)? else {
                return Ok(None);
            };
            if interest.is_settled_by(found) {
                return Ok(Some(found));
            }
        } else if let Some(found) = found_now()? {
            // For example a file, which no set takes. Other fibers have their turn as at any wait.
            self.yield_turn_on(ruby, fd)?;
            return Ok(Some(found));
        }
        loop {
            if let Some(found) = found_now()? {
                return Ok(Some(found));
            }
            let set = uring_io_core::watch(&[(fd, interest)]);
            let set = set.map_err(|error| errors::errno(ruby, error))?;
            if !self.watch(ruby, set, &[(fd, interest)], deadline)? {
                return Ok(None);
            }
        }
    }

    /// Whether a poll is right for this interest. A ring's poll for urgent input alone is not woken
    /// by it (seen on Linux 6.18), and one for both kinds of input takes one for the other. select(2)
    /// does not tell those who wait for urgent input of a hang-up.
    pub fn can_poll(&self, interest: Interest) -> bool {
        let backend = self.driver.backend();
        let wrong = match backend {
            BackendKind::IoUring => true,
            // Nothing else can wait for urgent input on other systems.
            BackendKind::Select => cfg!(target_os = "linux"),
            // kqueue refuses it, as the set of `watch` does there.
            BackendKind::Epoll | BackendKind::Kqueue | BackendKind::Poll => false,
        };
        !(wrong && interest.is_urgent())
    }

    /// Waits until a set of [`uring_io_core::watch`] says that something is ready, also where a poll
    /// of the descriptor itself would be over at once and tell nothing: see
    /// [`Interest::is_settled_by`]. False as in [`poll`](Self::poll).
    pub fn watch(
        &self,
        ruby: &Ruby,
        set: OwnedFd,
        watched: &[(RawFd, Interest)],
        deadline: Option<Instant>,
    ) -> Result<bool, Error> {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let fd = set.as_raw_fd();
        let purpose = Purpose::Watch(set);
        let found = self.poll_once(ruby, purpose, fd, Interest::READABLE, watched, left)?;
        Ok(found.is_some())
    }

    fn poll_once(
        &self,
        ruby: &Ruby,
        purpose: Purpose,
        fd: RawFd,
        interest: Interest,
        about: &[(RawFd, Interest)],
        timeout: Option<Duration>,
    ) -> Result<Option<i32>, Error> {
        let operation = Operation::Poll { fd, interest };
        let about = about.iter().map(|(fd, _)| *fd);
        let found = match self.flow {
            Flow::Home(_) => self.perform_abandonable(ruby, purpose, &operation, about)?,
            Flow::Next | Flow::Nobody => {
                self.perform_for(ruby, purpose, &operation, about, timeout)?
            }
        };
        match found {
            Some(errno) if errno < 0 => {
                let error = uring_io_core::Error::new("poll", -errno);
                Err(errors::errno(ruby, error))
            }
            found => Ok(found),
        }
    }

    /// Waits until one of these is ready, or until another event makes a look worth it. Returns whether the timeout
    /// passed first.
    pub fn poll_any(
        &self,
        ruby: &Ruby,
        watched: &[(RawFd, Interest)],
        timeout: Option<Duration>,
    ) -> Result<bool, Error> {
        let whole = self.place(ruby, Purpose::Operation);
        if timeout.is_some() {
            self.driver.set_timeout(whole.token, timeout);
        }
        let polls = Polls::start(self, ruby, whole.token, watched)?;
        let wakeup = self.await_wakeup(ruby, whole.token);
        let ended = polls.are_ended();
        drop(polls);
        let wakeup = wakeup?;
        if ended {
            // The closing fiber waits for the polls only: by now their numbers may belong to other files.
            return Err(errors::stream_closed(ruby));
        }
        Ok(wakeup == Wakeup::TimedOut)
    }
}

/// The polls that run while the caller waits, ended when dropped.
struct Polls<'a> {
    engine: &'a Engine,
    tokens: Vec<Token>,
}

impl<'a> Polls<'a> {
    fn start(
        engine: &'a Engine,
        ruby: &Ruby,
        whole: Token,
        watched: &[(RawFd, Interest)],
    ) -> Result<Self, Error> {
        let fiber = ruby.fiber_current();
        let mut polls = Self {
            engine,
            tokens: Vec::with_capacity(watched.len()),
        };
        for &(fd, interest) in watched {
            let token = engine.park_beside(fiber, Purpose::PartOf(Cell::new(Some(whole))));
            polls.tokens.push(token);
            engine.driver.is_about(token, fd);
            let operation = Operation::Poll { fd, interest };
            if engine.submit(ruby, token, &operation)?.is_some() {
                engine.driver.wake(whole);
            }
        }
        Ok(polls)
    }

    /// Whether one of them has to end because somebody closes its descriptor.
    fn are_ended(&self) -> bool {
        let is_ended = |token: &Token| self.engine.driver.is_ended(*token);
        self.tokens.iter().any(is_ended)
    }
}

impl Drop for Polls<'_> {
    fn drop(&mut self) {
        for token in &self.tokens {
            // A poll that cannot be cancelled completes some day and finds that nobody waits.
            let _ = self.engine.driver.cancel(*token);
            self.engine.driver.leave(*token);
        }
    }
}

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
    /// Waits until a descriptor is ready for a part of `interest`, and returns that part. Returns `None` if the timeout
    /// passes first or, with a loop fiber, if control comes back for another reason.
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

    /// Like [`poll`](Self::poll), but returns the poll(2) events that it found.
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
            // The descriptor may be a file, which no set takes. Other fibers get their turn, as in any wait.
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

    /// Whether a poll reports this interest correctly. Urgent input does not wake a ring's poll for urgent input alone
    /// (seen on Linux 6.18), and a ring's poll for both kinds of input takes one for the other. select(2) does not
    /// report a hang-up to those who wait for urgent input.
    pub fn can_poll(&self, interest: Interest) -> bool {
        let backend = self.driver.backend();
        let wrong = match backend {
            BackendKind::IoUring => true,
            // On other systems nothing else can wait for urgent input.
            BackendKind::Select => cfg!(target_os = "linux"),
            // kqueue refuses urgent input, and so does the set of `watch` there.
            BackendKind::Epoll | BackendKind::Kqueue | BackendKind::Poll => false,
        };
        !(wrong && interest.is_urgent())
    }

    /// Waits until a set of [`uring_io_core::watch`] reports something as ready. A set works even where a poll of the
    /// descriptor itself would end at once and tell nothing: see [`Interest::is_settled_by`]. Returns false where
    /// [`poll`](Self::poll) returns `None`.
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

    /// Waits until one of these descriptors is ready, or until another event makes a check worthwhile. Returns whether
    /// the timeout passed first.
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
            // The closing fiber waits for the polls only. They are over, so the numbers may belong to other files by
            // now.
            return Err(errors::stream_closed(ruby));
        }
        Ok(wakeup == Wakeup::TimedOut)
    }
}

/// The polls that run while the caller waits. Dropping this ends them.
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
            // If a poll cannot be cancelled, it completes later and finds that nobody waits.
            let _ = self.engine.driver.cancel(*token);
            self.engine.driver.leave(*token);
        }
    }
}

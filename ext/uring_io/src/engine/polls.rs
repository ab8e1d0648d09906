//! Waiting for readiness.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use magnus::{Error, Ruby};
use uring_io_core::{BackendKind, Interest, Operation};

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
            // A file, for one, which no set takes. Others have their turn as at any wait.
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
            BackendKind::Epoll | BackendKind::Poll => false,
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
}

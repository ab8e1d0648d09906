//! Operations of the current fiber: the engine starts them, waits for them and, if the fiber is interrupted, cancels
//! them.

use std::os::fd::RawFd;
use std::time::Duration;

use magnus::{Error, Ruby};
use uring_io_core::{is_cancellation, Call, Operation, Token, Transfer, Wakeup};

use super::party::{Purpose, Raised};
use super::Engine;
use crate::ruby::errors;

/// How soon to cancel again. A step of a chain that began after the last cancel has not seen it, and the kernel may lose
/// the cancel of a call that may hang.
pub(super) const AGAIN: Duration = Duration::from_millis(5);

impl Engine {
    /// Does one operation for the current fiber. Returns bytes, events or a negative errno; `None` if the timeout
    /// passes first.
    ///
    /// It returns only when the operation is over, because the kernel may use the operation's memory until then. If
    /// somebody raises in the fiber, or the timeout passes, the engine cancels the operation and still waits for its
    /// completion.
    pub fn perform(
        &self,
        ruby: &Ruby,
        operation: &Operation,
        timeout: Option<Duration>,
    ) -> Result<Option<i32>, Error> {
        let about = operation.fd();
        self.perform_for(ruby, Purpose::Operation, operation, about, timeout)
    }

    /// Like [`perform`](Self::perform), but a worker thread does the transfer.
    pub fn perform_in_worker(
        &self,
        ruby: &Ruby,
        transfer: &Transfer,
        timeout: Option<Duration>,
    ) -> Result<Option<i32>, Error> {
        self.raise_pending(ruby)?;
        let place = self.place_on(ruby, Purpose::Operation, [transfer.fd]);
        let started = self.driver.work(place.token, *transfer);
        started.map_err(|error| self.refusal(ruby, error, Some(transfer.fd)))?;
        if timeout.is_some() {
            self.driver.set_timeout(place.token, timeout);
        }
        let counts = |result| transfer.is_enough(result);
        self.await_completion(ruby, place.token, || (), counts)
    }

    pub(super) fn perform_for(
        &self,
        ruby: &Ruby,
        purpose: Purpose,
        operation: &Operation,
        about: impl IntoIterator<Item = RawFd>,
        timeout: Option<Duration>,
    ) -> Result<Option<i32>, Error> {
        // Raise before the operation starts: if that succeeds at once, the exception would have to wait once more.
        self.raise_pending(ruby)?;
        if let Some(result) = self.driver.attempt(operation) {
            return Ok(Some(result));
        }
        let place = self.place_on(ruby, purpose, about);
        let token = place.token;
        if let Some(result) = self.submit(ruby, token, operation)? {
            return Ok(Some(result));
        }
        if timeout.is_some() {
            self.driver.set_timeout(token, timeout);
        }
        // Bytes that were transferred cannot be taken back: they are gone from the stream.
        let counts = |result| match operation {
            Operation::Transfer(transfer) => transfer.is_enough(result),
            _ => false,
        };
        let result = self.await_completion(ruby, token, || (), counts)?;
        self.check_found(ruby, token, operation)?;
        Ok(result)
    }

    /// Fails if somebody closes, or has closed, the descriptor that a poll has reported: its number may belong to
    /// another file. This can happen because a close in a trap handler does not wait for the fibers of its own thread.
    fn check_found(&self, ruby: &Ruby, token: Token, operation: &Operation) -> Result<(), Error> {
        if matches!(operation, Operation::Poll { .. }) && self.driver.is_ended(token) {
            return Err(errors::stream_closed(ruby));
        }
        Ok(())
    }

    /// Like [`perform`](Self::perform), for an operation without lent memory. If control comes back before the
    /// operation is over, it cancels the operation and returns `None` without waiting for the completion.
    pub(super) fn perform_abandonable(
        &self,
        ruby: &Ruby,
        purpose: Purpose,
        operation: &Operation,
        about: impl IntoIterator<Item = RawFd>,
    ) -> Result<Option<i32>, Error> {
        let place = self.place_on(ruby, purpose, about);
        if let Some(result) = self.submit(ruby, place.token, operation)? {
            return Ok(Some(result));
        }
        match self.await_wakeup(ruby, place.token) {
            Ok(Wakeup::Completed(result)) => {
                if self.is_closed_under(place.token, result) {
                    return Err(errors::stream_closed(ruby));
                }
                self.check_found(ruby, place.token, operation)?;
                Ok(Some(result))
            }
            other => {
                if !self.is_closed() {
                    let cancelled = self.driver.cancel(place.token);
                    cancelled.map_err(|error| self.failure(ruby, error))?;
                }
                other.map(|_| None)
            }
        }
    }

    /// Starts an operation under a token, see [`Driver::submit`].
    pub fn submit(
        &self,
        ruby: &Ruby,
        token: Token,
        operation: &Operation,
    ) -> Result<Option<i32>, Error> {
        let started = self.driver.submit(token, operation);
        started.map_err(|error| self.refusal(ruby, error, operation.fd()))
    }

    /// Starts a call under a token, see [`Driver::call`].
    pub fn start_call(&self, ruby: &Ruby, token: Token, call: Call) -> Result<(), Error> {
        let fd = call.waits_on();
        let started = self.driver.call(token, call);
        started.map_err(|error| self.refusal(ruby, error, fd))
    }

    /// Parks until the operation of `token` is over. If somebody raises in the fiber, or the timeout passes, it calls
    /// `cancel`, cancels the operation, and still waits until that is over. Returns the result, or `None` if the
    /// timeout has ended the operation.
    ///
    /// If somebody has raised, but the result `counts` and the exception [may wait](Self::may_postpone), it returns the
    /// result, and the fiber raises the exception at its next park. A second exception also waits for the next park.
    pub fn await_completion(
        &self,
        ruby: &Ruby,
        token: Token,
        cancel: impl FnOnce(),
        counts: impl FnOnce(i32) -> bool,
    ) -> Result<Option<i32>, Error> {
        let mut raised: Option<Raised> = None;
        let mut also_raised = None;
        let mut timed_out = false;
        let mut cancel = Some(cancel);
        let result = loop {
            match self.await_wakeup_or_raised(ruby, token) {
                Ok(Wakeup::Completed(result)) => break result,
                Ok(Wakeup::TimedOut) => timed_out = true,
                Ok(Wakeup::Woken) => continue,
                // The backend has failed, so no completion will ever come.
                Err(reason) if self.is_lost() => return Err(reason.error),
                // A killed fiber raises again at every resume: the first reason counts.
                Err(reason) => match raised {
                    Some(_) if !self.kills_thread(&reason.error) => {
                        also_raised = also_raised.or(Some(reason));
                    }
                    _ => raised = Some(reason),
                },
            }
            match cancel.take() {
                Some(cancel) => cancel(),
                None if self.driver.may_hang(token) => {}
                None => continue,
            }
            // Take the completion at once if it is there: whoever raised expects the fiber to unwind now.
            let ended = self.driver.cancel_now(token);
            if let Some(Wakeup::Completed(result)) =
                ended.map_err(|error| self.failure(ruby, error))?
            {
                break result;
            }
            if self.driver.may_hang(token) {
                self.driver.set_timeout(token, Some(AGAIN));
            }
        };
        if let Some(later) = also_raised {
            self.postpone(ruby, &later);
        }
        match raised {
            Some(raised) if self.may_postpone(&raised.error) && counts(result) => {
                self.postpone(ruby, &raised);
                Ok(Some(result))
            }
            Some(raised) => {
                if let Some(call) = self.driver.take_call(token) {
                    call.undo(result);
                }
                Err(raised.error)
            }
            None if self.is_closed_under(token, result) => Err(errors::stream_closed(ruby)),
            // A worker of the ring returns EINTR when the engine cancels its work.
            None if timed_out && is_cancellation(result) => Ok(None),
            None => Ok(Some(result)),
        }
    }

    /// Whether an operation did nothing, and must not run again because somebody closes its descriptor: the number may
    /// belong to another file by now.
    pub fn is_closed_under(&self, token: Token, result: i32) -> bool {
        let nothing_done =
            is_cancellation(result) || [-libc::EBADF, -libc::EAGAIN].contains(&result);
        nothing_done && self.driver.is_ended(token)
    }

    /// Ends the wait of [`await_elsewhere`](Self::await_elsewhere) for this token. Any thread that holds the GVL may
    /// call it.
    pub fn complete_elsewhere(&self, token: Token) {
        self.driver.complete(token, 0);
    }

    /// Cancels every call on this descriptor, and returns how many there were.
    pub fn cancel_on(&self, ruby: &Ruby, fd: RawFd) -> Result<usize, Error> {
        let cancelled = self.driver.cancel_on(fd);
        cancelled.map_err(|error| self.failure(ruby, error))
    }

    /// Makes a worker thread do `job` for the current fiber. The job owns everything that it uses, so an interrupted
    /// fiber does not wait for it.
    pub fn offload(&self, ruby: &Ruby, job: uring_io_core::Job) -> Result<i32, Error> {
        let place = self.place(ruby, Purpose::Operation);
        self.driver
            .offload(place.token, job)
            .map_err(|error| errors::errno(ruby, error))?;
        loop {
            if let Wakeup::Completed(result) = self.await_wakeup(ruby, place.token)? {
                return Ok(result);
            }
        }
    }

    /// Parks until somebody calls [`Driver::complete`] for the token that `start` gets. An exception in the fiber does
    /// not end this wait, but makes the engine call `cancel` once. If `start` fails, it must not have started anything,
    /// and this returns at once.
    pub fn await_elsewhere(
        &self,
        ruby: &Ruby,
        start: impl FnOnce(Token) -> Result<(), Error>,
        cancel: impl FnOnce(),
    ) -> Result<(), Error> {
        let place = self.place(ruby, Purpose::Operation);
        self.driver.expect_completion(place.token);
        if let Err(error) = start(place.token) {
            self.driver.complete(place.token, 0);
            return Err(error);
        }
        self.await_completion(ruby, place.token, cancel, |_| false)
            .map(|_| ())
    }
}

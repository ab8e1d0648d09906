//! Messages between rings are Ruby objects, handed over under the GVL. Only the wakeup of the receiver goes through
//! the kernel.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use magnus::value::Opaque;
use magnus::{gc, typed_data::Obj, Error, RArray, Ruby, Value};
use uring_io_core::{Token, Wakeup};

use super::host::Host;
use super::Ring;
use crate::engine::Purpose;
use crate::ruby::{duration, errors};

type Hook<T> = Result<T, Error>;

/// Objects that others have sent to a ring, and the fibers that wait for them.
#[derive(Default)]
pub struct Mailbox {
    objects: RefCell<VecDeque<Opaque<Value>>>,
    /// For each of these fibers, the ring or scheduler whose engine it is parked at, and its token there.
    waiting: RefCell<VecDeque<(Opaque<Value>, Token)>>,
}

impl Ring {
    /// Gives an object to another ring, and wakes a fiber that waits there for one.
    pub fn message(ruby: &Ruby, this: Obj<Self>, other: Obj<Self>, object: Value) -> Hook<()> {
        let host = Self::host(ruby, this)?;
        if other.is_closed() {
            return Err(errors::closed(ruby, "ring that the message is for"));
        }
        let own = host.engine(ruby)?;
        let mailbox = &other.mailbox;
        mailbox.objects.borrow_mut().push_back(Opaque::from(object));
        loop {
            let next = mailbox.waiting.borrow_mut().pop_front();
            let Some((receiver, token)) = next else {
                return Ok(());
            };
            let Some(receiver) = Host::of(ruby.get_inner(receiver)) else {
                continue;
            };
            let engine = receiver.made(ruby)?;
            if !engine.is_closed() {
                return own.wake_at(ruby, engine, token);
            }
        }
    }

    /// The next object that somebody gave to this ring, in an Array; nil if the timeout passes first.
    pub fn receive(ruby: &Ruby, this: Obj<Self>, timeout: Value) -> Hook<Option<RArray>> {
        let host = Self::host(ruby, this)?;
        let engine = host.engine(ruby)?;
        let timeout = duration::optional(ruby, timeout)?;
        let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let object = this.mailbox.objects.borrow_mut().pop_front();
            if let Some(object) = object {
                let found = ruby.ary_new();
                found.push(ruby.get_inner(object))?;
                return Ok(Some(found));
            }
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(None);
            }
            let place = engine.place(ruby, Purpose::Turn);
            let host = Opaque::from(host.value());
            let mut waiting = this.mailbox.waiting.borrow_mut();
            waiting.push_back((host, place.token));
            drop(waiting);
            let woken = engine.await_wakeup_within(ruby, place.token, left);
            let mut waiting = this.mailbox.waiting.borrow_mut();
            waiting.retain(|(_, token)| *token != place.token);
            drop(waiting);
            if woken.is_err() {
                // A sender may have woken this fiber for an object. This fiber does not take it now, so wake another
                // one.
                this.mailbox.pass_on(ruby);
            }
            if woken? == Wakeup::TimedOut && this.mailbox.objects.borrow().is_empty() {
                return Ok(None);
            }
        }
    }
}

impl Mailbox {
    pub fn mark(&self, marker: &gc::Marker) {
        for object in self.objects.borrow().iter() {
            marker.mark(*object);
        }
        for (host, _) in self.waiting.borrow().iter() {
            marker.mark(*host);
        }
    }

    /// Wakes the next fiber of this thread that waits, if there is something to take.
    fn pass_on(&self, ruby: &Ruby) {
        if self.objects.borrow().is_empty() {
            return;
        }
        let next = self.waiting.borrow_mut().pop_front();
        let Some((host, token)) = next else { return };
        if let Some(host) = Host::of(ruby.get_inner(host)) {
            if let Ok(engine) = host.engine(ruby) {
                engine.wake(token);
            }
        }
    }
}

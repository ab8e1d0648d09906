//! The host of a fiber's calls: the ring itself, or the scheduler that the fiber runs under.

use magnus::{prelude::*, typed_data::Obj, Error, Ruby, TryConvert, TypedData, Value};

use super::Ring;
use crate::classes::scheduler::Scheduler;
use crate::engine::Engine;

type Hook<T> = Result<T, Error>;

/// The owner of the engine that makes the calls of the current fiber.
pub enum Host {
    Own(Obj<Ring>),
    Scheduler(Obj<Scheduler>),
}

impl Host {
    /// The host that [`value`](Self::value) has returned. This raises nothing, not even an exception that it catches
    /// itself: that would replace a kill that is under way.
    pub fn of(value: Value) -> Option<Self> {
        if value.is_kind_of(Ring::class(&Ruby::get_with(value))) {
            return Obj::try_convert(value).ok().map(Self::Own);
        }
        Obj::try_convert(value).ok().map(Self::Scheduler)
    }

    /// The engine, for any thread that holds the GVL.
    pub fn made(&self, ruby: &Ruby) -> Hook<&Engine> {
        match self {
            Self::Own(ring) => ring.made(ruby),
            Self::Scheduler(scheduler) => scheduler.made(ruby),
        }
    }

    /// The engine, for the thread that owns it.
    pub fn engine(&self, ruby: &Ruby) -> Hook<&Engine> {
        match self {
            Self::Own(ring) => ring.own_engine(ruby),
            Self::Scheduler(scheduler) => scheduler.engine(ruby),
        }
    }

    pub fn value(&self) -> Value {
        match self {
            Self::Own(ring) => ring.as_value(),
            Self::Scheduler(scheduler) => scheduler.as_value(),
        }
    }
}

//! Stacks of fibers that have ended.
//!
//! When a fiber that was resumed ends, Ruby takes its stack back at once. Our fibers are transferred to: Ruby takes
//! their stacks back when it collects the Fibers (cont.c, fiber_switch). It seldom collects a heap with much room, and
//! a process has memory maps for some 32 thousand stacks (`vm.max_map_count`, two for each). Before Ruby 4.0, one more
//! stack raises FiberError. So [`Stacks::make_room`] makes Ruby collect new objects now and then. Fibers that an old
//! object refers to wait for a major collection: see `Engine::switch_to_new`.
#![allow(unsafe_code)]

use std::cell::Cell;

use magnus::rb_sys::AsRawValue;
use magnus::{kwargs, prelude::*, Error, RModule, Ruby, Value};
use rb_sys::{rb_gc_count, rb_gc_disable, rb_gc_enable};

/// Counts the fibers of a thread.
#[derive(Default)]
pub struct Stacks {
    /// Fibers made since the last check.
    made: Cell<u32>,
    /// How often Ruby had collected by the last check.
    collections: Cell<u64>,
}

impl Stacks {
    /// How many fibers to make from one check to the next.
    const MOST: u32 = 2048;

    /// Call this before making a fiber. At a check it collects new objects, unless Ruby has collected twice since the
    /// last one.
    pub fn make_room(&self, ruby: &Ruby) -> Result<(), Error> {
        self.made.set(self.made.get() + 1);
        if self.made.get() < Self::MOST {
            return Ok(());
        }
        self.made.set(0);
        // In a heap with much room a collection ends, and gives its stacks back, only when the next one begins.
        let settled = collections() >= self.collections.get() + 2;
        if !settled && !is_disabled(ruby) {
            let collector: RModule = ruby.class_object().const_get("GC")?;
            let young = kwargs!(ruby, "full_mark" => false);
            collector.funcall::<_, _, Value>("start", (young,))?;
        }
        self.collections.set(collections());
        Ok(())
    }
}

fn collections() -> u64 {
    // SAFETY: the call reads a number of the process, and the caller has the GVL.
    unsafe { rb_gc_count() }
}

/// Whether the program has turned the collector off. Then it stays off.
fn is_disabled(ruby: &Ruby) -> bool {
    // SAFETY: the call turns the collector off and returns whether it already was. It raises nothing, and the caller
    // has the GVL.
    let was = unsafe { rb_gc_disable() };
    let was = was == ruby.qtrue().as_raw();
    if !was {
        // SAFETY: as above.
        unsafe { rb_gc_enable() };
    }
    was
}

//! Stacks of fibers that have ended.
//!
//! Ruby takes the stack of a fiber back when it ends only where it was resumed, and else when it collects
//! the Fiber (cont.c, fiber_switch); ours are transferred to. A heap with much room is collected seldom,
//! and a process has memory maps for some 32 thousand stacks (`vm.max_map_count`, two for each). Before
//! Ruby 4.0 one more is a FiberError. So whoever makes fibers has Ruby collect new objects now and then.
//! Fibers that something old refers to wait for a major collection: see `Engine::switch_to_new`.
#![allow(unsafe_code)]

use std::cell::Cell;

use magnus::rb_sys::AsRawValue;
use magnus::{kwargs, prelude::*, Error, RModule, Ruby, Value};
use rb_sys::{rb_gc_count, rb_gc_disable, rb_gc_enable};

/// Counts the fibers of a thread.
#[derive(Default)]
pub struct Stacks {
    /// Fibers made since this was last seen to.
    made: Cell<u32>,
    /// How often Ruby had collected by then.
    collections: Cell<u64>,
}

impl Stacks {
    /// Fibers that are made before those which have ended are collected.
    const MOST: u32 = 2048;

    /// To be called before a fiber is made.
    pub fn make_room(&self, ruby: &Ruby) -> Result<(), Error> {
        self.made.set(self.made.get() + 1);
        if self.made.get() < Self::MOST {
            return Ok(());
        }
        self.made.set(0);
        // With much room a collection is over, and the stacks it found are back, only when the next one begins.
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
    // SAFETY: reads a number of the process; the caller has the GVL.
    unsafe { rb_gc_count() }
}

/// Whether somebody has turned the collector off, whom we leave alone.
fn is_disabled(ruby: &Ruby) -> bool {
    // SAFETY: turns it off and tells whether it was; raises nothing, and the caller has the GVL.
    let was = unsafe { rb_gc_disable() };
    let was = was == ruby.qtrue().as_raw();
    if !was {
        // SAFETY: as above.
        unsafe { rb_gc_enable() };
    }
    was
}

//! The Ruby binding of `uring_io_core`, in layers: each layer imports only those below it.
//!
//! From the top: `classes` has the Ruby classes, and `hooks` the hooks that several of them share. `engine` runs the
//! fibers on a driver. `memory` holds Ruby's memory while the kernel uses it. `ruby` deals with CRuby itself. The
//! binding owns everything that belongs to Ruby: fibers and their marking, IO::Buffer locks, the GVL, errors. The
//! core defines the operations and makes them.

mod classes;
mod engine;
mod hooks;
mod memory;
mod ruby;

use magnus::{Error, Ruby};

use crate::classes::{close, ladder, poller, ring, scheduler, selector, support, trace};
use crate::hooks::{blocking, remembered};
use crate::memory::buffer;
use crate::ruby::{closers, io, ractors};

#[magnus::init]
fn init(ruby: &Ruby) -> Result<(), Error> {
    ractors::init();
    closers::init();
    buffer::init(ruby);
    io::init(ruby);
    engine::init(ruby);
    blocking::init();
    remembered::init(ruby);
    let module = ruby.define_module("UringIO")?;
    support::init(ruby, module)?;
    scheduler::init(ruby, module)?;
    selector::init(ruby, module)?;
    poller::init(ruby, module)?;
    ring::init(ruby, module)?;
    trace::init(ruby, module)?;
    ladder::init(ruby, module)?;
    close::init(module)
}

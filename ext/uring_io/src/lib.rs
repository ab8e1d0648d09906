//! The Ruby face of `uring_io_core`: one file per class or concern.
//!
//! The binding owns everything that is Ruby's: fibers and their marking, IO::Buffer locks, the
//! GVL, errors. What an operation is and how it is done belongs to the core.

mod arguments;
mod batch;
mod blocking;
mod buffer;
mod caller;
mod calls;
mod children;
mod close;
mod closers;
mod detour;
mod duration;
mod engine;
mod errors;
mod gvl;
mod held;
mod io;
mod options;
mod poller;
mod prepared;
mod ractors;
mod receiver;
mod registered;
mod registered_buffer;
mod remembered;
mod resolve;
mod ring;
mod scheduler;
mod select;
mod selector;
mod stacks;
mod support;
mod switch;
mod timeout;
mod transfer;
mod unused;

use magnus::{Error, Ruby};

#[magnus::init]
fn init(ruby: &Ruby) -> Result<(), Error> {
    ractors::init();
    closers::init();
    engine::closing::init();
    blocking::init();
    let module = ruby.define_module("UringIO")?;
    buffer::init(ruby);
    engine::home::init(ruby);
    io::init(ruby);
    remembered::init(ruby);
    support::init(ruby, module)?;
    scheduler::init(ruby, module)?;
    selector::init(ruby, module)?;
    poller::init(ruby, module)?;
    ring::init(ruby, module)?;
    close::init(module)
}

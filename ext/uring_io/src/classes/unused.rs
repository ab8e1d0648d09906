//! A scheduler that nobody has used yet. It belongs to no thread. But it has a backend already, because `new` has to
//! raise if the caller names a backend that does not work here.

use magnus::{gc, Error, Ruby};
use uring_io_core::{Driver, Options};

use crate::classes::options::{self, Backing};
use crate::engine::{Engine, Flow, Party};
use crate::ruby::owner::Owner;

/// The driver that `new` has made, before its first use.
pub struct Unused {
    driver: Driver<Party>,
    options: Options,
    /// The thread that called `new`. Only this thread can use a ring that it has made.
    maker: Owner,
}

impl Unused {
    pub fn new(ruby: &Ruby, made: Backing<Party>) -> Self {
        Self {
            driver: made.driver,
            options: made.options,
            maker: Owner::current(ruby),
        }
    }

    pub fn mark(&self, marker: &gc::Marker) {
        self.maker.mark(marker);
    }

    /// The options of the driver, if the calling thread needs a driver of its own.
    pub fn to_be_made(&self, ruby: &Ruby) -> Option<Options> {
        let is_made_here = self.maker.is_current(ruby) && !self.maker.is_inherited();
        (!is_made_here).then(|| self.options.clone())
    }

    /// Makes the engine of the calling thread, on the driver that was made for this thread, or else on the first one.
    /// If there are two drivers, it closes the first one.
    pub fn into_engine(self, ruby: &Ruby, made: Option<Driver<Party>>) -> Engine {
        Engine::new(ruby, made.unwrap_or(self.driver), Flow::Next)
    }
}

/// Makes a driver for the calling thread with the options of another driver: see [`Unused::to_be_made`].
pub fn make(ruby: &Ruby, options: Options) -> Result<Driver<Party>, Error> {
    let options = options::for_this_thread(ruby, options)?;
    options::driver_on(ruby, options.backend, &options)
}

//! CRuby's own ways: what it passes and takes, raises, locks and keeps.

pub mod arguments;
pub mod caller;
pub mod closers;
pub mod collector;
pub mod duration;
pub mod errors;
pub mod gvl;
pub mod io;
pub mod owner;
pub mod ractors;
pub mod receiver;
pub mod stacks;
pub mod switch;

//! The parts that depend on how CRuby works: arguments, exceptions, IOs, the GVL, Ractors, stacks and switches.

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

//! The Ruby classes, one file each. A method converts its arguments, calls a lower layer, and converts the result.

pub mod close;
pub mod ladder;
pub mod options;
pub mod poller;
pub mod ring;
pub mod scheduler;
pub mod selector;
pub mod support;
pub mod trace;
pub mod unused;

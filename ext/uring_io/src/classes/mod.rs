//! The Ruby classes, a file each: arguments in, result out.

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

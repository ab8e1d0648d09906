//! The ladder: one small exchange, served in each of the ways that Linux has had for it, from a blocking thread for
//! each connection to io_uring with a polling thread.
//!
//! A client sends requests of 64 bytes over TCP to 127.0.0.1, to a few of many connections, and waits for the answers.
//! It is a thread with a table of descriptors of its own, so that each side may have as many as the limit allows. The
//! server makes plain system calls, counts them itself, and reads what its own threads have used of a processor: the
//! cost of the client is in no figure but the time of an exchange.
//!
//! ```text
//! climb                                   one rung with so many connections
//! threads │ select │ poll │ epoll │ uring the rungs
//! answer                                  receives and sends
//! client                                  sends the requests, and says by a byte of them what is measured
//! meter                                   counts calls, keeps the steps of a few exchanges
//! limits │ memory                         what the machine allows, and what a rung takes of it
//! calls                                   the system calls
//! outcome                                 what comes of it
//! ```

#[cfg(target_os = "linux")]
mod answer;
#[cfg(target_os = "linux")]
mod calls;
#[cfg(target_os = "linux")]
mod client;
#[cfg_attr(not(target_os = "linux"), path = "../elsewhere/ladder.rs")]
mod climb;
#[cfg(target_os = "linux")]
mod epoll;
#[cfg(target_os = "linux")]
mod limits;
#[cfg(target_os = "linux")]
mod memory;
#[cfg(target_os = "linux")]
mod meter;
mod outcome;
#[cfg(target_os = "linux")]
mod poll;
#[cfg(target_os = "linux")]
mod select;
#[cfg(target_os = "linux")]
mod threads;
#[cfg(target_os = "linux")]
mod uring;

pub use climb::measure;
pub use outcome::{Cause, Cost, Exchange, Growth, Limit, Measurement, Outcome, Rung, Step};

//! The ladder: one small exchange, served in each of the ways that Linux has offered over time, from one blocking
//! thread for each connection to io_uring with a polling thread.
//!
//! A client sends requests of 64 bytes over TCP to 127.0.0.1 and waits for the answers. It uses only a few of its many
//! connections. The client is a thread with a table of descriptors of its own, so that each side may open as many as
//! the limit allows. The server makes plain system calls, counts them itself, and reads the processor time of its own
//! threads. So the cost of the client is in no figure but the time of an exchange.
//!
//! ```text
//! climb                                   measures one rung with a number of connections
//! threads │ select │ poll │ epoll │ uring the rungs
//! answer                                  receives a request and sends the answer
//! client                                  sends the requests; their first byte names the phase
//! meter                                   counts calls, and records the steps of a few exchanges
//! limits │ memory                         limits of the machine, and memory that a rung takes
//! calls                                   the system calls
//! outcome                                 the results
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

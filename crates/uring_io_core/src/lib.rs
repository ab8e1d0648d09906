//! Operations on io_uring, with epoll, kqueue, poll and select behind the same interface.
//!
//! A *party* (for the Ruby binding: a fiber) parks at a [`Driver`] and gets a [`Token`]. It may
//! submit an [`Operation`] under that token, set a timeout, or wait to be woken. The driver passes
//! operations to its backend: io_uring takes them as submissions and returns completions; the
//! readiness backends make the call when the descriptor is ready. Either way the token fires, and
//! the driver's ready queue tells who may go on. Nothing above the backend knows which one runs.
//!
//! ```text
//! Driver ── in-flight table, timers, ready queue, waker, worker pool
//!    └── Backend ── uring (submissions, completions)
//!               └── readiness (one transfer loop) ── epoll | kqueue | poll | select
//! ```
//!
//! Operations and [calls](Call) are two types on purpose. An operation is `Copy`, names descriptors and lent memory
//! only, and costs no allocation: nearly everything that a scheduler does is one. A call owns its arguments, and the
//! in-flight table keeps it until its completion.
//!
//! A file imports files of its own folder, or of lower floors (`spec/layers_spec.rb` checks it):
//!
//! ```text
//! driver/ │ support/ │ ladder/
//! in_flight/ users ready_queue recorder timers
//! backend
//! uring/ │ readiness/
//! worker_pool │ resolver
//! call/
//! memory │ waker
//! posix                                   what every system has
//! platform                                what differs
//! completion │ descriptor
//! operation │ ring_options │ stats │ backend_kind
//! token address clock error first_use hosts
//! ```
//!
//! A bar separates files that do not import each other.
//!
//! Some files need a certain system. On the others a file of the same name in `elsewhere/` takes their place: macOS
//! and BSD compile `elsewhere/epoll.rs`, Linux compiles `elsewhere/kqueue.rs`. The `mod` line of the file chooses.

#![warn(missing_docs)]
// Other systems also compile the code that only the Linux backends use, so that it stays correct.
#![cfg_attr(not(target_os = "linux"), allow(dead_code))]

mod address;
mod backend;
mod backend_kind;
mod call;
mod clock;
mod completion;
mod descriptor;
mod driver;
mod error;
mod first_use;
mod hosts;
mod in_flight;
pub mod ladder;
mod memory;
mod operation;
#[cfg_attr(not(target_os = "linux"), path = "elsewhere/platform.rs")]
mod platform;
mod posix;
mod readiness;
mod ready_queue;
mod recorder;
mod resolver;
mod ring_options;
mod stats;
pub mod support;
mod timers;
mod token;
#[cfg_attr(not(target_os = "linux"), path = "elsewhere/uring.rs")]
mod uring;
mod users;
mod waker;
mod worker_pool;

pub use address::Address;
pub use backend_kind::{BackendKind, UnknownBackend};
pub use call::{Call, FileStatus, Link, OpenHow, Subject, Timespec};
pub use descriptor::{check_seekable, close_descriptor, is_nonblocking, target_of};
pub use driver::{Driver, Options, Turn};
pub use error::{is_cancellation, Error, Lack, Result};
pub use in_flight::{Look, Shot, Wakeup};
pub use memory::{Memory, Message, SharedMemory, Vectors};
pub use operation::{Children, Direction, Interest, LentBuffer, Operation, Target, Transfer};
pub use platform::{numbers, pidfd_open, watch, watch_changes};
pub use posix::{
    empty_child, empty_status, forks, found_now, keeps_messages, read_cached, readiness_now,
    ready_now, transfer_now as try_transfer, transfer_unasked as try_unasked, wait_for_child,
};
pub use recorder::{note_close, Common, Event, Log, Record};
pub use resolver::{resolve, resolved, ResolveError};
pub use ring_options::{
    Intake, Mask, Options as RingOptions, Sqpoll, FEAT_EXT_ARG, FEAT_SQPOLL_NONFIXED,
};
pub use stats::Stats;
pub use token::Token;

pub use waker::Waker;
pub use worker_pool::Job;

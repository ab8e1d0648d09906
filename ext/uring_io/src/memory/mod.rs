//! Ruby's memory that calls use: Strings and IO::Buffers that the kernel reads from or writes to.

pub mod buffer;
pub mod held;
pub mod registered;

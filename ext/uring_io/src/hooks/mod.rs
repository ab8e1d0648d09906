//! Implementations of hooks.

pub mod blocking;
pub mod children;
pub mod detour;
pub mod interrupt;
pub mod mutexes;
pub mod readiness;
pub mod remembered;
pub mod resolve;
pub mod select;
pub mod timeout;
pub mod transfer;
pub mod waits;

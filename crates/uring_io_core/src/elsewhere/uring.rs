//! Takes the place of the io_uring backend where there is no io_uring: nobody can make its ring.

use std::convert::Infallible;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use crate::call::{Call, Link};
use crate::completion::{Completion, StartedCall};
use crate::error::{Error, Result};
use crate::operation::{LentBuffer, Operation};
use crate::ring_options::Options;
use crate::stats::Counts;
use crate::token::Token;
use crate::waker::Waker;

/// No value of this type exists, so nobody calls the methods below [`new`](Ring::new).
pub(crate) struct Ring(Infallible);

impl Ring {
    pub fn new(_: &Options, _: Arc<Waker>) -> Result<Self> {
        Err(Error::new("io_uring_setup", libc::ENOSYS))
    }

    pub fn start(&mut self, _: Token, _: &Operation, _: &Counts) -> Result<()> {
        match self.0 {}
    }

    pub fn start_call(&mut self, _: Token, _: &mut Call, _: &Counts) -> Result<StartedCall> {
        match self.0 {}
    }

    pub fn before_close(
        &mut self,
        _: RawFd,
        _: &Counts,
        _: impl FnMut(Token, Completion),
    ) -> Result<bool> {
        match self.0 {}
    }

    pub fn link(&mut self, _: Token, _: &mut Call, _: Link, _: bool) -> Result<()> {
        match self.0 {}
    }

    pub fn guard(&mut self, _: Token, _: RawFd, _: &Counts) -> Result<()> {
        match self.0 {}
    }

    pub fn start_chain(&mut self, _: &Counts, _: impl FnMut(Token, Completion)) -> Result<()> {
        match self.0 {}
    }

    pub fn has_queued(&mut self, _: std::os::fd::RawFd) -> bool {
        match self.0 {}
    }

    pub fn drop_chain(&mut self) {
        match self.0 {}
    }

    pub fn chain_length_max(&self) -> usize {
        match self.0 {}
    }

    pub fn timeouts_succeed(&self) -> bool {
        match self.0 {}
    }

    pub fn can_stream(&self, _: &Call) -> bool {
        match self.0 {}
    }

    pub fn take_slots(&mut self, _: usize) -> Result<Vec<u32>> {
        match self.0 {}
    }

    pub fn give_slots(&mut self, _: &[u32], _: impl Fn(u32) -> bool) -> Result<()> {
        match self.0 {}
    }

    pub fn register(&mut self, _: LentBuffer) -> Result<u16> {
        match self.0 {}
    }

    pub fn unregister(&mut self, _: u16) -> Result<()> {
        match self.0 {}
    }

    pub fn descriptor(&self) -> RawFd {
        match self.0 {}
    }

    pub fn want(&mut self, _: usize) {
        match self.0 {}
    }

    pub fn spin(&mut self, _: Duration) -> bool {
        match self.0 {}
    }

    pub fn cancel(&mut self, _: Token, _: &Counts) -> Result<()> {
        match self.0 {}
    }

    pub fn flush(&mut self, _: &Counts) -> Result<()> {
        match self.0 {}
    }

    pub fn wait(&mut self, _: Option<Duration>, _: &Counts) -> Result<()> {
        match self.0 {}
    }

    pub fn completions(&mut self, _: &Counts, _: impl FnMut(Token, Completion)) {
        match self.0 {}
    }

    pub fn close(&mut self, _: &Counts) {
        match self.0 {}
    }

    pub fn free_buffers(&mut self) {
        match self.0 {}
    }
}

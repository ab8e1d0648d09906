//! The operations that wait for each descriptor.

use std::os::fd::RawFd;

use super::waiting::Waiting;
use crate::token::Token;

/// When a try to read has found nothing, that read and the next 15 wait until their descriptor is ready.
const PATIENT_READS: u8 = 16;

/// One descriptor: the operations that wait for it, and a guess whether it has input.
#[derive(Default)]
struct Descriptor {
    /// An empty list keeps its memory for the next operations.
    waiting: Vec<Waiting>,
    /// Counts down with each read, which waits without a try while something is left. This is a guess: if input is
    /// there already, the wait reports it at once.
    patience: u8,
}

/// Descriptors by number: the kernel gives out the lowest ones first.
#[derive(Default)]
pub(super) struct Descriptors {
    descriptors: Vec<Descriptor>,
    /// The descriptor that each waiting operation waits for, by the slot of its token.
    waits: Vec<RawFd>,
}

impl Descriptors {
    const NONE: RawFd = -1;

    /// Adds an operation.
    pub fn add(&mut self, fd: RawFd, waiting: Waiting) {
        let slot = waiting.token.slot();
        if slot >= self.waits.len() {
            self.waits.resize(slot + 1, Self::NONE);
        }
        self.waits[slot] = fd;
        self.of(fd).waiting.push(waiting);
    }

    /// The operations that wait for a descriptor.
    pub fn waiting(&self, fd: RawFd) -> &[Waiting] {
        self.descriptors
            .get(fd as usize)
            .map_or(&[], |descriptor| &descriptor.waiting)
    }

    /// The poll(2) events that operations wait for on a descriptor; none when nobody waits.
    pub fn events(&self, fd: RawFd) -> i16 {
        events(self.waiting(fd))
    }

    /// Every descriptor that operations wait for, with the poll(2) events.
    pub fn iter(&self) -> impl Iterator<Item = (RawFd, i16)> + '_ {
        let numbered = (0..).zip(&self.descriptors);
        numbered
            .filter(|(_, descriptor)| !descriptor.waiting.is_empty())
            .map(|(fd, descriptor)| (fd, events(&descriptor.waiting)))
    }

    /// Removes one operation.
    pub fn remove(&mut self, token: Token) -> Option<Waiting> {
        let fd = *self.waits.get(token.slot())?;
        let waiting = &mut self.descriptors.get_mut(fd as usize)?.waiting;
        let place = waiting.iter().position(|waiting| waiting.token == token)?;
        Some(waiting.remove(place))
    }

    /// Removes the operations on a descriptor for which `is_over` is true.
    pub fn retain(&mut self, fd: RawFd, mut is_over: impl FnMut(&mut Waiting) -> bool) {
        if let Some(descriptor) = self.descriptors.get_mut(fd as usize) {
            descriptor.waiting.retain_mut(|waiting| !is_over(waiting));
        }
    }

    /// Notes that the waiter watches a descriptor for all operations that wait for it.
    pub fn armed(&mut self, fd: RawFd) {
        if let Some(descriptor) = self.descriptors.get_mut(fd as usize) {
            for waiting in &mut descriptor.waiting {
                waiting.armed = true;
            }
        }
    }

    /// Whether the next read should wait for its descriptor without a try. Call it once for each read.
    pub fn must_be_patient(&mut self, fd: RawFd) -> bool {
        let Some(descriptor) = self.descriptors.get_mut(fd as usize) else {
            return false;
        };
        descriptor.patience = descriptor.patience.saturating_sub(1);
        descriptor.patience > 0
    }

    /// Notes whether a try to read has found nothing.
    pub fn note_read(&mut self, fd: RawFd, nothing: bool) {
        if nothing {
            self.of(fd).patience = PATIENT_READS;
        } else if let Some(descriptor) = self.descriptors.get_mut(fd as usize) {
            descriptor.patience = 0;
        }
    }

    /// Whether there is a place for this number already. Making one for a number that is no descriptor could take
    /// more memory than there is.
    pub fn has_place(&self, fd: RawFd) -> bool {
        (fd as usize) < self.descriptors.len()
    }

    fn of(&mut self, fd: RawFd) -> &mut Descriptor {
        let number = fd as usize;
        if number >= self.descriptors.len() {
            self.descriptors
                .resize_with(number + 1, Descriptor::default);
        }
        &mut self.descriptors[number]
    }
}

fn events(waiting: &[Waiting]) -> i16 {
    waiting
        .iter()
        .fold(0, |events, waiting| events | waiting.events)
}

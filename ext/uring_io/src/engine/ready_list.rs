//! The ready list of a loop: fibers and other objects that were pushed, in the order in which they came.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use magnus::value::Opaque;
use magnus::{gc, Value};

/// The fibers to transfer to, first in first out, and other objects that have `alive?` and `transfer`.
#[derive(Default)]
pub struct ReadyList {
    /// `None` stands for an entry that its owner took back.
    entries: RefCell<VecDeque<Option<Opaque<Value>>>>,
    /// The number of the first entry. Entries have consecutive numbers.
    first: Cell<u64>,
}

impl ReadyList {
    pub fn mark(&self, marker: &gc::Marker) {
        for entry in self.entries.borrow().iter().flatten() {
            marker.mark(*entry);
        }
    }

    /// Adds an entry and returns its number.
    pub fn push(&self, entry: Value) -> u64 {
        let mut entries = self.entries.borrow_mut();
        entries.push_back(Some(Opaque::from(entry)));
        self.first.get() + entries.len() as u64 - 1
    }

    pub fn pop(&self) -> Option<Opaque<Value>> {
        let entry = self.entries.borrow_mut().pop_front()?;
        self.first.set(self.first.get() + 1);
        entry
    }

    /// Takes an entry back, unless it was popped.
    pub fn remove(&self, number: u64) {
        let mut entries = self.entries.borrow_mut();
        let place = number.checked_sub(self.first.get());
        if let Some(entry) = place.and_then(|place| entries.get_mut(place as usize)) {
            *entry = None;
        }
        while let Some(None) = entries.back() {
            entries.pop_back();
        }
    }

    /// The number of entries, including those that were taken back.
    pub fn len(&self) -> usize {
        self.entries.borrow().len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.borrow().iter().all(Option::is_none)
    }
}

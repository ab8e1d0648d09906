//! Which places of the in-flight table are about which descriptor.
//!
//! Closing a descriptor asks this: everything that is under way on it must end first. Each descriptor
//! has a list through the places, so that noting one costs a few stores and no allocation.

use std::os::fd::RawFd;

/// That a slot is about a descriptor: a node of two lists.
#[derive(Clone, Copy, Debug)]
struct Node {
    fd: RawFd,
    slot: u32,
    /// Its neighbours in the list of the descriptor; `NONE` at the ends.
    before: u32,
    after: u32,
    /// The next one of the slot, or of those that are free.
    next: u32,
}

const NONE: u32 = u32::MAX;

/// Descriptors that there is room for without asking whether they are any.
const UNASKED: usize = 1024;

/// The slots by descriptor.
#[derive(Debug)]
pub(crate) struct Users {
    /// The first node of each descriptor, by its number: the kernel gives out the lowest ones first.
    first: Vec<u32>,
    /// The first node of each slot.
    of_slot: Vec<u32>,
    nodes: Vec<Node>,
    free: u32,
}

impl Default for Users {
    fn default() -> Self {
        Self {
            first: Vec::new(),
            of_slot: Vec::new(),
            nodes: Vec::new(),
            free: NONE,
        }
    }
}

impl Users {
    /// Notes that a slot is about a descriptor. A number that is none is about nothing: making room for
    /// it could take more memory than there is.
    pub fn add(&mut self, slot: usize, fd: RawFd) {
        let Ok(number) = usize::try_from(fd) else {
            return;
        };
        if number >= self.first.len() {
            if number >= UNASKED && !crate::sys::is_open(fd) {
                return;
            }
            let numbers = (number + 1).next_power_of_two();
            self.first.resize(numbers.max(UNASKED), NONE);
        }
        if slot >= self.of_slot.len() {
            self.of_slot.resize(slot + 1, NONE);
        }
        // A stream that is started again is about the same one.
        if self.nodes_of(slot).any(|node| node.fd == fd) {
            return;
        }
        let node = Node {
            fd,
            slot: slot as u32,
            before: NONE,
            after: self.first[number],
            next: self.of_slot[slot],
        };
        let place = if self.free == NONE {
            self.nodes.push(node);
            (self.nodes.len() - 1) as u32
        } else {
            let place = self.free;
            let free = &mut self.nodes[place as usize];
            self.free = free.next;
            *free = node;
            place
        };
        self.first[number] = place;
        self.of_slot[slot] = place;
        if node.after != NONE {
            self.nodes[node.after as usize].before = place;
        }
    }

    /// Forgets a slot.
    pub fn remove(&mut self, slot: usize) {
        let Some(first) = self.of_slot.get_mut(slot) else {
            return;
        };
        let mut place = std::mem::replace(first, NONE);
        while place != NONE {
            let Node {
                fd,
                before,
                after,
                next,
                ..
            } = self.nodes[place as usize];
            if before == NONE {
                self.first[fd as usize] = after;
            } else {
                self.nodes[before as usize].after = after;
            }
            if after != NONE {
                self.nodes[after as usize].before = before;
            }
            self.nodes[place as usize].next = self.free;
            self.free = place;
            place = next;
        }
    }

    /// The slots that are about a descriptor, the latest first.
    pub fn of(&self, fd: RawFd) -> impl Iterator<Item = usize> + '_ {
        let number = usize::try_from(fd).ok();
        let first = number.and_then(|number| self.first.get(number).copied());
        let nodes = self.follow(first.unwrap_or(NONE), |node| node.after);
        nodes.map(|node| node.slot as usize)
    }

    fn nodes_of(&self, slot: usize) -> impl Iterator<Item = &Node> {
        self.follow(self.of_slot[slot], |node| node.next)
    }

    fn follow(&self, mut place: u32, next: fn(&Node) -> u32) -> impl Iterator<Item = &Node> {
        std::iter::from_fn(move || {
            let node = self.nodes.get(place as usize)?;
            place = next(node);
            Some(node)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(users: &Users, fd: RawFd) -> Vec<usize> {
        users.of(fd).collect()
    }

    #[test]
    fn a_descriptor_has_the_places_that_are_about_it() {
        let mut users = Users::default();
        users.add(0, 1);
        users.add(3, 1);
        users.add(2, 2);
        users.add(2, 1);
        users.add(2, 1);
        assert_eq!(of(&users, 1), [2, 3, 0]);
        assert_eq!(of(&users, 2), [2]);
        users.remove(3);
        assert_eq!(of(&users, 1), [2, 0]);
        users.remove(2);
        assert_eq!(of(&users, 2), [0; 0]);
        users.remove(0);
        users.remove(0);
        assert_eq!(of(&users, 1), [0; 0]);
    }

    #[test]
    fn a_slot_may_be_about_many_and_gives_its_nodes_back() {
        let mut users = Users::default();
        for _ in 0..3 {
            for fd in 0..3 {
                users.add(7, fd);
            }
            users.add(8, 1);
            assert_eq!([of(&users, 0), of(&users, 1)], [vec![7], vec![8, 7]]);
            users.remove(7);
            assert_eq!([of(&users, 0), of(&users, 1)], [vec![], vec![8]]);
            users.remove(8);
        }
        assert_eq!(users.nodes.len(), 4);
    }

    #[test]
    fn a_number_that_is_no_descriptor_takes_no_room() {
        let mut users = Users::default();
        users.add(0, -1);
        users.add(0, i32::MAX);
        assert_eq!(users.first.len(), 0);
        users.add(0, 0);
        users.add(0, i32::MAX);
        assert_eq!(users.first.len(), UNASKED);
        assert_eq!(of(&users, -1), [0; 0]);
        assert_eq!(of(&users, i32::MAX), [0; 0]);
    }
}

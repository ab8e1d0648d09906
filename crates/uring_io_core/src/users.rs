//! Which slots of the in-flight table use each descriptor.
//!
//! A close needs to know, because it first ends all operations on the descriptor. Each descriptor has a linked list
//! through the slots, so that adding a slot costs a few stores and no allocation.

use std::os::fd::RawFd;

use crate::descriptor::is_open;

/// A node says that a slot uses a descriptor. It is in the list of the descriptor and in the list of the slot.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// The descriptor; -1 for none.
    fd: RawFd,
    slot: u32,
    /// The neighbours in the list of the descriptor; `NONE` at the ends.
    before: u32,
    after: u32,
    /// The next node of the slot, or the next free node.
    next: u32,
}

const NONE: u32 = u32::MAX;
const FREE: Node = Node {
    fd: -1,
    slot: 0,
    before: NONE,
    after: NONE,
    next: NONE,
};

/// Numbers of nodes in `more` begin here.
const MORE: u32 = 1 << 31;

/// `first` has room for descriptors below this number without checking whether they are open.
const UNASKED: usize = 1024;

/// The lists of all descriptors and slots.
#[derive(Debug)]
pub(crate) struct Users {
    /// The number of the first node of each descriptor, by descriptor. It stays short, because the kernel gives out the
    /// lowest free numbers.
    first: Vec<u32>,
    /// The first node of each slot, by slot.
    nodes: Vec<Node>,
    /// The further nodes of slots with several descriptors, and the number of the first free one.
    more: Vec<Node>,
    free: u32,
}

impl Default for Users {
    fn default() -> Self {
        Self {
            first: Vec::new(),
            nodes: Vec::new(),
            more: Vec::new(),
            free: NONE,
        }
    }
}

impl Users {
    /// Notes that a slot uses a descriptor. Ignores a number that is no descriptor: making room for it could take more
    /// memory than there is.
    pub fn add(&mut self, slot: usize, fd: RawFd) {
        if fd as usize >= self.first.len() && !self.make_room(fd) {
            return;
        }
        if slot >= self.nodes.len() {
            self.nodes.resize((slot + 1).next_power_of_two(), FREE);
        }
        let (node, first) = (&mut self.nodes[slot], &mut self.first[fd as usize]);
        if node.fd < 0 && *first == NONE {
            // The usual case.
            *first = slot as u32;
            node.fd = fd;
            node.slot = slot as u32;
            return;
        }
        self.add_more(slot, fd);
    }

    fn add_more(&mut self, slot: usize, fd: RawFd) {
        let place = if self.nodes[slot].fd < 0 {
            slot as u32
        } else if self.of_slot(slot).any(|node| node.fd == fd) {
            // A stream that starts again uses the same descriptor.
            return;
        } else {
            self.another()
        };
        let after = std::mem::replace(&mut self.first[fd as usize], place);
        let next = if place < MORE {
            NONE
        } else {
            std::mem::replace(&mut self.nodes[slot].next, place)
        };
        *self.node(place) = Node {
            fd,
            slot: slot as u32,
            before: NONE,
            after,
            next,
        };
        if after != NONE {
            self.node(after).before = place;
        }
    }

    /// Forgets all descriptors of a slot.
    pub fn remove(&mut self, slot: usize) {
        let Some(node) = self.nodes.get_mut(slot).filter(|node| node.fd >= 0) else {
            return;
        };
        if node.before & node.after & node.next == NONE {
            // The usual case.
            self.first[node.fd as usize] = NONE;
            node.fd = FREE.fd;
            return;
        }
        self.remove_all(slot);
    }

    fn remove_all(&mut self, slot: usize) {
        let mut place = slot as u32;
        while place != NONE {
            let Node {
                fd,
                before,
                after,
                next,
                ..
            } = std::mem::replace(self.node(place), FREE);
            if before == NONE {
                self.first[fd as usize] = after;
            } else {
                self.node(before).after = after;
            }
            if after != NONE {
                self.node(after).before = before;
            }
            if place >= MORE {
                self.node(place).next = std::mem::replace(&mut self.free, place);
            }
            place = next;
        }
    }

    /// The slots that use a descriptor, the latest first.
    pub fn of(&self, fd: RawFd) -> impl Iterator<Item = usize> + '_ {
        let number = usize::try_from(fd).ok();
        let first = number.and_then(|number| self.first.get(number).copied());
        let nodes = self.follow(first.unwrap_or(NONE), |node| node.after);
        nodes.map(|node| node.slot as usize)
    }

    /// The descriptors that a slot uses.
    pub fn descriptors(&self, slot: usize) -> impl Iterator<Item = RawFd> + '_ {
        let known = if slot < self.nodes.len() {
            slot as u32
        } else {
            NONE
        };
        let nodes = self.follow(known, |node| node.next);
        nodes.map(|node| node.fd).filter(|fd| *fd >= 0)
    }

    /// Makes room for this descriptor. False when it is no descriptor.
    #[cold]
    fn make_room(&mut self, fd: RawFd) -> bool {
        let Ok(number) = usize::try_from(fd) else {
            return false;
        };
        if number >= UNASKED && !is_open(fd) {
            return false;
        }
        let numbers = (number + 1).next_power_of_two();
        self.first.resize(numbers.max(UNASKED), NONE);
        true
    }

    /// A free node for one more descriptor of a slot.
    #[cold]
    fn another(&mut self) -> u32 {
        if self.free == NONE {
            self.more.push(FREE);
            return MORE + (self.more.len() - 1) as u32;
        }
        let place = self.free;
        self.free = self.node(place).next;
        place
    }

    fn of_slot(&self, slot: usize) -> impl Iterator<Item = &Node> {
        self.follow(slot as u32, |node| node.next)
    }

    fn follow(&self, mut place: u32, next: fn(&Node) -> u32) -> impl Iterator<Item = &Node> {
        std::iter::from_fn(move || {
            if place == NONE {
                return None;
            }
            let node = if place < MORE {
                &self.nodes[place as usize]
            } else {
                &self.more[(place - MORE) as usize]
            };
            place = next(node);
            Some(node)
        })
    }

    fn node(&mut self, place: u32) -> &mut Node {
        if place < MORE {
            &mut self.nodes[place as usize]
        } else {
            &mut self.more[(place - MORE) as usize]
        }
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
        assert_eq!(users.more.len(), 2);
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

//! Knows which filters of a kqueue(2) are armed for each descriptor.
//!
//! The name of a filter is the poll(2) event that it stands for, and the kernel is a closure. So every system
//! compiles and tests this file, although only the kqueue backend uses it.

use std::os::fd::RawFd;

use crate::error::{Error, Result};

/// A filter for input, and one for output.
const FILTERS: [i16; 2] = [libc::POLLIN, libc::POLLOUT];

/// The errors of kevent(2) for a filter that would have nothing to wait for: kinds of files without such a filter
/// (`EINVAL`, `ENODEV`, `ENOTSUP`), and a pipe whose reader is gone (`EPIPE`).
const ALWAYS_READY: [i32; 4] = [libc::EINVAL, libc::ENODEV, libc::ENOTSUP, libc::EPIPE];

/// A change of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Arms the filter, so that it reports once.
    Arm,
    /// Keeps an armed filter. The kernel answers `ENOENT` when the filter is gone.
    Keep,
    /// Deletes an armed filter that nobody waits for any longer. The kernel answers `ENOENT` when the filter is gone.
    Delete,
}

/// The filters of each descriptor, by its number.
#[derive(Default)]
pub(super) struct Filters {
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Default)]
struct Entry {
    /// The filters that are armed and have not reported. The kernel drops them when somebody closes the descriptor,
    /// so this is a guess: `watch` corrects it.
    armed: i16,
    /// How often `watch` found that the kernel had dropped filters. Events carry this number as their mark.
    count: u32,
}

impl Filters {
    /// Arms the filters that `events` ask for, and deletes others. `change` makes one change in the kernel, and its
    /// last argument is the mark for the events of the filter. Returns whether an armed filter was gone: the
    /// descriptor then belongs to another file now.
    ///
    /// Fails with `EPERM`, as epoll_ctl(2) does, for a file that nobody can wait for.
    pub fn watch(
        &mut self,
        fd: RawFd,
        events: i16,
        mut change: impl FnMut(i16, Change, u32) -> Result<()>,
    ) -> Result<bool> {
        let number = fd as usize;
        if number >= self.entries.len() {
            self.entries.resize(number + 1, Entry::default());
        }
        let entry = &mut self.entries[number];
        let mut is_new = false;
        // The armed filters come first: when one of them is gone, the mark of all others changes.
        for filter in of(entry.armed) {
            let is_wanted = events & filter != 0;
            let how = if is_wanted {
                Change::Keep
            } else {
                Change::Delete
            };
            let changed = change(filter, how, entry.count);
            if changed.is_err() || !is_wanted {
                entry.armed &= !filter;
            }
            match changed {
                Err(error) if error.errno == libc::ENOENT => is_new = true,
                changed => changed?,
            }
        }
        if is_new {
            entry.armed = 0;
            entry.count = entry.count.wrapping_add(1);
        }
        for filter in of(events & !entry.armed) {
            match change(filter, Change::Arm, entry.count) {
                Err(error) if ALWAYS_READY.contains(&error.errno) => {
                    return Err(Error::new(error.call, libc::EPERM));
                }
                changed => changed?,
            }
            entry.armed |= filter;
        }
        Ok(is_new)
    }

    /// Notes that a filter has reported, with an event of this mark. Returns the poll(2) events that it found, or
    /// none when the event is of a file that had the number earlier.
    pub fn reported(&mut self, fd: RawFd, filter: i16, has_error: bool, mark: u32) -> i16 {
        match self.entries.get_mut(fd as usize) {
            Some(entry) if entry.count == mark => {
                entry.armed &= !filter;
                filter | if has_error { libc::POLLERR } else { 0 }
            }
            _ => 0,
        }
    }
}

/// The filters for these events.
fn of(events: i16) -> impl Iterator<Item = i16> {
    FILTERS
        .into_iter()
        .filter(move |filter| events & filter != 0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use libc::{POLLERR, POLLIN, POLLOUT};

    use super::*;

    const FD: RawFd = 5;

    /// The kernel's side of one descriptor: its filters with their marks, and the changes that it got.
    #[derive(Default)]
    struct Kernel {
        armed: BTreeMap<i16, u32>,
        changes: Vec<(i16, Change)>,
        refused: Option<(i16, i32)>,
    }

    impl Kernel {
        fn change(&mut self, filter: i16, change: Change, mark: u32) -> Result<()> {
            self.changes.push((filter, change));
            if let Some((_, errno)) = self.refused.filter(|(refused, _)| *refused == filter) {
                return Err(Error::new("kevent", errno));
            }
            if change != Change::Arm && !self.armed.contains_key(&filter) {
                return Err(Error::new("kevent", libc::ENOENT));
            }
            match change {
                Change::Delete => self.armed.remove(&filter),
                Change::Arm | Change::Keep => self.armed.insert(filter, mark),
            };
            Ok(())
        }

        /// Reports one filter, and disables it.
        fn report(&mut self, filters: &mut Filters, filter: i16) -> i16 {
            let mark = self.armed.remove(&filter).expect("it is armed");
            filters.reported(FD, filter, false, mark)
        }
    }

    fn watch(filters: &mut Filters, kernel: &mut Kernel, events: i16) -> Result<bool> {
        kernel.changes.clear();
        filters.watch(FD, events, |filter, change, mark| {
            kernel.change(filter, change, mark)
        })
    }

    #[test]
    fn a_filter_reports_once_and_is_armed_again() {
        let (mut filters, mut kernel) = <(Filters, Kernel)>::default();
        for _ in 0..3 {
            assert_eq!(watch(&mut filters, &mut kernel, POLLIN), Ok(false));
            assert_eq!(kernel.changes, [(POLLIN, Change::Arm)]);
            assert_eq!(kernel.report(&mut filters, POLLIN), POLLIN);
        }
    }

    #[test]
    fn both_directions_are_filters_of_their_own() {
        let (mut filters, mut kernel) = <(Filters, Kernel)>::default();
        let both = POLLIN | POLLOUT;
        assert_eq!(watch(&mut filters, &mut kernel, both), Ok(false));
        assert_eq!(kernel.report(&mut filters, POLLOUT), POLLOUT);
        assert_eq!(watch(&mut filters, &mut kernel, both), Ok(false));
        let changes = [(POLLIN, Change::Keep), (POLLOUT, Change::Arm)];
        assert_eq!(kernel.changes, changes);
        assert_eq!(kernel.report(&mut filters, POLLIN), POLLIN);
        assert_eq!(kernel.report(&mut filters, POLLOUT), POLLOUT);
    }

    #[test]
    fn what_nobody_waits_for_any_longer_is_deleted() {
        let (mut filters, mut kernel) = <(Filters, Kernel)>::default();
        assert_eq!(watch(&mut filters, &mut kernel, POLLIN), Ok(false));
        assert_eq!(watch(&mut filters, &mut kernel, POLLOUT), Ok(false));
        let changes = [(POLLIN, Change::Delete), (POLLOUT, Change::Arm)];
        assert_eq!(kernel.changes, changes);
        assert!(kernel.armed.keys().eq(&[POLLOUT]));
    }

    #[test]
    fn a_number_that_became_another_files_while_it_was_watched_is_noticed_by_either_filter() {
        for (watched, wanted) in [
            (POLLIN, POLLIN),
            (POLLIN, POLLOUT),
            (POLLOUT, POLLIN | POLLOUT),
            (POLLIN | POLLOUT, POLLIN | POLLOUT),
        ] {
            let (mut filters, mut kernel) = <(Filters, Kernel)>::default();
            assert_eq!(watch(&mut filters, &mut kernel, watched), Ok(false));
            kernel.armed.clear(); // as a close does
            assert_eq!(watch(&mut filters, &mut kernel, wanted), Ok(true));
            assert_eq!(watch(&mut filters, &mut kernel, wanted), Ok(false));
            for filter in of(wanted) {
                assert_eq!(kernel.report(&mut filters, filter), filter);
            }
        }
    }

    #[test]
    fn a_filter_that_stayed_while_the_other_went_is_marked_anew() {
        let (mut filters, mut kernel) = <(Filters, Kernel)>::default();
        let both = POLLIN | POLLOUT;
        assert_eq!(watch(&mut filters, &mut kernel, both), Ok(false));
        kernel.armed.remove(&POLLOUT);
        assert_eq!(watch(&mut filters, &mut kernel, both), Ok(true));
        assert_eq!(kernel.report(&mut filters, POLLIN), POLLIN);
        assert_eq!(kernel.report(&mut filters, POLLOUT), POLLOUT);
    }

    #[test]
    fn a_number_that_became_another_files_between_two_waits_is_no_news() {
        let (mut filters, mut kernel) = <(Filters, Kernel)>::default();
        assert_eq!(watch(&mut filters, &mut kernel, POLLIN), Ok(false));
        kernel.report(&mut filters, POLLIN);
        kernel.armed.clear();
        assert_eq!(watch(&mut filters, &mut kernel, POLLIN), Ok(false));
    }

    #[test]
    fn an_event_of_an_earlier_file_finds_nobody() {
        let (mut filters, mut kernel) = <(Filters, Kernel)>::default();
        assert_eq!(watch(&mut filters, &mut kernel, POLLIN), Ok(false));
        let earlier = kernel.armed.remove(&POLLIN).unwrap();
        assert_eq!(watch(&mut filters, &mut kernel, POLLIN), Ok(true));
        assert_eq!(filters.reported(FD, POLLIN, false, earlier), 0);
        assert_eq!(filters.reported(FD + 1, POLLIN, false, earlier), 0);
        assert_eq!(kernel.report(&mut filters, POLLIN), POLLIN);
    }

    #[test]
    fn an_error_is_told_with_the_event() {
        let (mut filters, mut kernel) = <(Filters, Kernel)>::default();
        assert_eq!(watch(&mut filters, &mut kernel, POLLOUT), Ok(false));
        let found = filters.reported(FD, POLLOUT, true, kernel.armed[&POLLOUT]);
        assert_eq!(found, POLLOUT | POLLERR);
    }

    #[test]
    fn files_that_cannot_be_waited_for_are_refused_as_by_epoll() {
        for errno in ALWAYS_READY {
            let (mut filters, mut kernel) = <(Filters, Kernel)>::default();
            kernel.refused = Some((POLLOUT, errno));
            let refused = watch(&mut filters, &mut kernel, POLLIN | POLLOUT);
            assert_eq!(refused.map_err(|error| error.errno), Err(libc::EPERM));
            assert_eq!(kernel.report(&mut filters, POLLIN), POLLIN);
        }
    }

    #[test]
    fn another_error_is_told_and_what_was_armed_is_armed_again() {
        let (mut filters, mut kernel) = <(Filters, Kernel)>::default();
        assert_eq!(watch(&mut filters, &mut kernel, POLLIN), Ok(false));
        kernel.refused = Some((POLLIN, libc::EBADF));
        let refused = watch(&mut filters, &mut kernel, POLLIN);
        assert_eq!(refused, Err(Error::new("kevent", libc::EBADF)));
        kernel.refused = None;
        assert_eq!(watch(&mut filters, &mut kernel, POLLIN), Ok(false));
        assert_eq!(kernel.changes, [(POLLIN, Change::Arm)]);
    }
}

//! One thread in select(2): each call hands over the set of all descriptors, and the server then searches all of it.

use std::os::fd::{AsRawFd, OwnedFd};

use super::answer::{answer, words};
use super::meter::Meter;
use crate::error::{Error, Result};
use crate::posix::{select, DescriptorSet};

/// Serves until the client hangs up.
pub(super) fn serve(connections: &[OwnedFd], meter: &mut Meter) -> Result<()> {
    let numbers: Vec<_> = connections.iter().map(AsRawFd::as_raw_fd).collect();
    let count = numbers.iter().max().map_or(0, |most| most + 1);
    if count > DescriptorSet::SIZE {
        // Other threads have meanwhile taken numbers below `FD_SETSIZE`, so a connection got one above.
        return Err(Error::new("select", libc::EMFILE));
    }
    let mut all = DescriptorSet::new();
    for number in &numbers {
        all.insert(*number);
    }
    loop {
        // The kernel overwrites the sets with its answer.
        let mut sets = [all.clone(), DescriptorSet::new(), DescriptorSet::new()];
        let words = |found: &Result<usize>| words(numbers.len(), found);
        let found = meter.call("select", words, || select(count, &mut sets, None));
        match found {
            Err(error) if error.errno == libc::EINTR => continue,
            found => found?,
        };
        for number in &numbers {
            if sets[0].contains(*number) && !answer(*number, meter)? {
                return Ok(());
            }
        }
    }
}

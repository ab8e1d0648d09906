//! One thread in select(2): it hands over the set of all descriptors each time, and looks through all of them after.

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
        // Other threads have opened what was left below that meanwhile.
        return Err(Error::new("select", libc::EMFILE));
    }
    let mut all = DescriptorSet::new();
    for number in &numbers {
        all.insert(*number);
    }
    loop {
        // The kernel writes its answer over the question.
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

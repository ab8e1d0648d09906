//! Restricts a ring to the operations that a scheduler submits itself (`IORING_REGISTER_RESTRICTIONS`, Linux 5.10).

use io_uring::register::Restriction;
use io_uring::IoUring;

use super::releases::Operations;
use crate::error::{Error, Result};

/// Makes the kernel answer `EACCES` to operations other than these, to all flags of entries (`IOSQE_*`), and to every
/// later registration; then enables the ring. Nobody can undo that.
///
/// The calling thread becomes the only one that may submit (`SINGLE_ISSUER`).
pub(super) fn restrict(ring: &IoUring, opcodes: &[u8], known: Operations) -> Result<()> {
    // From Linux 7.0 on, the kernel restricts register operations only when the list allows one of them. The next
    // call below makes this one, and an enabled ring refuses it.
    const ENABLE_RINGS: u8 = 12;
    // The kernel rejects a list with an operation that it does not know.
    let known = opcodes.iter().filter(|&&code| known.supports(code));
    let mut allowed: Vec<Restriction> = known.map(|&code| Restriction::sqe_op(code)).collect();
    allowed.push(Restriction::register_op(ENABLE_RINGS));
    let submitter = ring.submitter();
    submitter
        .register_restrictions(&mut allowed)
        .and_then(|()| submitter.register_enable_rings())
        .map_err(|error| Error::from_io("io_uring_register", &error))
}

#[cfg(test)]
mod tests {
    use std::io;

    use io_uring::{opcode, Probe};

    use super::*;
    use crate::ring_options::{Mask, Options};
    use crate::uring::releases::{OPERATIONS, RESTRICTIONS_SINCE};
    use crate::uring::setup::tests::{has_io_uring, kernel_has, PLAIN, POLLED, RELEASES};
    use crate::uring::setup::{create, probe};
    use crate::uring::submission::OPCODES;
    use crate::uring::trial::denied;

    /// A ring of these options, restricted to a scheduler's operations. None when the kernel has no restrictions.
    fn restricted(options: Options, test: &str) -> Option<(IoUring, Operations)> {
        if !has_io_uring(test) || !kernel_has(RESTRICTIONS_SINCE) {
            return None;
        }
        let options = Options {
            restrict: true,
            ..options
        };
        let ring = create(&options).unwrap();
        let operations = probe(&ring, &Mask::NOTHING).unwrap();
        restrict(&ring, &OPCODES, operations).unwrap();
        Some((ring, operations))
    }

    /// The kernel's answer to an entry of this operation and these flags. The entry's descriptor is invalid, and the
    /// rest of it is zeros.
    #[allow(unsafe_code)]
    fn answer(ring: &mut IoUring, code: u8, flags: u8) -> i32 {
        let mut bytes = [0_u8; 64];
        (bytes[0], bytes[1]) = (code, flags);
        bytes[4..8].fill(0xff);
        // SAFETY: an entry is the 64 bytes of `struct io_uring_sqe`, for which all values are valid, and
        // this one has no address that the kernel could use.
        let entry: io_uring::squeue::Entry = unsafe { std::mem::transmute(bytes) };
        // SAFETY: as above. Nothing has to stay valid until the completion.
        unsafe { ring.submission().push(&entry) }.unwrap();
        ring.submit_and_wait(1).unwrap();
        let completion = ring.completion().next().unwrap();
        completion.result()
    }

    #[test]
    fn a_restricted_ring_makes_the_operations_of_its_list_without_flags_and_no_other() {
        for options in [PLAIN, POLLED] {
            let Some((mut ring, operations)) = restricted(options, "a_restricted_ring") else {
                return;
            };
            for code in (0..128).filter(|&code| operations.supports(code)) {
                let said = answer(&mut ring, code, 0);
                // A newer kernel has operations without a name here. Some of them need entries of another size, which
                // the kernel checks first.
                let known = OPERATIONS.get(usize::from(code));
                let refused = said == -libc::EACCES || known.is_none() && said == -libc::EINVAL;
                assert_eq!(refused, !OPCODES.contains(&code), "{code}: {known:?}");
            }
            // A read can have every flag. The last one, CQE_SKIP, came with Linux 5.17.
            for bit in 0..7 {
                let said = answer(&mut ring, opcode::Read::CODE, 1 << bit);
                let unknown = bit == 6
                    && said == -libc::EINVAL
                    && !ring.params().is_feature_skip_cqe_on_success();
                assert!(said == -libc::EACCES || unknown, "flag {bit}: {said}");
            }
            denied(&mut ring, operations).unwrap();
        }
    }

    #[test]
    fn a_restricted_ring_registers_nothing_and_stays_restricted() {
        let Some((ring, _)) = restricted(PLAIN, "a_restricted_ring_registers_nothing") else {
            return;
        };
        let submitter = ring.submitter();
        let errno = |result: io::Result<()>| result.err().and_then(|error| error.raw_os_error());
        let refused = Some(libc::EACCES);
        assert_eq!(errno(submitter.register_files_sparse(1)), refused);
        assert_eq!(errno(submitter.register_buffers_sparse(1)), refused);
        assert_eq!(errno(submitter.register_probe(&mut Probe::new())), refused);
        assert_eq!(errno(submitter.register_restrictions(&mut [])), refused);
        assert_eq!(errno(submitter.register_enable_rings()), Some(libc::EBADFD));
    }

    #[test]
    fn every_step_of_the_ladder_can_be_restricted_where_the_kernel_can() {
        for (major, minor) in RELEASES.into_iter().take(5).chain([RESTRICTIONS_SINCE]) {
            let limits = Mask::linux(major, minor);
            let restricted = restricted(Options { limits, ..PLAIN }, "every_step");
            let Some((mut ring, operations)) = restricted else {
                return;
            };
            denied(&mut ring, operations).unwrap();
        }
        let restricted = Options {
            restrict: true,
            limits: Mask::linux(5, 9),
            ..PLAIN
        };
        let error = create(&restricted).err().unwrap();
        assert_eq!(error, Error::missing("io_uring_setup", (5, 10)));
    }
}

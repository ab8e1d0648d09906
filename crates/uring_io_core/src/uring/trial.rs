//! Finds out which operations of a scheduler the kernel refuses, by trying them on a ring that nobody uses yet.
//!
//! A process can be started with a filter that refuses single operations to its rings (from Linux 7.0 on: task
//! restrictions and cBPF, `IORING_REGISTER_RESTRICTIONS` and `IORING_REGISTER_BPF_FILTER` without a ring). The kernel
//! then answers `EACCES`, and `IORING_REGISTER_PROBE` does not show it.
#![allow(unsafe_code)]

use std::io;

use io_uring::squeue::Entry;
use io_uring::{opcode, types, IoUring};

use super::releases::{name_of, Operations};
use super::submission::OPCODES;
use crate::error::{Error, Result};
use crate::token::Token;

/// Operations that every scheduler needs: to replace refused operations by polls, to end operations, and to be woken.
const NEEDED: [u8; 3] = [
    opcode::PollAdd::CODE,
    opcode::AsyncCancel::CODE,
    opcode::Read::CODE,
];

/// An entry of this operation that has no effect: it has no valid descriptor.
fn entry(code: u8) -> Option<Entry> {
    const NONE: types::Fd = types::Fd(-1);
    let (room, bytes) = (std::ptr::null_mut(), std::ptr::null());
    Some(
        match code {
            opcode::Nop::CODE => opcode::Nop::new().build(),
            opcode::PollAdd::CODE => opcode::PollAdd::new(NONE, 0).build(),
            opcode::AsyncCancel::CODE => {
                opcode::AsyncCancel::new(Token::CANCEL.user_data()).build()
            }
            opcode::Read::CODE => opcode::Read::new(NONE, room, 0).build(),
            opcode::Write::CODE => opcode::Write::new(NONE, bytes, 0).build(),
            opcode::Send::CODE => opcode::Send::new(NONE, bytes, 0).build(),
            opcode::Recv::CODE => opcode::Recv::new(NONE, room, 0).build(),
            // This one waits for no change of any child.
            opcode::WaitId::CODE => opcode::WaitId::new(libc::P_ALL, 0, 0).build(),
            _ => return None,
        }
        .user_data(code.into()),
    )
}

/// Tries the operations of a scheduler that this kernel knows. Returns those that a filter refuses. Fails when one of
/// [`NEEDED`] is among them, or when the kernel takes no entries: a seccomp filter may allow `io_uring_setup` and
/// deny `io_uring_enter`.
///
/// Nobody may have submitted anything to this ring yet. When this fails, the caller must drop the ring.
pub(crate) fn denied(ring: &mut IoUring, known: Operations) -> Result<Operations> {
    let codes = OPCODES.iter().filter(|&&code| known.supports(code));
    let mut entries = codes.filter_map(|&code| entry(code)).peekable();
    let mut denied = 0;
    let mut left = 0;
    while left > 0 || entries.peek().is_some() {
        while let Some(entry) = entries.peek() {
            // SAFETY: the kernel uses no address of these entries: those that could have one fail for want of a
            // descriptor.
            if unsafe { ring.submission().push(entry) }.is_err() {
                break;
            }
            entries.next();
            left += 1;
        }
        // A polling thread may deliver a completion before it frees the entry. Then the queue can be full although
        // nothing is in flight, and a wait for a completion would never end.
        match ring.submit_and_wait(left.min(1)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                return Err(Error::from_io("io_uring_enter", &error));
            }
            // A signal can end the wait early, so only the completion queue tells how far the kernel has come.
            _ => {}
        }
        for completion in ring.completion() {
            left -= 1;
            if completion.result() == -libc::EACCES {
                denied |= 1 << completion.user_data();
            }
        }
    }
    let denied = Operations(denied);
    match NEEDED.iter().find(|&&code| denied.supports(code)) {
        Some(&code) => Err(Error::denied("io_uring_enter", name_of(code))),
        None => Ok(denied),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring_options::Options;
    use crate::uring::restriction::restrict;
    use crate::uring::setup::tests::{has_io_uring, kernel_has, PLAIN, POLLED};
    use crate::uring::setup::{create, probe};

    /// The result of a trial with a ring that refuses these operations. None when the kernel has no restrictions.
    fn trial(options: Options, refused: &[u8]) -> Option<Result<Operations>> {
        if !has_io_uring("a trial of operations") || !kernel_has((5, 13)) {
            return None;
        }
        let mut ring = create(&Options {
            restrict: true,
            ..options
        })
        .unwrap();
        let known = probe(&ring, &options.limits).unwrap();
        let allowed: Vec<u8> = OPCODES
            .into_iter()
            .filter(|code| !refused.contains(code))
            .collect();
        restrict(&ring, &allowed, known).unwrap();
        Some(denied(&mut ring, known))
    }

    #[test]
    fn every_operation_of_a_scheduler_is_tried() {
        assert!(OPCODES.iter().all(|&code| entry(code).is_some()));
    }

    #[test]
    fn a_trial_tells_which_operations_are_denied() {
        let small = Options {
            entries: 1,
            ..PLAIN
        };
        for options in [PLAIN, POLLED, small] {
            let none = trial(options.clone(), &[]);
            assert!(none.is_none_or(|told| told == Ok(Operations::default())));
            let both = [opcode::Recv::CODE, opcode::Send::CODE];
            let expected = Operations(both.iter().fold(0, |bits, code| bits | 1 << code));
            assert!(trial(options, &both).is_none_or(|told| told == Ok(expected)));
        }
    }

    #[test]
    fn a_trial_ends_when_a_polling_thread_frees_an_entry_after_its_completion() {
        if !has_io_uring("a trial beside a polling thread") {
            return;
        }
        // Several rings at once: this happens only when the processors are busy.
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let mut ring = create(&Options {
                            entries: 1,
                            ..POLLED
                        })
                        .unwrap();
                        let known = probe(&ring, &POLLED.limits).unwrap();
                        assert_eq!(denied(&mut ring, known), Ok(Operations::default()));
                    }
                });
            }
        });
    }

    #[test]
    fn a_ring_without_an_operation_that_nothing_works_without_is_none() {
        for (code, name) in [
            (opcode::Read::CODE, "read"),
            (opcode::PollAdd::CODE, "poll_add"),
        ] {
            let told = trial(PLAIN, &[code]);
            assert!(told.is_none_or(|told| told == Err(Error::denied("io_uring_enter", name))));
        }
    }
}

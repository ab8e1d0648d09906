//! Tests of what only a ring offers: chains, streams, direct descriptors, registered memory, sends without a copy.
#![cfg(target_os = "linux")]

mod parties;

use std::ffi::CString;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use parties::*;
use uring_io_core::{
    BackendKind, Call, Driver, Error, Lack, LentBuffer, Link, Mask, Memory, SharedMemory, Token,
    Wakeup,
};

/// An operation that is as old as direct descriptors, registered memory and `AcceptEach`, which the probe does not
/// report.
const LINUX_5_19: &str = "socket";
/// An operation that is as old as sends without a copy and `RecvEach`.
const LINUX_6_0: &str = "send_zc";
/// An operation that is as old as the commands for socket options.
const LINUX_6_7: &str = "waitid";

fn any_ring() -> Option<Closing> {
    ring(16, Mask::NOTHING)
}

fn file(content: &[u8]) -> (CString, std::path::PathBuf) {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let name = format!("uring_io-ring-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, content).unwrap();
    (CString::new(path.to_str().unwrap()).unwrap(), path)
}

/// Starts a chain and waits for all of it. Returns the results in order.
fn chain(driver: &Driver<u32>, calls: Vec<(Call, Link)>) -> Vec<i32> {
    let tokens: Vec<Token> = (0..calls.len())
        .map(|party| driver.park(party as u32))
        .collect();
    let calls = tokens.iter().zip(calls);
    let calls = calls.map(|(token, (call, link))| (*token, call, link));
    driver.chain(calls.collect()).unwrap();
    let mut results = vec![None; tokens.len()];
    while results.contains(&None) {
        let (party, Wakeup::Completed(result)) = next(driver) else {
            panic!("not completed")
        };
        results[party as usize] = Some(result);
    }
    for token in tokens {
        driver.leave(token);
    }
    results.into_iter().flatten().collect()
}

/// Opens a file, reads it, writes the bytes to `to`, and closes the file.
fn copy(path: CString, slot: u32, length: usize, to: RawFd, hard: bool) -> Vec<(Call, Link)> {
    let shared = Arc::new(SharedMemory::new(length).unwrap());
    let memory = || Memory::Shared(Arc::clone(&shared));
    let fd = slot as RawFd;
    let link = Link {
        hard,
        ..Link::default()
    };
    let direct = Link {
        direct: true,
        ..link
    };
    let open = Call::Open {
        directory: libc::AT_FDCWD,
        path,
        flags: libc::O_RDONLY | libc::O_CLOEXEC,
        mode: 0,
    };
    let read = Call::Read {
        fd,
        target: None,
        memory: memory(),
    };
    let write = Call::Write {
        fd: to,
        target: None,
        memory: memory(),
    };
    let into = Link {
        into: Some(slot),
        ..link
    };
    vec![
        (open, into),
        (read, direct),
        (write, link),
        (Call::Close { fd }, direct),
    ]
}

#[test]
fn a_chain_is_one_submission_whose_calls_hand_on_what_they_have() {
    let Some(driver) = any_ring() else { return };
    if driver.lacks(&[LINUX_5_19]) {
        return;
    }
    let (path, name) = file(b"0123456789");
    let (mut reader, writer) = pipe();
    let slot = driver.take_slots(1).unwrap()[0];
    let before = driver.stats();
    let results = chain(&driver, copy(path, slot, 10, fd(&writer), false));
    assert_eq!(results, [0, 10, 10, 0]);
    assert!(driver.stats().submissions - before.submissions <= 5);
    let mut bytes = [0; 10];
    reader.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"0123456789");
    driver.give_slots(&[slot], |_| false).unwrap();
    std::fs::remove_file(name).unwrap();
}

#[test]
fn a_short_read_breaks_a_chain_and_not_a_hard_one() {
    let Some(driver) = any_ring() else { return };
    if driver.lacks(&[LINUX_5_19]) {
        return;
    }
    let (path, name) = file(b"01234");
    let (_reader, writer) = pipe();
    let slot = driver.take_slots(1).unwrap()[0];
    let results = chain(&driver, copy(path.clone(), slot, 10, fd(&writer), false));
    assert_eq!(results, [0, 5, -libc::ECANCELED, -libc::ECANCELED]);
    driver.give_slots(&[slot], |_| true).unwrap();
    let slot = driver.take_slots(1).unwrap()[0];
    let results = chain(&driver, copy(path, slot, 10, fd(&writer), true));
    assert_eq!(results, [0, 5, 10, 0]);
    driver.give_slots(&[slot], |_| false).unwrap();
    std::fs::remove_file(name).unwrap();
}

#[test]
fn slots_are_taken_all_or_none_and_closed_when_they_are_given_back_open() {
    let Some(driver) = any_ring() else { return };
    if driver.lacks(&[LINUX_5_19]) {
        return;
    }
    let slots = driver.take_slots(3).unwrap();
    assert_eq!(
        driver.take_slots(1 << 20),
        Err(Error::new("direct descriptors", libc::ENFILE))
    );
    let (reader, mut writer) = sockets();
    drop(reader);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let accept = Call::Accept {
        fd: fd(&listener),
        flags: libc::SOCK_CLOEXEC,
    };
    let into = Link {
        into: Some(slots[0]),
        ..Link::default()
    };
    assert_eq!(chain(&driver, vec![(accept, into)]), [0]);
    driver.give_slots(&slots, |slot| slot == slots[0]).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    assert!(writer.write(&[0]).is_err());
}

/// The shots of a stream, until it has ended or `count` have come.
fn shots(driver: &Driver<u32>, token: Token, count: usize) -> Vec<(i32, Vec<u8>)> {
    let mut shots = Vec::new();
    while shots.len() < count {
        if let Some(shot) = driver.take_shot(token) {
            shots.push((shot.result, shot.bytes));
            continue;
        }
        if !driver.is_submitted(token) {
            break;
        }
        next(driver);
    }
    shots
}

#[test]
fn a_stream_brings_every_byte_in_order_and_the_end() {
    let Some(driver) = any_ring() else { return };
    if driver.lacks(&[LINUX_6_0]) {
        return;
    }
    let (reader, mut writer) = sockets();
    writer.set_nonblocking(false).unwrap();
    let receive = Call::RecvEach {
        fd: fd(&reader),
        flags: 0,
    };
    assert!(driver.can_stream(&receive));
    let token = driver.park(1);
    let call = |call| driver.call(token, call).unwrap();
    call(receive);
    let sending = std::thread::spawn(move || {
        for number in 0..1000_u32 {
            let line = number.to_ne_bytes();
            writer.write_all(&line.repeat(1000)).unwrap();
        }
    });
    let mut bytes = Vec::new();
    loop {
        for (result, shot) in shots(&driver, token, 1) {
            assert_eq!(result.max(0) as usize, shot.len());
            bytes.extend(shot);
        }
        if driver.is_submitted(token) {
            continue;
        }
        if bytes.len() == 4_000_000 {
            break;
        }
        // The stream has ended because all buffers were in use. The rest of the bytes is still in the socket.
        call(Call::RecvEach {
            fd: fd(&reader),
            flags: 0,
        });
    }
    sending.join().unwrap();
    let numbers = bytes.chunks_exact(4000).zip(0..1000_u32);
    for (chunk, number) in numbers {
        assert_eq!(chunk, number.to_ne_bytes().repeat(1000));
    }
    driver.leave(token);
}

#[test]
fn connections_that_nobody_takes_from_a_stream_are_closed() {
    let Some(driver) = any_ring() else { return };
    if driver.lacks(&[LINUX_5_19]) {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connect = || TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let token = driver.park(1);
    let accept = Call::AcceptEach {
        fd: fd(&listener),
        flags: libc::SOCK_CLOEXEC,
    };
    driver.call(token, accept).unwrap();
    let mut clients: Vec<TcpStream> = (0..3).map(|_| connect()).collect();
    let taken = shots(&driver, token, 1);
    let server = adopt(taken[0].0);
    work_until(&driver, || {
        driver.is_idle();
        driver.shots_waiting(token) == 2
    });
    driver.cancel(token).unwrap();
    driver.leave(token);
    work_until(&driver, || driver.is_idle());
    for client in &mut clients[1..] {
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
    drop(server);
    assert_eq!(clients[0].read(&mut [0]).unwrap(), 0);
    driver.close().unwrap();
}

#[allow(unsafe_code)]
fn lent(bytes: &mut [u8]) -> LentBuffer {
    // SAFETY: each test keeps the memory until it has taken the completion.
    unsafe { LentBuffer::new(bytes.as_mut_ptr(), bytes.len()) }
}

#[test]
fn registered_memory_is_read_into_and_written_from() {
    let Some(driver) = any_ring() else { return };
    if driver.lacks(&[LINUX_5_19]) {
        return;
    }
    let (path, name) = file(b"0123456789");
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(&name)
        .unwrap();
    let mut memory = vec![0; 4096];
    let index = driver.register(lent(&mut memory)).unwrap();
    let make = |call| {
        let token = driver.park(1);
        driver.call(token, call).unwrap();
        let (_, wakeup) = next(&driver);
        driver.leave(token);
        wakeup
    };
    let read = make(Call::ReadFixed {
        fd: file.as_raw_fd(),
        offset: Some(2),
        buffer: lent(&mut memory[100..104]),
        index,
    });
    assert_eq!(
        (read, &memory[99..105]),
        (Wakeup::Completed(4), &b"\x002345\0"[..])
    );
    let written = make(Call::WriteFixed {
        fd: file.as_raw_fd(),
        offset: Some(0),
        buffer: lent(&mut memory[100..103]),
        index,
    });
    assert_eq!(written, Wakeup::Completed(3));
    assert_eq!(std::fs::read(&name).unwrap(), b"2343456789");
    driver.unregister(index).unwrap();
    let outside = make(Call::ReadFixed {
        fd: file.as_raw_fd(),
        offset: Some(0),
        buffer: lent(&mut memory[..4]),
        index,
    });
    assert_eq!(outside, Wakeup::Completed(-libc::EFAULT));
    drop(path);
    std::fs::remove_file(name).unwrap();
}

#[test]
fn what_is_sent_without_a_copy_is_released_after_its_party_left() {
    let Some(driver) = any_ring() else { return };
    if driver.lacks(&[LINUX_6_0]) {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let mut memory = vec![7; 1 << 16];
    let token = driver.park(1);
    let send = Call::SendZeroCopy {
        fd: fd(&client),
        buffer: lent(&mut memory),
        flags: libc::MSG_WAITALL,
    };
    driver.call(token, send).unwrap();
    assert_eq!(next(&driver), (1, Wakeup::Completed(1 << 16)));
    let was_in_use = driver.is_submitted(token);
    driver.leave(token);
    let mut bytes = vec![0; 1 << 16];
    server.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, memory);
    work_until(&driver, || !driver.lends());
    assert!(driver.is_idle());
    assert_eq!(driver.take_released(), vec![token; usize::from(was_in_use)]);
}

#[test]
fn what_a_kernel_lacks_is_said_with_the_first_one_that_has_it() {
    let Some(driver) = ring(8, Mask::linux(5, 15)) else {
        return;
    };
    let token = driver.park(1);
    let socket = Call::Socket {
        domain: libc::AF_INET,
        kind: libc::SOCK_STREAM,
        protocol: 0,
    };
    let refused = driver.call(token, socket).unwrap_err();
    assert_eq!(
        (refused.call, refused.lack),
        ("socket", Some(Lack::Kernel(5, 19)))
    );
    driver.leave(token);
    let stream = Call::RecvEach { fd: 0, flags: 0 };
    assert!(!driver.can_stream(&stream));
}

#[test]
fn a_wait_for_several_completions_is_one_system_call() {
    let Some(driver) = any_ring() else { return };
    let (path, name) = file(b"x");
    for _ in 0..2 {
        let before = driver.stats().enters;
        let tokens: Vec<Token> = (0..10).map(|party| driver.park(party)).collect();
        for token in &tokens {
            let stat = Call::Stat {
                directory: libc::AT_FDCWD,
                path: path.clone(),
                flags: 0,
                mask: libc::STATX_SIZE,
                found: Box::new(uring_io_core::empty_status()),
            };
            driver.call(*token, stat).unwrap();
        }
        driver.want(10);
        driver.wait(None).unwrap();
        // The kernel's own worker threads made these calls, so the test sets no limit for their time.
        assert!(driver.stats().enters - before == 1);
        for _ in &tokens {
            next(&driver);
        }
        for token in tokens {
            driver.leave(token);
        }
    }
    std::fs::remove_file(name).unwrap();
}

#[test]
fn the_end_of_a_time_is_a_success_in_a_chain() {
    let Some(driver) = any_ring() else { return };
    let length = std::time::Duration::from_millis(1);
    let timeout = Call::Timeout {
        length: Box::new(length.into()),
    };
    if driver.lacks(&["cqe_skip"]) {
        assert!(driver.chain_must_look(&timeout));
        return;
    }
    let link = Link::default();
    let results = chain(&driver, vec![(timeout, link), (Call::Nop, link)]);
    assert_eq!(results, [-libc::ETIME, 0]);
}

/// The path of the file that the process has open under a number.
fn behind(number: RawFd) -> Option<std::path::PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{number}")).ok()
}

#[test]
fn what_a_chain_opens_is_no_descriptor_of_the_process() {
    let Some(driver) = any_ring() else { return };
    if driver.lacks(&[LINUX_5_19]) {
        return;
    }
    let before = behind(0);
    let slot = driver.take_slots(1).unwrap()[0];
    let open = || Call::Open {
        directory: libc::AT_FDCWD,
        path: CString::new("/").unwrap(),
        flags: libc::O_RDONLY | libc::O_CLOEXEC,
        mode: 0,
    };
    let link = Link {
        into: Some(slot),
        ..Link::default()
    };
    // The party leaves before the open has completed, and after it.
    for leaves_early in [true, false] {
        let token = driver.park(1);
        driver.chain(vec![(token, open(), link)]).unwrap();
        if leaves_early {
            driver.leave(token);
        }
        work_until(&driver, || driver.is_idle());
        driver.leave(token);
        driver.give_slots(&[slot], |_| true).unwrap();
        assert_eq!(driver.take_slots(1), Ok(vec![slot]));
    }
    assert!(before.is_some(), "this test needs a standard input");
    assert_eq!(behind(0), before);
}

#[test]
fn calls_on_direct_descriptors_are_not_those_of_the_process_that_have_the_number() {
    let Some(driver) = any_ring() else { return };
    if driver.lacks(&[LINUX_5_19]) {
        return;
    }
    let slot = driver.take_slots(1).unwrap()[0];
    let (path, name) = file(b"");
    let (reader, _writer) = pipe();
    let open = Call::Open {
        directory: libc::AT_FDCWD,
        path,
        flags: libc::O_RDONLY | libc::O_CLOEXEC,
        mode: 0,
    };
    let into = Link {
        into: Some(slot),
        ..Link::default()
    };
    let direct = Link {
        direct: true,
        ..Link::default()
    };
    let read = |fd| Call::Read {
        fd,
        target: None,
        memory: Memory::Owned(vec![0; 1]),
    };
    let tokens: Vec<Token> = (0..3).map(|party| driver.park(party)).collect();
    let calls = [
        (open, into),
        (read(fd(&reader)), Link::default()),
        (read(slot as RawFd), direct),
    ];
    let calls = tokens.iter().zip(calls);
    driver
        .chain(
            calls
                .map(|(token, (call, link))| (*token, call, link))
                .collect(),
        )
        .unwrap();
    assert_eq!(driver.cancel_on(slot as RawFd), Ok(0));
    let mut results = Vec::new();
    while results.len() < 3 {
        // A call that begins after a cancellation does not know of it.
        driver.cancel_on(fd(&reader)).unwrap();
        results.extend(next_within(&driver, std::time::Duration::from_millis(5)));
    }
    results.sort_by_key(|(party, _)| *party);
    let (opened, cancelled) = (Wakeup::Completed(0), Wakeup::Completed(-libc::ECANCELED));
    // A worker thread of the kernel may have begun to read.
    let interrupted = Wakeup::Completed(-libc::EINTR);
    let ended = results[1].1;
    assert_eq!(results, [(0, opened), (1, ended), (2, cancelled)]);
    assert!(ended == cancelled || ended == interrupted, "{ended:?}");
    tokens.into_iter().for_each(|token| {
        driver.leave(token);
    });
    driver.give_slots(&[slot], |_| true).unwrap();
    std::fs::remove_file(name).unwrap();
}

#[test]
fn the_kernel_goes_on_after_failures_that_it_does_not_notice_and_after_no_others() {
    let Some(driver) = any_ring() else { return };
    let missing = || CString::new("/nowhere/at/all").unwrap();
    let at = libc::AT_FDCWD;
    let mut failing = vec![
        Call::Unlink {
            directory: at,
            path: missing(),
            flags: 0,
        },
        Call::Rename {
            from: (at, missing()),
            to: (at, missing()),
            flags: 0,
        },
        Call::Open {
            directory: at,
            path: missing(),
            flags: libc::O_RDONLY,
            mode: 0,
        },
        Call::Close { fd: -1 },
        Call::Recv {
            fd: -1,
            memory: Memory::Owned(vec![0; 1]),
            flags: 0,
            done: 0,
        },
    ];
    if !driver.lacks(&["mkdirat"]) {
        failing.push(Call::MakeDirectory {
            directory: at,
            path: missing(),
            mode: 0o700,
        });
    }
    for call in failing {
        let (name, unnoticed) = (call.name(), call.fails_unnoticed());
        let link = Link::default();
        let results = chain(&driver, vec![(call, link), (Call::Nop, link)]);
        assert!(results[0] < 0, "{name}: {results:?}");
        // A newer kernel may notice more failures, but not fewer.
        let goes_on = results[1] == 0;
        assert!(unnoticed || !goes_on, "{name}: {results:?}");
    }
}

#[test]
fn a_chain_with_a_call_that_the_kernel_lacks_leaves_nothing_behind() {
    const SOCKET: u32 = 45;
    let limits = Mask {
        operations: 1 << SOCKET,
        ..Mask::NOTHING
    };
    let Some(driver) = ring(16, limits) else {
        return;
    };
    let (path, name) = file(b"x");
    let socket = Call::Socket {
        domain: libc::AF_INET,
        kind: libc::SOCK_STREAM | libc::SOCK_CLOEXEC,
        protocol: 0,
    };
    let unlink = Call::Unlink {
        directory: libc::AT_FDCWD,
        path,
        flags: 0,
    };
    let tokens = [driver.park(8), driver.park(9)];
    let link = Link::default();
    let calls = vec![(tokens[0], unlink, link), (tokens[1], socket, link)];
    let refused = driver.chain(calls).unwrap_err();
    assert_eq!((refused.call, refused.lack.is_some()), ("socket", true));
    for token in tokens {
        driver.leave(token);
    }
    assert_eq!(
        chain(&driver, vec![(Call::Nop, link), (Call::Nop, link)]),
        [0, 0]
    );
    assert!(name.exists(), "nothing of it was done");
    std::fs::remove_file(name).unwrap();
}

#[test]
fn an_option_is_set_on_a_direct_descriptor_and_breaks_the_chain_when_it_fails() {
    let Some(driver) = any_ring() else { return };
    if driver.lacks(&[LINUX_6_7, "fixed_fd_install"]) {
        return;
    }
    let slot = driver.take_slots(1).unwrap()[0];
    let socket = Call::Socket {
        domain: libc::AF_INET,
        kind: libc::SOCK_DGRAM | libc::SOCK_CLOEXEC,
        protocol: 0,
    };
    let set = |option| Call::SetOption {
        fd: slot as RawFd,
        level: libc::SOL_SOCKET,
        option,
        value: Memory::Owned(1_i32.to_ne_bytes().to_vec()),
    };
    let into = Link {
        into: Some(slot),
        ..Link::default()
    };
    let direct = Link {
        direct: true,
        ..Link::default()
    };
    let install = Call::Install { fd: slot as RawFd };
    let calls = vec![
        (socket, into),
        (set(libc::SO_BROADCAST), direct),
        (install, direct),
    ];
    let results = chain(&driver, calls);
    let installed = std::net::UdpSocket::from(adopt(results[2]));
    assert_eq!(
        (&results[..2], installed.broadcast().unwrap()),
        (&[0, 0][..], true)
    );
    let results = chain(
        &driver,
        vec![(set(-1), direct), (Call::Nop, Link::default())],
    );
    assert_eq!(results, [-libc::ENOPROTOOPT, -libc::ECANCELED]);
    driver.give_slots(&[slot], |_| true).unwrap();
}

#[test]
fn options_are_missing_before_the_kernel_that_takes_them_though_it_takes_other_commands() {
    let Some(driver) = ring(16, Mask::linux(6, 6)) else {
        return;
    };
    let token = driver.park(1);
    let set = Call::SetOption {
        fd: -1,
        level: libc::SOL_SOCKET,
        option: libc::SO_BROADCAST,
        value: Memory::Owned(vec![0; 4]),
    };
    let refused = driver.call(token, set).unwrap_err();
    let lack = Some(Lack::Kernel(6, 7));
    assert_eq!((refused.call, refused.lack), ("setsockopt", lack));
    driver.leave(token);
}

#[test]
fn a_direct_descriptor_is_installed_as_one_of_the_process() {
    let Some(driver) = any_ring() else { return };
    if driver.lacks(&["fixed_fd_install"]) {
        return;
    }
    let slot = driver.take_slots(1).unwrap()[0];
    let (path, name) = file(b"content");
    let open = Call::Open {
        directory: libc::AT_FDCWD,
        path,
        flags: libc::O_RDONLY | libc::O_CLOEXEC,
        mode: 0,
    };
    let into = Link {
        into: Some(slot),
        ..Link::default()
    };
    let direct = Link {
        direct: true,
        ..Link::default()
    };
    let install = Call::Install { fd: slot as RawFd };
    let results = chain(&driver, vec![(open, into), (install, direct)]);
    let mut text = String::new();
    let mut installed = std::fs::File::from(adopt(results[1]));
    installed.read_to_string(&mut text).unwrap();
    assert_eq!((results[0], &*text), (0, "content"));
    driver.give_slots(&[slot], |_| true).unwrap();
    std::fs::remove_file(name).unwrap();
}

/// Bytes of memory that a forked child would not inherit, such as the buffers of streams.
fn unforked_bytes() -> usize {
    let (mut total, mut size) = (0, 0);
    for line in std::fs::read_to_string("/proc/self/smaps").unwrap().lines() {
        if let Some(kilobytes) = line.strip_prefix("Size:") {
            let digits = kilobytes.trim().trim_end_matches(" kB");
            size = digits.parse::<usize>().unwrap() * 1024;
        } else if line.starts_with("VmFlags:") && line.contains(" dc") {
            total += size;
        }
    }
    total
}

#[test]
fn a_ring_that_is_dropped_unclosed_gives_the_buffers_of_its_streams_back() {
    const RINGS: usize = 50;
    const GROUP: usize = 2 << 20;
    let before = unforked_bytes();
    for _ in 0..RINGS {
        let Ok(driver) = Driver::new(&options(BackendKind::IoUring, 8)) else {
            return;
        };
        let (reader, writer) = sockets();
        drop(writer);
        let receive = Call::RecvEach {
            fd: fd(&reader),
            flags: 0,
        };
        if !driver.can_stream(&receive) {
            return;
        }
        let token = driver.park(0);
        driver.call(token, receive).unwrap();
        // No wait here: it would leave a read of the waker in flight.
        while driver.take_shot(token).is_none() {
            driver.look().unwrap();
        }
    }
    // Other tests have rings with streams at the same time.
    assert!(unforked_bytes() < before + RINGS / 2 * GROUP);
}

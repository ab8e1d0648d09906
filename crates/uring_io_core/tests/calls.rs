//! Tests of calls, which bring their arguments along: the results are the same on each backend.

mod parties;

use std::ffi::CString;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use parties::*;
use uring_io_core::{
    empty_child, empty_status, Address, BackendKind, Call, Driver, Interest, LentBuffer, Memory,
    Message, OpenHow, Subject, Target, Vectors, Wakeup,
};

/// Makes a call, and returns its result and the call.
fn make(driver: &Driver<u32>, call: Call) -> (i32, Box<Call>) {
    let token = driver.park(1);
    driver.call(token, call).unwrap();
    let (_, wakeup) = next(driver);
    let Wakeup::Completed(result) = wakeup else {
        panic!("{wakeup:?}")
    };
    let call = driver.take_call(token).expect("the call is given back");
    driver.leave(token);
    (result, call)
}

fn result(driver: &Driver<u32>, call: Call) -> i32 {
    make(driver, call).0
}

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("uring_io-calls-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> CString {
        CString::new(self.0.join(name).to_str().unwrap()).unwrap()
    }

    fn file(&self, name: &str, content: &[u8]) -> CString {
        fs::write(self.0.join(name), content).unwrap();
        self.path(name)
    }

    fn has(&self, name: &str) -> bool {
        fs::symlink_metadata(self.0.join(name)).is_ok()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn open(path: CString, flags: i32) -> Call {
    Call::Open {
        directory: libc::AT_FDCWD,
        path,
        flags: flags | libc::O_CLOEXEC,
        mode: 0o640,
    }
}

const AT_START: Target = Target::File { offset: Some(0) };

#[test]
fn a_file_is_opened_written_read_asked_and_closed() {
    each_backend(|driver| {
        let folder = Folder::new();
        let fd = result(
            &driver,
            open(folder.path("a"), libc::O_RDWR | libc::O_CREAT),
        );
        assert!(fd >= 0);
        let memory = Memory::Owned(b"hello".to_vec());
        let write = Call::Write {
            fd,
            target: Some(AT_START),
            memory,
        };
        assert_eq!(result(&driver, write), 5);
        let (read, call) = make(
            &driver,
            Call::Read {
                fd,
                target: Some(Target::File { offset: Some(1) }),
                memory: Memory::Owned(vec![0; 10]),
            },
        );
        assert_eq!(read, 4);
        let Call::Read {
            memory: Memory::Owned(bytes),
            ..
        } = *call
        else {
            panic!()
        };
        assert_eq!(&bytes[..4], b"ello");
        let stat = Call::Stat {
            directory: libc::AT_FDCWD,
            path: folder.path("a"),
            flags: 0,
            mask: libc::STATX_SIZE,
            found: Box::new(empty_status()),
        };
        let (asked, call) = make(&driver, stat);
        assert_eq!(asked, 0);
        let Call::Stat { found, .. } = *call else {
            panic!()
        };
        assert_eq!(found.stx_size, 5);
        for data_only in [false, true] {
            assert_eq!(result(&driver, Call::Sync { fd, data_only }), 0);
        }
        if !driver.lacks(&["ftruncate"]) {
            assert_eq!(result(&driver, Call::Truncate { fd, length: 2 }), 0);
            assert_eq!(fs::read(folder.0.join("a")).unwrap(), b"he");
        }
        let grow = Call::Allocate {
            fd,
            mode: 0,
            offset: 0,
            length: 4096,
        };
        assert_eq!(result(&driver, grow), 0);
        assert_eq!(fs::metadata(folder.0.join("a")).unwrap().len(), 4096);
        let advise = Call::Advise {
            fd,
            offset: 0,
            length: 0,
            advice: libc::POSIX_FADV_DONTNEED,
        };
        assert_eq!(result(&driver, advise), 0);
        let sync = Call::SyncRange {
            fd,
            offset: 0,
            length: 0,
            flags: libc::SYNC_FILE_RANGE_WRITE,
        };
        assert_eq!(result(&driver, sync), 0);
        assert_eq!(result(&driver, Call::Close { fd }), 0);
        // Not the same number again: by now another test may have a descriptor with it.
        assert_eq!(result(&driver, Call::Close { fd: -1 }), -libc::EBADF);
    });
}

#[test]
fn names_are_made_changed_and_removed() {
    each_backend(|driver| {
        if driver.lacks(&["renameat", "mkdirat", "symlinkat", "linkat"]) {
            return;
        }
        let folder = Folder::new();
        let at = libc::AT_FDCWD;
        let make_directory = Call::MakeDirectory {
            directory: at,
            path: folder.path("d"),
            mode: 0o755,
        };
        assert_eq!(result(&driver, make_directory), 0);
        assert!(folder.0.join("d").is_dir());
        let from = (at, folder.file("a", b"x"));
        let to = (at, folder.path("b"));
        let rename = Call::Rename { from, to, flags: 0 };
        assert_eq!(result(&driver, rename), 0);
        assert!(!folder.has("a") && folder.has("b"));
        let link = Call::Link {
            from: (at, folder.path("b")),
            to: (at, folder.path("c")),
            flags: 0,
        };
        assert_eq!(result(&driver, link), 0);
        assert_eq!(fs::read(folder.0.join("c")).unwrap(), b"x");
        let symlink = Call::Symlink {
            target: CString::new("c").unwrap(),
            directory: at,
            path: folder.path("s"),
        };
        assert_eq!(result(&driver, symlink), 0);
        assert_eq!(fs::read_link(folder.0.join("s")).unwrap(), Path::new("c"));
        for (name, flags) in [("b", 0), ("c", 0), ("s", 0), ("d", libc::AT_REMOVEDIR)] {
            let unlink = Call::Unlink {
                directory: at,
                path: folder.path(name),
                flags,
            };
            assert_eq!(result(&driver, unlink), 0);
            assert!(!folder.has(name));
        }
    });
}

#[test]
fn a_failure_is_the_errno() {
    each_backend(|driver| {
        let folder = Folder::new();
        let missing = open(folder.path("missing"), libc::O_RDONLY);
        assert_eq!(result(&driver, missing), -libc::ENOENT);
        let unlink = Call::Unlink {
            directory: libc::AT_FDCWD,
            path: folder.path("missing"),
            flags: 0,
        };
        assert_eq!(result(&driver, unlink), -libc::ENOENT);
        let sync = Call::Sync {
            fd: -1,
            data_only: false,
        };
        assert_eq!(result(&driver, sync), -libc::EBADF);
        if !driver.lacks(&["ftruncate"]) {
            let truncate = Call::Truncate { fd: -1, length: 0 };
            assert_eq!(result(&driver, truncate), -libc::EBADF);
        }
        assert_eq!(result(&driver, Call::Nop), 0);
    });
}

fn address(of: &TcpListener) -> Address {
    let port = of.local_addr().unwrap().port();
    let mut bytes = vec![0; 16];
    bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
    bytes[2..4].copy_from_slice(&port.to_be_bytes());
    bytes[4..8].copy_from_slice(&[127, 0, 0, 1]);
    Address::from_bytes(&bytes).unwrap()
}

fn owned(fd: RawFd) -> OwnedFd {
    assert!(fd >= 0, "{fd}");
    adopt(fd)
}

#[test]
fn sockets_are_made_connected_accepted_and_used() {
    each_backend(|driver| {
        if driver.lacks(&["socket", "shutdown"]) {
            return;
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let accepting = driver.park(2);
        let accept = Call::Accept {
            fd: listener.as_raw_fd(),
            flags: libc::SOCK_CLOEXEC,
        };
        driver.call(accepting, accept).unwrap();
        let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
        let socket = Call::Socket {
            domain: libc::AF_INET,
            kind,
            protocol: 0,
        };
        let client = owned(result(&driver, socket));
        let connect = Call::Connect {
            fd: client.as_raw_fd(),
            address: address(&listener),
        };
        let connecting = driver.park(1);
        driver.call(connecting, connect).unwrap();
        let mut woken = [next(&driver), next(&driver)];
        woken.sort_by_key(|(party, _)| *party);
        let [(1, Wakeup::Completed(0)), (2, Wakeup::Completed(server))] = woken else {
            panic!("{woken:?}")
        };
        let server = owned(server);
        driver.leave(connecting);
        driver.leave(accepting);

        let receiving = driver.park(3);
        let recv = Call::Recv {
            fd: server.as_raw_fd(),
            memory: Memory::Owned(vec![0; 8]),
            flags: 0,
            done: 0,
        };
        driver.call(receiving, recv).unwrap();
        let send = Call::send(client.as_raw_fd(), Memory::Owned(b"ping".to_vec()), 0);
        let sending = driver.park(4);
        driver.call(sending, send).unwrap();
        let mut woken = [next(&driver), next(&driver)];
        woken.sort_by_key(|(party, _)| *party);
        assert_eq!(
            woken,
            [(3, Wakeup::Completed(4)), (4, Wakeup::Completed(4))]
        );
        driver.leave(sending);
        driver.leave(receiving);
        let shutdown = Call::Shutdown {
            fd: client.as_raw_fd(),
            how: libc::SHUT_WR,
        };
        assert_eq!(result(&driver, shutdown), 0);
        let end = Call::Recv {
            fd: server.as_raw_fd(),
            memory: Memory::Owned(vec![0; 8]),
            flags: 0,
            done: 0,
        };
        assert_eq!(result(&driver, end), 0);
    });
}

#[test]
fn a_refused_connection_says_so() {
    each_backend(|driver| {
        if driver.lacks(&["socket"]) {
            return;
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = address(&listener);
        drop(listener);
        let socket = Call::Socket {
            domain: libc::AF_INET,
            kind: libc::SOCK_STREAM | libc::SOCK_CLOEXEC,
            protocol: 0,
        };
        let client = owned(result(&driver, socket));
        let connect = Call::Connect {
            fd: client.as_raw_fd(),
            address,
        };
        assert_eq!(result(&driver, connect), -libc::ECONNREFUSED);
    });
}

#[test]
fn a_server_is_bound_and_listens() {
    each_backend(|driver| {
        if driver.lacks(&["socket", "bind", "listen"]) {
            return;
        }
        let probe = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = address(&probe);
        drop(probe);
        let socket = Call::Socket {
            domain: libc::AF_INET,
            kind: libc::SOCK_STREAM | libc::SOCK_CLOEXEC,
            protocol: 0,
        };
        let fd = result(&driver, socket);
        let listener = owned(fd);
        assert_eq!(result(&driver, Call::Bind { fd, address }), 0);
        assert_eq!(result(&driver, Call::Listen { fd, backlog: 1 }), 0);
        let listener = TcpListener::from(listener);
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_, peer) = listener.accept().unwrap();
        assert_eq!(client.local_addr().unwrap(), peer);
    });
}

#[test]
fn options_of_sockets_are_set() {
    each_backend(|driver| {
        if driver.lacks(&["waitid"]) {
            return; // The probe lists no commands. Those for socket options came with this operation.
        }
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let fd = socket.as_raw_fd();
        let set = |option, value| Call::SetOption {
            fd,
            level: libc::SOL_SOCKET,
            option,
            value,
        };
        let yes = 1_i32.to_ne_bytes();
        let broadcast = set(libc::SO_BROADCAST, Memory::Owned(yes.to_vec()));
        assert_eq!(result(&driver, broadcast), 0);
        assert!(socket.broadcast().unwrap());
        let mut no = 0_i32.to_ne_bytes();
        let lent = Memory::Lent(lent(&mut no));
        assert_eq!(result(&driver, set(libc::SO_BROADCAST, lent)), 0);
        assert!(!socket.broadcast().unwrap());
        let short = Memory::Owned(yes[..3].to_vec());
        assert_eq!(
            result(&driver, set(libc::SO_BROADCAST, short)),
            -libc::EINVAL
        );
        let unknown = set(-1, Memory::Owned(yes.to_vec()));
        assert_eq!(result(&driver, unknown), -libc::ENOPROTOOPT);
        assert!(!socket.broadcast().unwrap());
    });
}

#[test]
fn bytes_are_spliced_and_teed_between_pipes() {
    each_backend(|driver| {
        let folder = Folder::new();
        let file = fs::File::open(Path::new(folder.file("a", b"0123456789").to_str().unwrap()));
        let file = file.unwrap();
        let (first_reader, first_writer) = pipe();
        let (mut second_reader, second_writer) = pipe();
        let splice = Call::Splice {
            from: file.as_raw_fd(),
            from_offset: 2,
            to: first_writer.as_raw_fd(),
            to_offset: -1,
            length: 5,
            flags: 0,
        };
        assert_eq!(result(&driver, splice), 5);
        let tee = Call::Tee {
            from: first_reader.as_raw_fd(),
            to: second_writer.as_raw_fd(),
            length: 5,
            flags: 0,
        };
        assert_eq!(result(&driver, tee), 5);
        let mut bytes = [0; 5];
        second_reader.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"23456");
    });
}

#[test]
fn what_an_abandoned_call_opens_is_closed_again() {
    each_backend(|driver| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let accept = || Call::Accept {
            fd: listener.as_raw_fd(),
            flags: libc::SOCK_CLOEXEC,
        };
        let connect = || TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let left_early = driver.park(1);
        driver.call(left_early, accept()).unwrap();
        driver.leave(left_early);
        let mut first = connect();
        work_until(&driver, || driver.is_idle());
        assert_eq!(first.read(&mut [0]).unwrap(), 0);

        let mut second = connect();
        let left_late = driver.park(1);
        driver.call(left_late, accept()).unwrap();
        work_until(&driver, || driver.is_idle());
        driver.leave(left_late);
        assert_eq!(second.read(&mut [0]).unwrap(), 0);
    });
}

#[allow(unsafe_code)]
fn lent(bytes: &mut [u8]) -> LentBuffer {
    // SAFETY: each test keeps the memory until it has taken the completion.
    unsafe { LentBuffer::new(bytes.as_mut_ptr(), bytes.len()) }
}

#[test]
fn vectors_are_written_and_filled_one_after_the_other() {
    each_backend(|driver| {
        let folder = Folder::new();
        let fd = result(
            &driver,
            open(folder.path("a"), libc::O_RDWR | libc::O_CREAT),
        );
        let file = owned(fd);
        let (reader, writer) = pipe();
        let (receiver, sender) = sockets();
        let at = |offset| Some(Target::File { offset });
        for (from, to, target) in [
            (fd, fd, at(Some(0))),
            (reader.as_raw_fd(), writer.as_raw_fd(), None),
            (receiver.as_raw_fd(), sender.as_raw_fd(), None),
        ] {
            let mut lent_bytes = *b"cd";
            let vectors = Vectors::new(vec![
                Memory::Owned(b"ab".to_vec()),
                Memory::Lent(lent(&mut lent_bytes)),
                Memory::Owned(b"e".to_vec()),
            ]);
            let write = Call::WriteVectors {
                fd: to,
                target,
                vectors,
            };
            assert_eq!(result(&driver, write), 5);
            let mut first = [0; 3];
            let mut second = [b'.'; 4];
            let vectors = Vectors::new(vec![
                Memory::Lent(lent(&mut first)),
                Memory::Lent(lent(&mut second)),
            ]);
            let read = Call::ReadVectors {
                fd: from,
                target,
                vectors,
            };
            assert_eq!(result(&driver, read), 5);
            assert_eq!((&first, &second), (b"abc", b"de.."));
        }
        drop(file);
    });
}

#[test]
fn vectors_wait_for_what_comes_later() {
    each_backend(|driver| {
        let (reader, mut writer) = pipe();
        let mut bytes = [0; 4];
        let waiting = driver.park(7);
        let read = Call::ReadVectors {
            fd: reader.as_raw_fd(),
            target: None,
            vectors: Vectors::new(vec![Memory::Lent(lent(&mut bytes))]),
        };
        driver.call(waiting, read).unwrap();
        assert_eq!(result(&driver, Call::Nop), 0);
        writer.write_all(b"late").unwrap();
        assert_eq!(next(&driver), (7, Wakeup::Completed(4)));
        driver.leave(waiting);
        assert_eq!(&bytes, b"late");
    });
}

/// `SCM_RIGHTS` with these descriptors, as cmsg(3) lays it out.
fn rights(descriptors: &[RawFd]) -> Vec<u8> {
    let length = 16 + 4 * descriptors.len();
    let mut control = length.to_ne_bytes().to_vec();
    control.extend(libc::SOL_SOCKET.to_ne_bytes());
    control.extend(libc::SCM_RIGHTS.to_ne_bytes());
    descriptors
        .iter()
        .for_each(|fd| control.extend(fd.to_ne_bytes()));
    control.resize(length.next_multiple_of(8), 0);
    control
}

fn send_rights(driver: &Driver<u32>, fd: RawFd, descriptors: &[RawFd]) {
    let memory = Memory::Owned(b"x".to_vec());
    let message = Message::to_send(memory, None, &rights(descriptors));
    let send = Call::send_message(fd, Box::new(message), 0);
    assert_eq!(result(driver, send), 1);
}

fn receive_message(fd: RawFd, control: usize) -> Call {
    let message = Message::to_receive(Memory::Owned(vec![0; 8]), control);
    Call::ReceiveMessage {
        fd,
        message: Box::new(message),
        flags: 0,
    }
}

#[test]
fn messages_carry_descriptors() {
    each_backend(|driver| {
        let (receiver, sender) = sockets();
        let (mut reader, writer) = pipe();
        send_rights(&driver, sender.as_raw_fd(), &[writer.as_raw_fd(); 2]);
        let (length, call) = make(&driver, receive_message(receiver.as_raw_fd(), 64));
        let Call::ReceiveMessage { message, .. } = *call else {
            panic!()
        };
        let mut controls = Vec::new();
        message.each_control(|level, kind, data| controls.push((level, kind, data.len())));
        assert_eq!(
            (length, controls),
            (1, vec![(libc::SOL_SOCKET, libc::SCM_RIGHTS, 8)])
        );
        let passed: Vec<OwnedFd> = message.descriptors().into_iter().map(owned).collect();
        assert_eq!(passed.len(), 2);
        drop(writer);
        let mut through = fs::File::from(passed.into_iter().next_back().unwrap());
        through.write_all(b"through").unwrap();
        drop(through);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    });
}

#[test]
fn descriptors_of_a_message_that_nobody_takes_are_closed() {
    each_backend(|driver| {
        let (receiver, sender) = sockets();
        let (mut reader, writer) = pipe();
        let token = driver.park(3);
        driver
            .call(token, receive_message(receiver.as_raw_fd(), 64))
            .unwrap();
        send_rights(&driver, sender.as_raw_fd(), &[writer.as_raw_fd()]);
        work_until(&driver, || {
            driver.is_idle();
            driver.has_wakeup(token)
        });
        driver.leave(token);
        drop(writer);
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn a_message_says_who_has_sent_it_and_what_was_cut_off() {
    each_backend(|driver| {
        let receiver = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = |socket: &std::net::UdpSocket| socket.local_addr().unwrap().port();
        let mut bytes = vec![0; 16];
        bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
        bytes[2..4].copy_from_slice(&port(&receiver).to_be_bytes());
        bytes[4..8].copy_from_slice(&[127, 0, 0, 1]);
        let memory = Memory::Owned(b"more than eight".to_vec());
        let message = Message::to_send(memory, Address::from_bytes(&bytes), &[]);
        let send = Call::send_message(sender.as_raw_fd(), Box::new(message), 0);
        assert_eq!(result(&driver, send), 15);
        let (length, call) = make(&driver, receive_message(receiver.as_raw_fd(), 0));
        let Call::ReceiveMessage { message, .. } = *call else {
            panic!()
        };
        assert_eq!(
            (length, message.flags() & libc::MSG_TRUNC),
            (8, libc::MSG_TRUNC)
        );
        assert_eq!(message.address()[2..4], port(&sender).to_be_bytes());
    });
}

#[test]
fn what_must_not_wait_fails_in_place_of_that() {
    each_backend(|driver| {
        let (receiver, _sender) = sockets();
        let recv = Call::Recv {
            fd: receiver.as_raw_fd(),
            memory: Memory::Owned(vec![0; 8]),
            flags: libc::MSG_DONTWAIT,
            done: 0,
        };
        assert_eq!(result(&driver, recv), -libc::EAGAIN);
    });
}

#[test]
fn what_must_not_wait_for_the_rest_counts_what_it_has_moved() {
    const FLAGS: i32 = libc::MSG_WAITALL | libc::MSG_DONTWAIT;
    each_backend(|driver| {
        let (mut receiver, mut sender) = sockets();
        sender.write_all(b"ab").unwrap();
        let recv = || Call::recv(receiver.as_raw_fd(), Memory::Owned(vec![0; 4]), FLAGS);
        assert_eq!(result(&driver, recv()), 2);
        assert_eq!(result(&driver, recv()), -libc::EAGAIN);
        let large = Memory::Owned(vec![0; 10_000_000]);
        let sent = result(&driver, Call::send(sender.as_raw_fd(), large, FLAGS));
        sender.shutdown(Shutdown::Write).unwrap();
        let mut received = Vec::new();
        receiver.read_to_end(&mut received).unwrap();
        assert_eq!(received.len(), usize::try_from(sent).unwrap());
    });
}

#[test]
fn peeks_and_messages_are_not_filled_up() {
    each_backend(|driver| {
        let received = |fd, flags| {
            let memory = Memory::Owned(vec![0; 4]);
            result(&driver, Call::recv(fd, memory, flags | libc::MSG_WAITALL))
        };
        let (stream, mut peer) = sockets();
        peer.write_all(b"ab").unwrap();
        assert_eq!(received(stream.as_raw_fd(), libc::MSG_PEEK), 2);
        let (datagrams, peer) = std::os::unix::net::UnixDatagram::pair().unwrap();
        for message in [b"ab", b"cd"] {
            peer.send(message).unwrap();
        }
        for _ in 0..2 {
            assert_eq!(received(datagrams.as_raw_fd(), 0), 2);
        }
    });
}

#[test]
fn attributes_are_set_and_asked_for() {
    each_backend(|driver| {
        if driver.lacks(&["setxattr", "getxattr"]) {
            return;
        }
        let folder = Folder::new();
        let path = folder.file("a", b"x");
        let file = fs::File::open(folder.0.join("a")).unwrap();
        let name = || CString::new("user.test").unwrap();
        let set = |subject, flags| Call::SetAttribute {
            subject,
            name: name(),
            value: Memory::Owned(b"value".to_vec()),
            flags,
        };
        let set_new = result(
            &driver,
            set(Subject::Path(path.clone()), libc::XATTR_CREATE),
        );
        if set_new == -libc::EOPNOTSUPP {
            println!("skipped: no attributes of users on this file system");
            return;
        }
        assert_eq!(set_new, 0);
        let by_descriptor = || Subject::Descriptor(file.as_raw_fd());
        assert_eq!(
            result(&driver, set(by_descriptor(), libc::XATTR_CREATE)),
            -libc::EEXIST
        );
        for subject in [Subject::Path(path), by_descriptor()] {
            let get = Call::GetAttribute {
                subject,
                name: name(),
                memory: Memory::Owned(vec![0; 8]),
            };
            let (length, call) = make(&driver, get);
            let Call::GetAttribute {
                memory: Memory::Owned(bytes),
                ..
            } = *call
            else {
                panic!()
            };
            assert_eq!((length, &bytes[..5]), (5, &b"value"[..]));
        }
        let too_small = Call::GetAttribute {
            subject: by_descriptor(),
            name: name(),
            memory: Memory::Owned(vec![0; 2]),
        };
        assert_eq!(result(&driver, too_small), -libc::ERANGE);
    });
}

#[test]
fn a_pipe_has_two_ends() {
    each_backend(|driver| {
        if driver.lacks(&["pipe"]) {
            return;
        }
        let pipe = || Call::Pipe {
            flags: libc::O_CLOEXEC,
            ends: Box::new([-1; 2]),
        };
        let token = driver.park(1);
        driver.call(token, pipe()).unwrap();
        assert_eq!(next(&driver), (1, Wakeup::Completed(0)));
        let call = driver.take_call(token).unwrap();
        driver.leave(token);
        let Call::Pipe { ends, .. } = *call else {
            panic!()
        };
        let [reader, writer] = ends.map(|end| fs::File::from(owned(end)));
        (&writer).write_all(b"x").unwrap();
        assert_eq!((&reader).read(&mut [0]).unwrap(), 1);
    });
}

#[test]
fn installing_is_another_number_for_the_same_file() {
    each_backend(|driver| {
        if driver.backend() == BackendKind::IoUring {
            return; // The ring installs only direct descriptors: tests/ring.rs.
        }
        let (mut reader, writer) = pipe();
        let copy = result(
            &driver,
            Call::Install {
                fd: writer.as_raw_fd(),
            },
        );
        drop(writer);
        fs::File::from(owned(copy)).write_all(b"x").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
    });
}

#[test]
fn a_path_can_be_kept_from_leading_elsewhere() {
    const RESOLVE_BENEATH: u64 = 0x08;
    each_backend(|driver| {
        let folder = Folder::new();
        folder.file("a", b"inside");
        let directory = fs::File::open(&folder.0).unwrap();
        let open = |path: &str, flags: i32, mode| Call::OpenHow {
            directory: directory.as_raw_fd(),
            path: CString::new(path).unwrap(),
            how: Box::new(OpenHow {
                flags: (flags | libc::O_CLOEXEC) as u64,
                mode,
                resolve: RESOLVE_BENEATH,
            }),
        };
        let file = owned(result(&driver, open("a", libc::O_RDONLY, 0)));
        let mut text = String::new();
        fs::File::from(file).read_to_string(&mut text).unwrap();
        assert_eq!(text, "inside");
        assert_eq!(
            result(&driver, open("../a", libc::O_RDONLY, 0)),
            -libc::EXDEV
        );
        assert_eq!(
            result(&driver, open("a", libc::O_RDONLY, 0o600)),
            -libc::EINVAL
        );
    });
}

#[test]
fn a_poll_finds_what_is_there_or_comes_and_no_descriptor_below_zero() {
    each_backend(|driver| {
        let (reader, mut writer) = sockets();
        let poll = |fd, interest| Call::Poll { fd, interest };
        let fd = reader.as_raw_fd();
        let found = result(&driver, poll(fd, Interest::WRITABLE));
        assert_eq!(Interest::WRITABLE.satisfied_by(found), Interest::WRITABLE);
        let waiting = driver.park(5);
        driver.call(waiting, poll(fd, Interest::READABLE)).unwrap();
        assert_eq!(result(&driver, Call::Nop), 0);
        writer.write_all(b"x").unwrap();
        let (5, Wakeup::Completed(found)) = next(&driver) else {
            panic!()
        };
        assert_eq!(Interest::READABLE.satisfied_by(found), Interest::READABLE);
        driver.leave(waiting);
        assert_eq!(result(&driver, poll(-1, Interest::READABLE)), -libc::EBADF);
    });
}

#[test]
fn opens_of_fifos_wait_for_the_other_end_keep_nobody_from_working_and_can_be_cancelled() {
    each_backend(|driver| {
        const MORE_THAN_THREADS: usize = 12;
        let folder = Folder::new();
        let paths: Vec<CString> = (0..MORE_THAN_THREADS)
            .map(|number| {
                let path = folder.path(&number.to_string());
                let made = std::process::Command::new("mkfifo")
                    .arg(path.to_str().unwrap())
                    .status();
                assert!(made.unwrap().success());
                path
            })
            .collect();
        let waiting: Vec<_> = paths
            .iter()
            .map(|path| {
                let token = driver.park(2);
                driver
                    .call(token, open(path.clone(), libc::O_RDONLY))
                    .unwrap();
                token
            })
            .collect();
        let fd = result(&driver, open(folder.file("plain", b""), libc::O_RDONLY));
        assert!(fd >= 0);
        assert_eq!(result(&driver, Call::Close { fd }), 0);
        for token in &waiting[1..] {
            driver.cancel(*token).unwrap();
            let (_, wakeup) = next(&driver);
            assert_eq!(wakeup, Wakeup::Completed(-libc::ECANCELED));
            driver.leave(*token);
        }
        let other = open(paths[0].clone(), libc::O_WRONLY);
        let token = driver.park(3);
        driver.call(token, other).unwrap();
        for _ in 0..2 {
            let (_, wakeup) = next(&driver);
            assert!(matches!(wakeup, Wakeup::Completed(0..)), "{wakeup:?}");
        }
    });
}

#[test]
fn the_end_of_a_timeout_is_its_own_errno_and_it_can_be_cancelled() {
    each_backend(|driver| {
        let timeout = |length: Duration| Call::Timeout {
            length: Box::new(length.into()),
        };
        assert_eq!(
            result(&driver, timeout(Duration::from_millis(1))),
            -libc::ETIME
        );
        let waiting = driver.park(5);
        driver.call(waiting, timeout(PATIENCE)).unwrap();
        assert_eq!(result(&driver, Call::Nop), 0);
        driver.cancel(waiting).unwrap();
        assert_eq!(next(&driver), (5, Wakeup::Completed(-libc::ECANCELED)));
        driver.leave(waiting);
    });
}

#[test]
fn the_limit_of_a_timeout_is_kept_for_a_party_that_is_woken_meanwhile() {
    each_backend(|driver| {
        let waiting = driver.park(5);
        let timeout = Call::Timeout {
            length: Box::new(PATIENCE.into()),
        };
        driver.call(waiting, timeout).unwrap();
        driver.set_timeout(waiting, Some(Duration::ZERO));
        driver.wake(waiting);
        driver.begin_turn().unwrap();
        assert_eq!(next(&driver), (5, Wakeup::Woken));
        let limited = next_within(&driver, PATIENCE / 4);
        assert_eq!(limited, Some((5, Wakeup::TimedOut)));
        driver.cancel(waiting).unwrap();
        assert_eq!(next(&driver), (5, Wakeup::Completed(-libc::ECANCELED)));
        driver.leave(waiting);
    });
}

#[test]
#[allow(unsafe_code)]
fn a_child_is_waited_for() {
    each_backend(|driver| {
        if driver.lacks(&["waitid"]) {
            return;
        }
        let wait = |id: u32| Call::WaitForChild {
            kind: libc::P_PID,
            id,
            options: libc::WEXITED,
            found: Box::new(empty_child()),
            pidfd: None,
        };
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let waiting = driver.park(5);
        driver.call(waiting, wait(child.id())).unwrap();
        assert_eq!(result(&driver, Call::Nop), 0);
        drop(child.stdin.take());
        assert_eq!(next(&driver), (5, Wakeup::Completed(0)));
        let call = driver.take_call(waiting).unwrap();
        driver.leave(waiting);
        let Call::WaitForChild { found, .. } = *call else {
            panic!()
        };
        // SAFETY: waitid(2) has filled in these fields of the child.
        let (pid, status) = unsafe { (found.si_pid(), found.si_status()) };
        assert_eq!((pid as u32, status, found.si_code), (child.id(), 0, 1));
        assert_eq!(result(&driver, wait(child.id())), -libc::ECHILD);
        assert!(child.wait().is_err(), "it was reaped");
    });
}

#[test]
#[allow(unsafe_code)]
fn advice_about_memory_goes_to_the_kernel() {
    each_backend(|driver| {
        let page = Box::new(Page([7; 4096]));
        let address = std::ptr::from_ref(&*page).cast_mut().cast::<u8>();
        let advise = |skip: usize, advice| {
            // SAFETY: the page outlives every call of this test, and the advice leaves it as it is.
            let memory = unsafe { LentBuffer::new(address.add(skip), 4096 - skip) };
            Call::AdviseMemory { memory, advice }
        };
        assert_eq!(result(&driver, advise(0, libc::MADV_WILLNEED)), 0);
        assert_eq!(
            result(&driver, advise(1, libc::MADV_WILLNEED)),
            -libc::EINVAL
        );
        assert_eq!(page.0, [7; 4096]);
    });
}

#[repr(align(4096))]
struct Page([u8; 4096]);

#[test]
#[allow(unsafe_code)]
fn a_futex_is_waited_for_where_there_is_a_ring_and_woken_everywhere() {
    each_backend(|driver| {
        if driver.lacks(&["futex_wait", "futex_wake"]) {
            return;
        }
        let mut memory = Box::new(7_u32);
        let address = std::ptr::from_mut(&mut *memory).cast();
        // SAFETY: the memory outlives every call of this test.
        let word = || unsafe { LentBuffer::new(address, 4) };
        let wake = |count| Call::FutexWake {
            word: word(),
            count,
        };
        let wait = |expected| Call::FutexWait {
            word: word(),
            expected,
        };
        let waiting = driver.park(5);
        match driver.call(waiting, wait(7)) {
            Ok(()) => {
                assert_eq!(result(&driver, wait(8)), -libc::EAGAIN);
                let waking = driver.park(6);
                driver.call(waking, wake(1)).unwrap();
                let mut woken = [next(&driver), next(&driver)];
                woken.sort_by_key(|(party, _)| *party);
                assert_eq!(
                    woken,
                    [(5, Wakeup::Completed(0)), (6, Wakeup::Completed(1))]
                );
                driver.leave(waking);
            }
            Err(error) => {
                assert!(error.lack.is_some(), "{error:?}");
                assert_ne!(driver.backend(), BackendKind::IoUring);
            }
        }
        driver.leave(waiting);
        assert_eq!(result(&driver, wake(1)), 0);
    });
}

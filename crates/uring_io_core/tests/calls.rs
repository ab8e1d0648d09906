//! Calls that bring their arguments along: the same results on each backend.

mod parties;

use std::ffi::CString;
use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use parties::*;
use uring_io_core::{empty_status, Address, Call, Driver, Memory, Target, Wakeup};

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
        assert_eq!(result(&driver, Call::Truncate { fd, length: 2 }), 0);
        assert_eq!(fs::read(folder.0.join("a")).unwrap(), b"he");
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
        // Not the same number again: another test may have it by now.
        assert_eq!(result(&driver, Call::Close { fd: -1 }), -libc::EBADF);
    });
}

#[test]
fn names_are_made_changed_and_removed() {
    each_backend(|driver| {
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
        assert_eq!(
            result(&driver, Call::Truncate { fd: -1, length: 0 }),
            -libc::EBADF
        );
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
        let send = Call::Send {
            fd: client.as_raw_fd(),
            memory: Memory::Owned(b"ping".to_vec()),
            flags: 0,
            done: 0,
        };
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
        let bound = result(&driver, Call::Bind { fd, address });
        if bound == -libc::EINVAL {
            println!("skipped: bind and listen need Linux 6.11 on io_uring");
            return;
        }
        assert_eq!(bound, 0);
        assert_eq!(result(&driver, Call::Listen { fd, backlog: 1 }), 0);
        let listener = TcpListener::from(listener);
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_, peer) = listener.accept().unwrap();
        assert_eq!(client.local_addr().unwrap(), peer);
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
        while !driver.is_idle() {
            driver.wait(None).unwrap();
        }
        assert_eq!(first.read(&mut [0]).unwrap(), 0);

        let mut second = connect();
        let left_late = driver.park(1);
        driver.call(left_late, accept()).unwrap();
        while !driver.is_idle() {
            driver.wait(None).unwrap();
        }
        driver.leave(left_late);
        assert_eq!(second.read(&mut [0]).unwrap(), 0);
    });
}

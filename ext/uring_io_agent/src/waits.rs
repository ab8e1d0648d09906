//! What fibers wait for. The places of the area are found by a hash of what it is, so that a wait that was
//! there before costs a system call at most (getpeername(2)), and no allocation.
#![allow(unsafe_code)]

use std::mem::size_of;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::area::{area, Area, WAITS};

/// The kinds of waits, as `lib/uring_io/profile/agents.rb` has them.
pub const SOCKET: u64 = 1;
const CLIENTS: u64 = 2;
const PIPE: u64 = 3;
const FILE: u64 = 4;
const TERMINAL: u64 = 9;
pub const OTHER: u64 = 8;

/// Hashes with the number of their place in the lowest byte; 0 where there is none.
static KNOWN: [AtomicU64; 1024] = [const { AtomicU64::new(0) }; 1024];
/// Held by whoever writes a new place. Each Ractor has a GVL of its own.
static WRITING: AtomicBool = AtomicBool::new(false);
/// For what has found no place.
const REST: usize = WAITS - 1;

/// In a forked child, whose area is empty.
pub fn forget() {
    KNOWN.iter().for_each(|known| known.store(0, Relaxed));
    WRITING.store(false, Relaxed);
}

/// The address of a socket as the kernel writes it.
struct Address {
    bytes: libc::sockaddr_storage,
    length: usize,
}

type Ask = unsafe extern "C" fn(i32, *mut libc::sockaddr, *mut libc::socklen_t) -> i32;

impl Address {
    /// The errno when it has none.
    fn of(file: i32, ask: Ask) -> Result<Self, i32> {
        // SAFETY: zeros are an address of no family.
        let mut bytes: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        // SAFETY: the kernel writes so many bytes at most, and how many these are.
        if unsafe { ask(file, (&raw mut bytes).cast(), &raw mut length) } != 0 {
            // SAFETY: errno is this thread's own.
            return Err(unsafe { *libc::__errno_location() });
        }
        let length = (length as usize).min(size_of::<libc::sockaddr_storage>());
        Ok(Self { bytes, length })
    }

    fn slice(&self) -> &[u8] {
        // SAFETY: all of it was written, by us or by the kernel.
        unsafe { std::slice::from_raw_parts((&raw const self.bytes).cast(), self.length) }
    }

    /// Of a socket of the internet.
    fn socket(&self) -> Option<SocketAddr> {
        let bytes = self.slice();
        let port = u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]);
        match i32::from(self.bytes.ss_family) {
            libc::AF_INET => {
                let ip: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
                Some((Ipv4Addr::from(ip), port).into())
            }
            libc::AF_INET6 => {
                let ip: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
                Some((Ipv6Addr::from(ip).to_canonical(), port).into())
            }
            _ => None,
        }
    }

    /// As the profiler writes it; empty when there is none.
    fn name(&self) -> String {
        if let Some(socket) = self.socket() {
            return socket.to_string();
        }
        if i32::from(self.bytes.ss_family) != libc::AF_UNIX {
            return String::new();
        }
        let path = self.slice().get(2..).unwrap_or_default();
        let path = path.strip_suffix(&[0]).unwrap_or(path);
        // An abstract name begins with a zero.
        String::from_utf8_lossy(path).replacen('\0', "@", 1)
    }
}

/// The place of a wait of this kind that is about no file.
pub fn of_kind(area: &Area, kind: u64) -> usize {
    find(area, hash(kind, &[]), |_| (kind, String::new(), 0))
}

/// The place of a wait for this descriptor.
pub fn of_file(area: &Area, file: i32) -> usize {
    match Address::of(file, libc::getpeername) {
        Ok(peer) => find(area, hash(SOCKET, peer.slice()), |area| {
            described(area, file, &peer)
        }),
        Err(libc::ENOTSOCK) => of_kind(area, mode(file)),
        Err(_) if is_listening(file) => {
            let Ok(local) = Address::of(file, libc::getsockname) else {
                return REST;
            };
            let port = local.socket().map_or(0, |socket| socket.port());
            find(area, hash(CLIENTS, local.slice()), |_| {
                (CLIENTS, local.name(), port)
            })
        }
        // One that connects.
        Err(_) => of_kind(area, SOCKET),
    }
}

/// The peer of a socket: a server, or a client of ours.
fn described(area: &Area, file: i32, peer: &Address) -> (u64, String, u16) {
    let Ok(local) = Address::of(file, libc::getsockname) else {
        return (SOCKET, peer.name(), 0);
    };
    let Some(socket) = local.socket() else {
        // The connecting end of a UNIX socket seldom has a name.
        return match (peer.name(), local.name()) {
            (name, local) if name.is_empty() && !local.is_empty() => (CLIENTS, local, 0),
            (name, _) => (SOCKET, name, 0),
        };
    };
    let served = |wait: &crate::area::Wait| {
        wait.kind.load(Relaxed) == CLIENTS && wait.port.load(Relaxed) == u64::from(socket.port())
    };
    match area.waits.iter().any(served) {
        true => (CLIENTS, socket.to_string(), socket.port()),
        false => (SOCKET, peer.name(), socket.port()),
    }
}

fn is_listening(file: i32) -> bool {
    let mut answer = 0_i32;
    let mut length = size_of::<i32>() as libc::socklen_t;
    let (level, name) = (libc::SOL_SOCKET, libc::SO_ACCEPTCONN);
    // SAFETY: the kernel writes an int of ours.
    let failed =
        unsafe { libc::getsockopt(file, level, name, (&raw mut answer).cast(), &raw mut length) };
    failed == 0 && answer != 0
}

/// The kind of a descriptor that is no socket.
fn mode(file: i32) -> u64 {
    // SAFETY: zeros are a stat; the kernel fills it.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    if unsafe { libc::fstat(file, &raw mut stat) } != 0 {
        return OTHER;
    }
    match stat.st_mode & libc::S_IFMT {
        libc::S_IFIFO => PIPE,
        libc::S_IFREG | libc::S_IFBLK => FILE,
        // SAFETY: it takes a number.
        libc::S_IFCHR if unsafe { libc::isatty(file) } == 1 => TERMINAL,
        _ => OTHER,
    }
}

/// FNV-1a. The lowest byte is for the place.
fn hash(kind: u64, bytes: &[u8]) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ kind;
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    let hash = bytes.iter().fold(mix(start, &0), mix) & !0xff;
    hash.max(1 << 8)
}

/// The place for what has this hash, which is described when it is new.
fn find(area: &Area, hash: u64, describe: impl FnOnce(&Area) -> (u64, String, u16)) -> usize {
    let known = &KNOWN[(hash >> 8) as usize % KNOWN.len()];
    let found = known.load(Relaxed);
    if found & !0xff == hash {
        return (found & 0xff) as usize;
    }
    let (kind, name, port) = describe(area);
    let place = place(area, kind, name.as_bytes(), u64::from(port));
    known.store(hash | place as u64, Relaxed);
    place
}

/// The place with this name, or a new one.
fn place(area: &Area, kind: u64, name: &[u8], port: u64) -> usize {
    while WRITING.swap(true, Ordering::Acquire) {
        std::hint::spin_loop();
    }
    let mut words = [0_u64; 18];
    for (word, bytes) in words.iter_mut().zip(name.chunks(8)) {
        let mut part = [0; 8];
        part[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_ne_bytes(part);
    }
    let is_same = |wait: &crate::area::Wait| {
        let same = |(known, word): (&AtomicU64, &u64)| known.load(Relaxed) == *word;
        wait.kind.load(Relaxed) == kind && wait.name.iter().zip(&words).all(same)
    };
    let free = |wait: &crate::area::Wait| wait.kind.load(Relaxed) == 0;
    let places = &area.waits[..REST];
    let found = places
        .iter()
        .position(|wait| is_same(wait) || free(wait))
        .unwrap_or(REST);
    let wait = &area.waits[found];
    if free(wait) {
        let (kind, length) = if found == REST {
            (OTHER, 0)
        } else {
            (kind, name.len().min(144))
        };
        wait.port.store(port, Relaxed);
        wait.length.store(length as u64, Relaxed);
        wait.name
            .iter()
            .zip(&words)
            .for_each(|(place, word)| place.store(*word, Relaxed));
        wait.kind.store(kind, Ordering::Release);
    }
    WRITING.store(false, Ordering::Release);
    found
}

/// Adds a wait that began at +since+, which is over.
pub fn add(place: usize, time: u64) {
    let Some(wait) = area().and_then(|area| area.waits.get(place)) else {
        return;
    };
    wait.count.fetch_add(1, Relaxed);
    wait.time.fetch_add(time, Relaxed);
    wait.longest.fetch_max(time, Relaxed);
}

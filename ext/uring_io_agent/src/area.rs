//! The file in which the agent counts, mapped into memory: the profiler reads it, whatever became of the
//! process. It is made and opened once, and written as a whole, so that a store can neither fail nor wait
//! for room on the disk. `lib/uring_io/profile/agents.rb` reads what is laid out here.
#![allow(unsafe_code)]

use std::ffi::c_char;
use std::mem::size_of;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering::Relaxed};

pub const THREADS: usize = 512;
pub const WAITS: usize = 128;
const MAGIC: u64 = u64::from_ne_bytes(*b"uringio1");

/// Facts about the whole process. All times are nanoseconds.
#[repr(C)]
pub struct Head {
    magic: AtomicU64,
    pid: AtomicU64,
    pub began: AtomicU64,
    pub gc_count: AtomicU64,
    pub gc_time: AtomicU64,
    pub gc_longest: AtomicU64,
    /// When the collection began that runs; 0 when none does.
    pub gc_began: AtomicU64,
    /// Of threads that have ended, and whose place others have taken.
    pub earlier: GvlWaits,
    /// Places of threads that were given out.
    pub threads: AtomicUsize,
    /// Fibers that wait now, and most that did at the same time.
    pub fibers: AtomicU64,
    pub fibers_most: AtomicU64,
    /// The counts of our scheduler (Scheduler#stats), in the order of its documentation.
    pub stats: [AtomicU64; 7],
    unused: [AtomicU64; 4],
    /// The class of the scheduler.
    pub scheduler: [AtomicU64; 8],
}

#[repr(C)]
pub struct GvlWaits {
    pub count: AtomicU64,
    pub time: AtomicU64,
    pub longest: AtomicU64,
}

impl GvlWaits {
    pub fn add(&self, time: u64) {
        self.count.fetch_add(1, Relaxed);
        self.time.fetch_add(time, Relaxed);
        self.longest.fetch_max(time, Relaxed);
    }
}

/// A thread, in a line of the processor's cache.
#[repr(C)]
pub struct Thread {
    pub id: AtomicU64,
    pub gvl: GvlWaits,
    /// Since when it waits for the GVL; 0 when it does not.
    pub ready: AtomicU64,
    pub ended: AtomicU64,
    unused: [AtomicU64; 2],
}

/// Waits of fibers for one thing.
#[repr(C)]
pub struct Wait {
    /// 0 where nothing is.
    pub kind: AtomicU64,
    pub count: AtomicU64,
    pub time: AtomicU64,
    pub longest: AtomicU64,
    /// The port of this side, for a socket of the internet.
    pub port: AtomicU64,
    pub length: AtomicU64,
    pub name: [AtomicU64; 18],
}

#[repr(C)]
pub struct Area {
    pub head: Head,
    pub threads: [Thread; THREADS],
    pub waits: [Wait; WAITS],
}

const _: () = assert!(size_of::<Head>() == 256 && size_of::<Thread>() == 64);
const _: () = assert!(size_of::<Wait>() == 192);

static AREA: AtomicPtr<Area> = AtomicPtr::new(null_mut());
/// The folder of the profiler, with a zero at its end.
static mut FOLDER: [u8; 512] = [0; 512];

/// The area of this process; none when it could not be made.
pub fn area() -> Option<&'static Area> {
    // SAFETY: the mapping is as large as an Area, is never unmapped, and all of it is atomic.
    unsafe { AREA.load(Relaxed).as_ref() }
}

/// Makes the area of this process, and one for each child that it forks. False when that cannot be.
pub fn open(folder: &[u8]) -> bool {
    if folder.len() > 400 {
        return false;
    }
    // SAFETY: nobody reads the folder before there is an area, and it is written once, with the GVL.
    unsafe {
        (&raw mut FOLDER)
            .cast::<u8>()
            .copy_from_nonoverlapping(folder.as_ptr(), folder.len());
        map();
        area().is_some() && libc::pthread_atfork(None, None, Some(in_child)) == 0
    }
}

/// A forked child has its own counts. The places of threads keep their numbers: the one thread that is left
/// goes on with its own.
extern "C" fn in_child() {
    let given = area().map_or(0, |area| area.head.threads.load(Relaxed));
    AREA.store(null_mut(), Relaxed);
    // SAFETY: it uses what may be used in a child only, and the folder was written before the fork.
    unsafe { map() };
    if let Some(area) = area() {
        area.head.threads.store(given, Relaxed);
    }
    crate::waits::forget();
}

/// # Safety
///
/// The folder is written. It allocates nothing and takes no lock, so that a forked child may call it.
unsafe fn map() {
    // SAFETY: errno is this thread's own. The file is as long as the Area when it is mapped.
    unsafe {
        let errno = *libc::__errno_location();
        let file = create();
        if file >= 0 {
            if fill(file) {
                let rights = libc::PROT_READ | libc::PROT_WRITE;
                let size = size_of::<Area>();
                let address = libc::mmap(null_mut(), size, rights, libc::MAP_SHARED, file, 0);
                if address != libc::MAP_FAILED {
                    begin(address.cast());
                }
            }
            libc::close(file);
        }
        *libc::__errno_location() = errno;
    }
}

/// # Safety
///
/// The mapping is as large as an Area, and zero.
unsafe fn begin(address: *mut Area) {
    // SAFETY: the caller's promise.
    let head = unsafe { &(*address).head };
    // SAFETY: it takes nothing.
    head.pid.store(unsafe { libc::getpid() } as u64, Relaxed);
    head.began.store(now(), Relaxed);
    head.magic.store(MAGIC, Relaxed);
    AREA.store(address, Relaxed);
}

/// A new file: FOLDER/PID.N, as a process that execs another Ruby has several.
unsafe fn create() -> i32 {
    let mut path = [0_u8; 512];
    // SAFETY: nobody writes the folder any longer, and it ends in a zero after 400 bytes at most.
    unsafe {
        path.as_mut_ptr()
            .copy_from_nonoverlapping((&raw const FOLDER).cast::<u8>(), 512)
    };
    let mut end = path.iter().position(|byte| *byte == 0).unwrap_or(0);
    path[end] = b'/';
    // SAFETY: it takes nothing.
    end = digits(&mut path, end + 1, unsafe { libc::getpid() } as u32);
    path[end] = b'.';
    for count in 0..100 {
        let last = digits(&mut path, end + 1, count);
        path[last] = 0;
        let flags =
            libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC | libc::O_NOFOLLOW;
        // SAFETY: the path ends in a zero.
        let file = unsafe { libc::open(path.as_ptr().cast::<c_char>(), flags, 0o600) };
        // SAFETY: errno is this thread's own.
        if file >= 0 || unsafe { *libc::__errno_location() } != libc::EEXIST {
            return file;
        }
    }
    -1
}

/// Writes a number in decimal; answers where it ends.
fn digits(path: &mut [u8], start: usize, mut number: u32) -> usize {
    let mut length = 1 + number.checked_ilog10().unwrap_or(0) as usize;
    let end = start + length;
    while length > 0 {
        length -= 1;
        path[start + length] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    end
}

/// Writes zeros, which takes the room on the disk.
unsafe fn fill(file: i32) -> bool {
    static ZEROS: [u8; 4096] = [0; 4096];
    let mut left = size_of::<Area>();
    while left > 0 {
        let part = left.min(ZEROS.len());
        // SAFETY: so many bytes are there.
        match unsafe { libc::write(file, ZEROS.as_ptr().cast(), part) } {
            written if written > 0 => left -= written as usize,
            _ => return false,
        }
    }
    true
}

/// Nanoseconds of CLOCK_MONOTONIC, which all processes have in common. Never 0.
pub fn now() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel fills a timespec of ours.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

//! Random reads of a file without Ruby. bench/ring/run compares UringIO::Ring with it.
//!
//! `cargo bench --package uring_io_core --bench reads -- FILE DEPTH SECONDS [direct]` prints the number of reads
//! (4 KB each), the seconds that they took, and the seconds of processor time.
#![allow(unsafe_code)]

use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use uring_io_core::{
    BackendKind, Call, Driver, LentBuffer, Memory, Options, RingOptions, Target, Token, Turn,
};

const SIZE: usize = 4096;

/// xorshift64, which chooses the next page.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn processor_time() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call writes to a local.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn main() {
    // cargo adds this option.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .filter(|argument| *argument != "--bench")
        .collect();
    let [file, depth, seconds, ref rest @ ..] = arguments[..] else {
        println!("reads: needs FILE DEPTH SECONDS [direct]");
        return;
    };
    let (depth, seconds): (usize, f64) = (depth.parse().unwrap(), seconds.parse().unwrap());
    let flags = if rest.is_empty() { 0 } else { libc::O_DIRECT };
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(file)
        .unwrap();
    let pages = file.metadata().unwrap().len() / SIZE as u64;
    let driver: Driver<usize> = Driver::new(&Options {
        backend: BackendKind::IoUring,
        ring: RingOptions::default(),
        workers_max: 1,
    })
    .unwrap();
    let memory = vec![0_u8; (depth + 1) * SIZE];
    let begin = memory.as_ptr() as usize;
    let begin = begin.next_multiple_of(SIZE);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut start = |token: Token, number: usize| {
        let address = (begin + number * SIZE) as *mut u8;
        // SAFETY: the memory lives until the driver is closed, and each read has its own part.
        let buffer = unsafe { LentBuffer::new(address, SIZE) };
        let offset = Some(random.next() % pages * SIZE as u64);
        let call = Call::Read {
            fd: file.as_raw_fd(),
            target: Some(Target::File { offset }),
            memory: Memory::Lent(buffer),
        };
        driver.call(token, call).unwrap();
    };
    for number in 0..depth {
        start(driver.park(number), number);
    }
    let length = Duration::from_secs_f64(seconds);
    let (begun, used) = (Instant::now(), processor_time());
    let mut operations = 0_u64;
    while begun.elapsed() < length {
        if let Turn::Idle(_) = driver.begin_turn().unwrap() {
            driver.want(depth);
            driver.wait(None).unwrap();
        }
        while let Some(token) = driver.next_ready() {
            driver.take_wakeup(token);
            let number = driver.with_payload(token, |number| *number).unwrap();
            assert!(driver.take_call(token).is_some());
            driver.leave(token);
            operations += 1;
            start(driver.park(number), number);
        }
    }
    let (took, used) = (begun.elapsed().as_secs_f64(), processor_time() - used);
    println!("{operations} {took} {used}");
    driver.close().unwrap();
}

//! An echo over TCP without Ruby and without the core. bin/bench compares the echo programs with it.
//!
//! `cargo bench --package uring_io_core --bench echo -- CONNECTIONS SECONDS WARM_UP` runs pairs of sockets in one
//! thread. Each pair exchanges 512 bytes over and over, and each turn takes one system call. At the end it prints a
//! line of JSON, as the programs of bench/workloads do. With BENCH_COUNTER in the environment it then goes on until
//! somebody kills it, and keeps the number of exchanges in that file.
#![allow(unsafe_code)]

#[cfg(target_os = "linux")]
mod floor {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::time::{Duration, Instant};

    use io_uring::{cqueue, opcode, squeue, types, IoUring};

    const SIZE: usize = 512;
    const SAMPLING: u64 = 16;
    const SAMPLES: usize = 1 << 16;
    /// The largest queue that the kernel makes.
    const ENTRIES_MAX: usize = 32_768;

    /// One end of a pair. The end with an even index begins, and the other one answers.
    struct End {
        socket: TcpStream,
        buffer: Box<[u8; SIZE]>,
        sending: bool,
        begun: Option<Instant>,
    }

    pub struct Echo {
        ring: IoUring,
        ends: Vec<End>,
        begun: u64,
        operations: u64,
        samples: Vec<u64>,
        completions: Vec<cqueue::Entry>,
    }

    impl Echo {
        pub fn new(connections: usize) -> Self {
            let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
            let address = listener.local_addr().unwrap();
            let end = |socket| End {
                socket,
                buffer: Box::new([b'x'; SIZE]),
                sending: false,
                begun: None,
            };
            let ends: Vec<End> = (0..connections)
                .flat_map(|_| {
                    let client = TcpStream::connect(address).unwrap();
                    [end(client), end(listener.accept().unwrap().0)]
                })
                .collect();
            let entries = ends.len().next_power_of_two().clamp(8, ENTRIES_MAX);
            let ring = IoUring::builder()
                .setup_single_issuer()
                .setup_defer_taskrun()
                .setup_cqsize(2 * entries as u32)
                .build(entries as u32)
                .unwrap();
            let mut echo = Self {
                ring,
                ends,
                begun: 0,
                operations: 0,
                samples: Vec::with_capacity(SAMPLES),
                completions: Vec::new(),
            };
            for index in 0..echo.ends.len() {
                echo.start(index, index % 2 == 0);
            }
            echo
        }

        /// Queues a send or a receive of a message.
        fn start(&mut self, index: usize, sending: bool) {
            if sending && index % 2 == 0 {
                self.begun += 1;
                self.ends[index].begun = (self.begun % SAMPLING == 0).then(Instant::now);
            }
            let end = &mut self.ends[index];
            end.sending = sending;
            let fd = types::Fd(end.socket.as_raw_fd());
            let entry = if sending {
                opcode::Send::new(fd, end.buffer.as_ptr(), SIZE as u32)
                    .flags(libc::MSG_WAITALL)
                    .build()
            } else {
                opcode::Recv::new(fd, end.buffer.as_mut_ptr(), SIZE as u32)
                    .flags(libc::MSG_WAITALL)
                    .build()
            };
            self.push(entry.user_data(index as u64));
        }

        fn push(&mut self, entry: squeue::Entry) {
            // SAFETY: the buffer is boxed, and each end has one operation at a time. Both last until the process ends,
            // as nothing takes an end out of `ends`.
            while unsafe { self.ring.submission().push(&entry) }.is_err() {
                self.ring.submit().unwrap();
            }
        }

        fn turn(&mut self) {
            self.ring.submit_and_wait(1).unwrap();
            // Only the present completions: those that come during this turn belong to the next one.
            let mut completions = std::mem::take(&mut self.completions);
            completions.extend(self.ring.completion());
            for entry in completions.drain(..) {
                assert_eq!(entry.result(), SIZE as i32, "a message was not transferred");
                let index = entry.user_data() as usize;
                let sent = self.ends[index].sending;
                if !sent && index % 2 == 0 {
                    self.count(index);
                }
                self.start(index, !sent);
            }
            self.completions = completions;
        }

        fn count(&mut self, index: usize) {
            self.operations += 1;
            if let Some(begun) = self.ends[index].begun {
                if self.samples.len() < SAMPLES {
                    self.samples.push(begun.elapsed().as_nanos() as u64);
                }
            }
        }

        pub fn run(&mut self, length: Duration) {
            let begun = Instant::now();
            while begun.elapsed() < length {
                self.turn();
            }
        }

        /// Measures for this long. Returns a line of JSON.
        pub fn measure(&mut self, length: Duration) -> String {
            self.samples.clear();
            let (operations, begun, used) = (self.operations, Instant::now(), processor_time());
            self.run(length);
            let (operations, seconds) =
                (self.operations - operations, begun.elapsed().as_secs_f64());
            let cpu = processor_time() - used;
            self.samples.sort_unstable();
            format!(
                "{{\"operations\":{operations},\"seconds\":{seconds},\"cpu\":{cpu},\"p50_us\":{},\
                 \"p99_us\":{},\"peak_kb\":{}}}",
                self.percentile(50),
                self.percentile(99),
                peak_kb()
            )
        }

        /// A percentile in microseconds, or null.
        fn percentile(&self, percent: usize) -> String {
            match self.samples.len() {
                0 => "null".to_owned(),
                length => format!(
                    "{:.1}",
                    self.samples[(length - 1) * percent / 100] as f64 / 1e3
                ),
            }
        }

        /// Prints the figures, and counts until somebody kills the process. The reader of the figures watches the
        /// counter.
        pub fn count_in(&mut self, path: &str, figures: &str) -> ! {
            let counter = shared_number(path);
            // SAFETY: the page stays mapped until the process ends, and only this thread writes to it.
            let tell = |number| unsafe { counter.write_volatile(number) };
            tell(self.operations);
            println!("{figures}");
            loop {
                self.turn();
                tell(self.operations);
            }
        }
    }

    /// The first eight bytes of a file, mapped so that other processes see a change without a system call of ours.
    fn shared_number(path: &str) -> *mut u64 {
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        // SAFETY: a new mapping touches no memory that is in use.
        let page = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                8,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        assert_ne!(page, libc::MAP_FAILED, "{path} cannot be mapped");
        page.cast()
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

    fn peak_kb() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok())
            .unwrap_or(0)
    }

    /// Raises the limit of open files as far as the process may.
    pub fn raise_limit() {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: both calls only use a local.
        unsafe {
            libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}

#[cfg(target_os = "linux")]
fn main() {
    use std::time::Duration;

    // cargo adds this option.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let [connections, seconds, warm_up] = &arguments[..] else {
        println!("echo: needs CONNECTIONS SECONDS WARM_UP");
        return;
    };
    let seconds_of = |text: &str| Duration::from_secs_f64(text.parse().unwrap());
    floor::raise_limit();
    let mut echo = floor::Echo::new(connections.parse().unwrap());
    echo.run(seconds_of(warm_up));
    let figures = echo.measure(seconds_of(seconds));
    match std::env::var("BENCH_COUNTER") {
        Ok(path) => echo.count_in(&path, &figures),
        Err(_) => println!("{figures}"),
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("echo: io_uring is Linux's");
}

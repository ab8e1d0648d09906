//! The client: the same for every rung.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::calls::{leave_table, limit_waits, receive, reset_at_close, send, Packet, LENGTH};
use super::memory::in_use;
use super::meter::{OVER, RECORDED, TOGETHER, TURNS, WARM};
use super::outcome::Growth;
use crate::error::{Error, Result};

/// How long an answer may take before the rung counts as broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// The least number of exchanges to measure, however long they take.
const LEAST: u32 = 10;

/// The number of exchanges whose steps the server records.
const KEPT: usize = 8;

/// The client's orders.
pub(super) struct Client<'a> {
    pub address: SocketAddr,
    pub connections: usize,
    pub active: usize,
    /// About how long each measured part takes.
    pub length: Duration,
    pub epoch: Instant,
    pub stop: &'a AtomicBool,
    /// Set when the server cannot go on.
    pub end: &'a AtomicBool,
}

/// The client's results.
#[derive(Default)]
pub(super) struct Told {
    /// Whether the client was stopped. If so, ignore the other fields.
    pub stopped: bool,
    pub turns: Times,
    pub together: Option<Times>,
    /// For each recorded exchange: when the client sent the request and when it had the answer, in nanoseconds since
    /// the epoch.
    pub kept: Vec<(i64, i64)>,
    /// Memory in use at the end of the measurements.
    pub memory: Growth,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Times {
    pub elapsed: Duration,
    pub median: Duration,
}

/// Why the client makes no more exchanges.
enum End {
    Stopped,
    Failed(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

type Step<T> = std::result::Result<T, End>;

impl Client<'_> {
    /// Opens the connections, runs all measurements, and hangs up.
    pub(super) fn run(&self) -> Result<Told> {
        match self.measured() {
            Ok(told) => Ok(told),
            Err(End::Failed(error)) => Err(error),
            Err(End::Stopped) => Ok(Told {
                stopped: true,
                ..Told::default()
            }),
        }
    }

    fn measured(&self) -> Step<Told> {
        // A table of its own, so that neither side's descriptors count against the limit of the other. Keeps the
        // standard streams.
        leave_table(3)?;
        let mut connections = Vec::with_capacity(self.connections);
        for _ in 0..self.connections {
            self.check()?;
            connections.push(self.connect()?);
        }
        let active = &connections[..self.active];

        // The first answer comes when the server has taken all connections and is ready.
        self.exchange(&active[0], WARM)?;
        let begun = Instant::now();
        let mut asked = 0;
        for connection in active.iter().cycle() {
            if asked >= LEAST && begun.elapsed() >= self.length / 8 {
                break;
            }
            self.exchange(connection, WARM)?;
            asked += 1;
        }
        let each = begun.elapsed() / asked;

        let kept = self.kept(&active[0], each)?;
        let mut next = active.iter().cycle();
        let turns = self.times(each, || match next.next() {
            Some(connection) => self.exchange(connection, TURNS),
            None => Err(End::Stopped),
        })?;
        let together = if self.active > 1 {
            let round = each * self.active as u32;
            Some(self.times(round, || self.burst(active, TOGETHER))?)
        } else {
            None
        };
        let memory = in_use();
        self.burst(active, OVER)?;
        Ok(Told {
            stopped: false,
            turns,
            together,
            kept,
            memory,
        })
    }

    fn check(&self) -> Step<()> {
        if self.stop.load(Ordering::Relaxed) || self.end.load(Ordering::Relaxed) {
            return Err(End::Stopped);
        }
        Ok(())
    }

    fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(self.address).map_err(|e| Error::from_io("connect", &e))?;
        // The port must be free at once for the next rung.
        reset_at_close(stream.as_raw_fd())?;
        limit_waits(stream.as_raw_fd(), PATIENCE)?;
        Ok(stream)
    }

    /// Makes one exchange. Returns how long it took.
    fn exchange(&self, connection: &TcpStream, mark: u8) -> Step<Duration> {
        self.check()?;
        let begun = Instant::now();
        ask(connection, mark)?;
        hear(connection)?;
        Ok(begun.elapsed())
    }

    /// Sends a request on every active connection, then receives all answers. Returns how long that took.
    fn burst(&self, active: &[TcpStream], mark: u8) -> Step<Duration> {
        self.check()?;
        let begun = Instant::now();
        for connection in active {
            ask(connection, mark)?;
        }
        for connection in active {
            hear(connection)?;
        }
        Ok(begun.elapsed())
    }

    /// Repeats `step` for about the length of a measured part. One step takes about `each`.
    fn times(&self, each: Duration, mut step: impl FnMut() -> Step<Duration>) -> Step<Times> {
        let count = self.length.as_nanos() / each.as_nanos().max(1);
        let begun = Instant::now();
        let mut times = Vec::new();
        for _ in 0..count.max(LEAST.into()) {
            times.push(step()?);
        }
        let elapsed = begun.elapsed();
        times.sort_unstable();
        Ok(Times {
            elapsed,
            median: times[times.len() / 2],
        })
    }

    /// Makes a few exchanges on one connection, with pauses that let the server go back to waiting.
    fn kept(&self, connection: &TcpStream, exchange: Duration) -> Step<Vec<(i64, i64)>> {
        let pause = (exchange * 2 + Duration::from_micros(200)).min(Duration::from_millis(20));
        let time = || self.epoch.elapsed().as_nanos() as i64;
        (0..KEPT)
            .map(|_| {
                self.check()?;
                std::thread::sleep(pause);
                let sent = time();
                ask(connection, RECORDED)?;
                hear(connection)?;
                Ok((sent, time()))
            })
            .collect()
    }
}

fn ask(connection: &TcpStream, mark: u8) -> Result<()> {
    let mut packet: Packet = [b'q'; LENGTH];
    packet[0] = mark;
    there(send(connection.as_raw_fd(), &packet)?)
}

fn hear(connection: &TcpStream) -> Result<()> {
    let mut packet: Packet = [0; LENGTH];
    there(receive(connection.as_raw_fd(), &mut packet)?)
}

fn there(is_there: bool) -> Result<()> {
    match is_there {
        true => Ok(()),
        false => Err(Error::new("recv", libc::ECONNRESET)),
    }
}

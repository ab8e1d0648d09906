//! Measures one rung with a number of connections, from the listener to the figures.

use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, ScopedJoinHandle};
use std::time::{Duration, Instant};

use super::calls::listen;
use super::client::{Client, Times, Told};
use super::limits::{tightest, RaisedFiles};
use super::memory::{growth, in_use};
use super::meter::{sum, Meter, TOGETHER, TURNS};
use super::outcome::{Cause, Cost, Exchange, Limit, Measurement, Outcome, Rung, Step};
use super::{epoll, poll, select, threads, uring};
use crate::error::{Error, Result};
use crate::posix::{block_signals, poll as wait};

/// One of this many connections is active.
const IDLE: usize = 100;

/// Serves `connections` connections by a rung, and measures the cost. Each measured part takes about `length`. Setting
/// `stop` ends the measurement early. In any case, it leaves no connection and no thread behind.
///
/// The calling thread is busy until the end. Needs Linux 5.9.
pub fn measure(
    rung: Rung,
    connections: usize,
    length: Duration,
    stop: &AtomicBool,
) -> Result<Outcome> {
    let _raised = RaisedFiles::new();
    let wanted = connections.max(1);
    let cut = tightest(rung, wanted);
    let connections = match cut.and_then(|limit| limit.most) {
        // Half of the wanted connections still give a fair picture; fewer do not.
        Some(most) if most * 2 < wanted => {
            return Ok(cut.map_or(Outcome::Stopped, Outcome::Limited))
        }
        Some(most) => most,
        None => wanted,
    };
    climb(rung, connections, length, stop).map(|outcome| match outcome {
        Outcome::Measured(mut measurement) => {
            measurement.cut = cut;
            Outcome::Measured(measurement)
        }
        outcome => outcome,
    })
}

/// The result of serving.
enum Served {
    Whole(Vec<Meter>),
    Limited(Limit),
}

fn climb(rung: Rung, connections: usize, length: Duration, stop: &AtomicBool) -> Result<Outcome> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(of("bind"))?;
    listen(listener.as_raw_fd(), 4096)?;
    listener.set_nonblocking(true).map_err(of("ioctl"))?;
    let end = AtomicBool::new(false);
    let epoch = Instant::now();
    let client = Client {
        address: listener.local_addr().map_err(of("getsockname"))?,
        connections,
        active: connections.div_ceil(IDLE),
        length,
        epoch,
        stop,
        end: &end,
    };
    let (before, served, told) = std::thread::scope(|scope| {
        let listener = listener;
        let builder = Builder::new().name("ladder-client".into());
        let client = builder.spawn_scoped(scope, || {
            block_signals();
            client.run()
        });
        let client = client.map_err(of("clone"))?;
        let accepted = accept(&listener, connections, &client);
        let before = in_use();
        let served = match accepted {
            Ok(Some(accepted)) => serve(rung, accepted, epoch, &end),
            Ok(None) => Ok(Served::Whole(Vec::new())),
            Err(error) => Err(error),
        };
        end.store(true, Ordering::Relaxed);
        // Refuses the connections that still wait for accept(2).
        drop(listener);
        let told = client.join().unwrap_or_else(|_| std::process::abort());
        Ok((before, served, told))
    })?;
    if stop.load(Ordering::Relaxed) {
        return Ok(Outcome::Stopped);
    }
    let meters = match served {
        Ok(Served::Whole(meters)) => meters,
        Ok(Served::Limited(limit)) => return Ok(Outcome::Limited(limit)),
        Err(error) => return limit_of(error).map(Outcome::Limited).ok_or(error),
    };
    let told = match told {
        Ok(told) if told.stopped => return Ok(Outcome::Stopped),
        Ok(told) => told,
        Err(error) => return limit_of(error).map(Outcome::Limited).ok_or(error),
    };
    Ok(Outcome::Measured(Box::new(Measurement {
        connections,
        active: connections.div_ceil(IDLE),
        cut: None,
        turns: timed(sum(&meters, TURNS), told.turns),
        together: told
            .together
            .map(|times| timed(sum(&meters, TOGETHER), times)),
        growth: growth(before, told.memory),
        exchange: exchange(&meters, &told),
    })))
}

fn of(call: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |error| Error::from_io(call, &error)
}

/// The limit that an error stands for, if any.
fn limit_of(error: Error) -> Option<Limit> {
    let cause = match (error.call, error.errno) {
        (_, libc::EMFILE | libc::ENFILE) => Cause::Descriptors,
        ("connect", libc::EADDRNOTAVAIL) => Cause::Ports,
        ("io_uring_setup", _) => Cause::Ring,
        ("clone", libc::EAGAIN) => Cause::Threads,
        _ => return None,
    };
    Some(Limit {
        cause,
        most: None,
        error: Some(error),
    })
}

/// Accepts all connections. None when the client ends before that.
fn accept(
    listener: &TcpListener,
    connections: usize,
    client: &ScopedJoinHandle<'_, Result<Told>>,
) -> Result<Option<Vec<OwnedFd>>> {
    const LOOK: Duration = Duration::from_millis(100);
    let mut entry = [libc::pollfd {
        fd: listener.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    }];
    let mut accepted = Vec::with_capacity(connections);
    while accepted.len() < connections {
        match listener.accept() {
            Ok((stream, _)) => accepted.push(stream.into()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if client.is_finished() {
                    return Ok(None);
                }
                match wait(&mut entry, Some(LOOK)) {
                    Err(error) if error.errno != libc::EINTR => return Err(error),
                    _ => {}
                }
            }
            Err(error) => return Err(Error::from_io("accept", &error)),
        }
    }
    Ok(Some(accepted))
}

/// Serves until the client has hung up.
fn serve(
    rung: Rung,
    connections: Vec<OwnedFd>,
    epoch: Instant,
    end: &AtomicBool,
) -> Result<Served> {
    let mut meter = Meter::new(epoch);
    match rung {
        Rung::Threads => {
            return Ok(match threads::serve(&connections, epoch, end)? {
                Ok(meters) => Served::Whole(meters),
                Err((most, error)) => Served::Limited(Limit {
                    cause: Cause::Threads,
                    most: Some(most),
                    error: Some(error),
                }),
            });
        }
        Rung::Select => select::serve(&connections, &mut meter)?,
        Rung::Poll => poll::serve(&connections, &mut meter)?,
        Rung::Epoll => epoll::serve(&connections, &mut meter)?,
        Rung::Uring => uring::serve(&connections, false, &mut meter)?,
        Rung::Sqpoll => uring::serve(&connections, true, &mut meter)?,
    }
    Ok(Served::Whole(vec![meter]))
}

fn timed(cost: Cost, times: Times) -> Cost {
    Cost {
        elapsed: times.elapsed,
        median: times.median,
        ..cost
    }
}

/// The steps of an exchange that nothing disturbed.
fn exchange(meters: &[Meter], told: &Told) -> Exchange {
    let recorded = meters.iter().map(Meter::recorded);
    let Some(recorded) = recorded.max_by_key(|it| it.received.len()) else {
        return Exchange::default();
    };
    let Some((sent, answered)) = fastest(&told.kept) else {
        return Exchange::default();
    };
    let steps = recorded.steps.iter();
    let steps = steps.filter(|step| step.to > sent && step.from < answered);
    let steps = steps.map(|step| Step {
        from: step.from - sent,
        to: step.to - sent,
        ..step.clone()
    });
    let calls = match recorded.received[..] {
        [.., from, to] => recorded.steps[from..to].iter(),
        _ => [].iter(),
    };
    Exchange {
        steps: steps.collect(),
        calls: calls
            .filter(|step| step.is_call)
            .map(|step| step.name)
            .collect(),
        answered: answered - sent,
    }
}

/// The fastest of the recorded exchanges, because something disturbed the slower ones. Leaves out the first one and the
/// last one: the server records from the first request on, thus not how it received that, and no wait after the last.
fn fastest(kept: &[(i64, i64)]) -> Option<(i64, i64)> {
    let [_, whole @ .., _] = kept else {
        return None;
    };
    let fastest = whole.iter().min_by_key(|(sent, answered)| answered - sent);
    fastest.copied()
}

#[cfg(test)]
mod tests {
    use super::fastest;

    #[test]
    fn shows_only_an_exchange_that_was_recorded_whole() {
        assert_eq!(
            fastest(&[(0, 1), (10, 15), (20, 24), (30, 31)]),
            Some((20, 24))
        );
        assert_eq!(fastest(&[(0, 1), (10, 11)]), None);
        assert_eq!(fastest(&[]), None);
    }
}

//! Counts the work of a server. The first byte of a request tells the server which phase the exchange belongs to.

use std::time::{Duration, Instant};

use super::calls::used;
use super::memory::KernelThread;
use super::outcome::{Cost, Step};
use crate::posix::thread_time;

/// Exchanges before the measurement, until caches and queues have settled.
pub(super) const WARM: u8 = 0;
/// A few exchanges whose steps the server records.
pub(super) const RECORDED: u8 = 1;
/// Requests that come one at a time.
pub(super) const TURNS: u8 = 2;
/// Requests that come all at once.
pub(super) const TOGETHER: u8 = 3;
/// The end: the server no longer counts.
pub(super) const OVER: u8 = 4;

const PHASES: usize = 5;

/// The work of one thread of a server.
pub(super) struct Meter {
    /// The steps count their times from here.
    epoch: Instant,
    phase: u8,
    now: Cost,
    begun: Cost,
    spent: [Cost; PHASES],
    recorded: Recorded,
    kernel_thread: Option<KernelThread>,
}

/// Steps in order, and the index in `steps` at which each request was received.
#[derive(Default)]
pub(super) struct Recorded {
    pub steps: Vec<Step>,
    pub received: Vec<usize>,
}

impl Meter {
    pub(super) fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            phase: WARM,
            now: Cost::default(),
            begun: Cost::default(),
            spent: [Cost::default(); PHASES],
            recorded: Recorded::default(),
            kernel_thread: None,
        }
    }

    /// Also counts the processor time of this kernel thread.
    pub(super) fn follow(&mut self, thread: Option<KernelThread>) {
        self.kernel_thread = thread;
    }

    /// Makes a system call and counts it. Calls `words` only when the step is recorded.
    pub(super) fn call<R>(
        &mut self,
        name: &'static str,
        words: impl FnOnce(&R) -> String,
        make: impl FnOnce() -> R,
    ) -> R {
        self.now.calls += 1;
        self.step(name, true, words, make)
    }

    /// Makes one step, and records it in the phase `RECORDED`.
    pub(super) fn step<R>(
        &mut self,
        name: &'static str,
        is_call: bool,
        words: impl FnOnce(&R) -> String,
        make: impl FnOnce() -> R,
    ) -> R {
        if self.phase != RECORDED {
            return make();
        }
        let from = self.time();
        let result = make();
        let to = self.time();
        self.recorded.steps.push(Step {
            name,
            words: words(&result),
            is_call,
            from,
            to,
        });
        result
    }

    /// Notes that a request with this first byte has come.
    pub(super) fn received(&mut self, mark: u8) {
        if mark != self.phase {
            self.begin(mark);
        }
        if self.phase == RECORDED {
            self.recorded.received.push(self.recorded.steps.len());
        }
        self.now.exchanges += 1;
    }

    fn begin(&mut self, phase: u8) {
        let (user, system) = used();
        self.now.cpu = thread_time();
        self.now.user = user;
        self.now.system = system;
        self.now.kernel_thread = self.kernel_thread.as_ref().and_then(KernelThread::time);
        if let Some(spent) = self.spent.get_mut(usize::from(self.phase)) {
            *spent = difference(&self.now, &self.begun);
        }
        self.begun = self.now;
        self.phase = phase;
    }

    fn time(&self) -> i64 {
        self.epoch.elapsed().as_nanos() as i64
    }

    /// The cost of a phase that is over.
    pub(super) fn spent(&self, phase: u8) -> Cost {
        self.spent[usize::from(phase)]
    }

    pub(super) fn recorded(&self) -> &Recorded {
        &self.recorded
    }
}

fn difference(now: &Cost, then: &Cost) -> Cost {
    let thread = now.kernel_thread.zip(then.kernel_thread);
    Cost {
        exchanges: now.exchanges - then.exchanges,
        calls: now.calls - then.calls,
        cpu: now.cpu.saturating_sub(then.cpu),
        user: now.user.saturating_sub(then.user),
        system: now.system.saturating_sub(then.system),
        kernel_thread: thread.map(|(now, then)| now.saturating_sub(then)),
        elapsed: Duration::ZERO,
        median: Duration::ZERO,
    }
}

/// The cost of a phase over several threads.
pub(super) fn sum(meters: &[Meter], phase: u8) -> Cost {
    meters
        .iter()
        .map(|meter| meter.spent(phase))
        .fold(Cost::default(), |sum, cost| Cost {
            exchanges: sum.exchanges + cost.exchanges,
            calls: sum.calls + cost.calls,
            cpu: sum.cpu + cost.cpu,
            user: sum.user + cost.user,
            system: sum.system + cost.system,
            kernel_thread: cost.kernel_thread.or(sum.kernel_thread),
            ..sum
        })
}

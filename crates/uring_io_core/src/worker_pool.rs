//! A few threads for work that must block: name resolution, and file transfers without io_uring.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::call::blocking::PinnedCall;
use crate::descriptor::close_descriptor;
use crate::error::{Error, Result};
use crate::posix;
use crate::token::Token;
use crate::waker::Waker;

/// Work for the pool. Its return value becomes the result of the completion.
pub type Job = Box<dyn FnOnce() -> i32 + Send>;

/// Threads that start when work comes. They end after some time without work, or with the pool. Dropping the pool does
/// not wait for running jobs: they go on, and nobody gets their results.
pub(crate) struct WorkerPool {
    shared: Arc<Shared>,
    /// The process that has the threads. A forked child has none of them.
    owner: u32,
}

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    waker: Arc<Waker>,
    threads_max: usize,
}

/// An open that is queued or running. An open of a FIFO waits until somebody opens the other end.
#[derive(Default)]
struct Opening {
    /// Whether the open must end without success.
    ended: bool,
    /// The thread that makes the open, if it may wait for ever.
    thread: Option<libc::pthread_t>,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<(Token, Job)>,
    openings: HashMap<Token, Opening>,
    completed: Vec<(Token, i32)>,
    /// Number of threads, without those that wait in an open: they take no place from others.
    threads: usize,
    idle: usize,
    closed: bool,
}

impl State {
    fn is_ended(&self, token: Token) -> bool {
        self.openings.get(&token).is_some_and(|it| it.ended)
    }

    /// Interrupts the threads that wait in these opens. Returns whether there are any.
    #[allow(unsafe_code)]
    fn interrupt(&self, tokens: &[Token]) -> bool {
        let openings = tokens.iter().filter_map(|token| self.openings.get(token));
        let mut any = false;
        for thread in openings.filter_map(|opening| opening.thread) {
            any = true;
            // SAFETY: the thread removes its opening from the table, under the lock that the caller holds, before it
            // ends.
            unsafe { posix::interrupt(thread) };
        }
        any
    }
}

impl Shared {
    /// No job runs under the lock, so a panic leaves the state whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(10);

impl WorkerPool {
    /// A pool of at most `threads_max` threads whose completions wake `waker`.
    pub fn new(threads_max: usize, waker: Arc<Waker>) -> Self {
        let shared = Shared {
            state: Mutex::default(),
            work: Condvar::new(),
            waker,
            threads_max,
        };
        Self {
            shared: Arc::new(shared),
            owner: std::process::id(),
        }
    }

    /// Queues a job. Fails with `EAGAIN` when the pool has no thread and cannot start one.
    pub fn submit(&self, token: Token, job: Job) -> Result<()> {
        let mut state = self.shared.lock();
        if state.idle <= state.jobs.len() {
            self.shared.add_thread(&mut state)?;
        }
        state.jobs.push_back((token, job));
        drop(state);
        self.shared.work.notify_one();
        Ok(())
    }

    /// Takes a job back that no thread has begun. Returns whether there was one.
    pub fn withdraw(&self, token: Token) -> bool {
        let mut state = self.shared.lock();
        let place = state.jobs.iter().position(|(queued, _)| *queued == token);
        let job = place.and_then(|place| state.jobs.remove(place));
        if job.is_some() {
            state.openings.remove(&token);
        }
        job.is_some()
    }

    /// Does the same as [`submit`](Self::submit) for a call.
    pub fn submit_call(&self, token: Token, call: PinnedCall) -> Result<()> {
        if !call.may_wait() {
            return self.submit(token, Box::new(move || call.make()));
        }
        let opening = Opening::default();
        self.shared.lock().openings.insert(token, opening);
        let shared = Arc::clone(&self.shared);
        let submitted = self.submit(token, Box::new(move || shared.open(token, &call)));
        if submitted.is_err() {
            self.shared.lock().openings.remove(&token);
        }
        submitted
    }

    /// Ends the open of this token: it completes with `-ECANCELED`, unless it has succeeded. False when the token is
    /// not that of an open.
    pub fn interrupt(&self, token: Token) -> bool {
        let mut state = self.shared.lock();
        let Some(opening) = state.openings.get_mut(&token) else {
            return false;
        };
        let waits = !std::mem::replace(&mut opening.ended, true) && opening.thread.is_some();
        drop(state);
        if waits {
            Shared::end(&self.shared, vec![token]);
        }
        true
    }

    /// Takes all completions so far.
    pub fn completions(&self) -> Vec<(Token, i32)> {
        std::mem::take(&mut self.shared.lock().completed)
    }
}

impl Shared {
    /// Starts one more thread, unless the pool has its maximum. Fails only when the pool has no thread at all.
    fn add_thread(self: &Arc<Self>, state: &mut State) -> Result<()> {
        if state.threads >= self.threads_max {
            return Ok(());
        }
        let shared = Arc::clone(self);
        let name = "uring_io worker".to_string();
        let thread = thread::Builder::new().name(name);
        match thread.spawn(move || shared.work()) {
            Ok(_) => state.threads += 1,
            Err(_) if state.threads > 0 => {}
            Err(error) => return Err(Error::from_io("pthread_create", &error)),
        }
        Ok(())
    }

    /// Opens a file, or moves bytes between pipes. While that may wait for ever, the pool does not count this thread.
    /// So others can work, and one of them may be about to open or use the other end.
    fn open(self: &Arc<Self>, token: Token, call: &PinnedCall) -> i32 {
        let waits = call.is_likely_to_wait();
        let mut state = self.lock();
        if state.is_ended(token) {
            state.openings.remove(&token);
            return -libc::ECANCELED;
        }
        if waits {
            let thread = posix::interruptible_thread();
            if let Some(opening) = state.openings.get_mut(&token) {
                opening.thread = Some(thread);
            }
            state.threads -= 1;
            if state.idle < state.jobs.len() {
                // If no other thread can start, the queued jobs have to wait.
                let _ = self.add_thread(&mut state);
            }
        }
        drop(state);
        loop {
            let result = call.make();
            let mut state = self.lock();
            let ended = state.is_ended(token);
            if result == -libc::EINTR && !ended {
                continue;
            }
            state.openings.remove(&token);
            state.threads += usize::from(waits);
            if state.closed && result >= 0 && call.is_opening() {
                // Nobody gets the new descriptor.
                close_descriptor(result);
            }
            return match result {
                result if result == -libc::EINTR => -libc::ECANCELED,
                result => result,
            };
        }
    }

    /// Interrupts the threads that wait in these opens, over and over: a signal that comes before the thread enters the
    /// kernel has no effect.
    fn end(shared: &Arc<Self>, tokens: Vec<Token>) {
        const AGAIN: Duration = Duration::from_millis(1);
        let of = Arc::clone(shared);
        let signal = move || {
            while of.lock().interrupt(&tokens) {
                thread::sleep(AGAIN);
            }
        };
        let thread = thread::Builder::new().name("uring_io interrupt".to_string());
        if thread.spawn(signal.clone()).is_err() {
            // Without another thread, this one has to repeat the signal itself.
            signal();
        }
    }

    fn work(self: &Arc<Self>) {
        posix::block_signals();
        let mut state = self.lock();
        loop {
            if state.closed {
                break;
            }
            if let Some((token, job)) = state.jobs.pop_front() {
                drop(state);
                let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
                state = self.lock();
                if !state.closed {
                    // Under the lock, because closing the pool may close the waker, too.
                    state.completed.push((token, result.unwrap_or(-libc::EIO)));
                    self.waker.wake();
                }
                continue;
            }
            state.idle += 1;
            let (woken, timeout) = self
                .work
                .wait_timeout(state, IDLE)
                .unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if timeout.timed_out() && state.jobs.is_empty() {
                break;
            }
        }
        state.threads -= 1;
    }
}

impl Drop for WorkerPool {
    fn drop(&mut self) {
        if self.owner != std::process::id() {
            // At the fork, a thread of the parent may have held the lock.
            return;
        }
        let mut state = self.shared.lock();
        state.closed = true;
        state.jobs.clear();
        let waiting = state.openings.iter_mut().filter_map(|(token, opening)| {
            opening.ended = true;
            opening.thread.map(|_| *token)
        });
        let waiting: Vec<Token> = waiting.collect();
        drop(state);
        self.shared.work.notify_all();
        if !waiting.is_empty() {
            Shared::end(&self.shared, waiting);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn completed(pool: &WorkerPool, count: usize) -> Vec<(Token, i32)> {
        let mut completed = Vec::new();
        while completed.len() < count {
            let mut fds = [libc::pollfd {
                fd: pool.shared.waker.fd(),
                events: 1,
                revents: 0,
            }];
            posix::poll(&mut fds, Some(Duration::from_secs(10))).unwrap();
            pool.shared.waker.drain();
            completed.append(&mut pool.completions());
        }
        completed
    }

    fn pool(threads_max: usize) -> WorkerPool {
        WorkerPool::new(threads_max, Arc::new(Waker::new().unwrap()))
    }

    #[test]
    fn a_job_that_blocks_does_not_keep_others_from_running() {
        let pool = pool(2);
        let (release, blocked) = mpsc::channel::<()>();
        let wait = Box::new(move || blocked.recv().map_or(-1, |()| 1));
        pool.submit(Token::new(1, 0), wait).unwrap();
        pool.submit(Token::new(2, 0), Box::new(|| 2)).unwrap();
        assert_eq!(completed(&pool, 1), [(Token::new(2, 0), 2)]);
        release.send(()).unwrap();
        assert_eq!(completed(&pool, 1), [(Token::new(1, 0), 1)]);
    }

    #[test]
    fn a_job_that_panics_completes_with_an_error_and_the_pool_goes_on() {
        let pool = pool(1);
        pool.submit(
            Token::new(1, 0),
            Box::new(|| panic!("expected in this test")),
        )
        .unwrap();
        pool.submit(Token::new(2, 0), Box::new(|| 2)).unwrap();
        let expected = [(Token::new(1, 0), -libc::EIO), (Token::new(2, 0), 2)];
        assert_eq!(completed(&pool, 2), expected);
    }

    #[test]
    fn a_job_that_was_not_begun_can_be_taken_back() {
        let pool = pool(1);
        let (release, blocked) = mpsc::channel::<()>();
        let wait = Box::new(move || blocked.recv().map_or(-1, |()| 1));
        pool.submit(Token::new(1, 0), wait).unwrap();
        pool.submit(Token::new(2, 0), Box::new(|| 2)).unwrap();
        pool.submit(Token::new(3, 0), Box::new(|| 3)).unwrap();
        assert!(pool.withdraw(Token::new(2, 0)));
        assert!(!pool.withdraw(Token::new(2, 0)));
        release.send(()).unwrap();
        let expected = [(Token::new(1, 0), 1), (Token::new(3, 0), 3)];
        assert_eq!(completed(&pool, 2), expected);
    }

    #[test]
    fn more_jobs_than_threads_all_run() {
        let pool = pool(2);
        for slot in 0..100 {
            pool.submit(Token::new(slot, 0), Box::new(move || slot as i32))
                .unwrap();
        }
        let mut results: Vec<i32> = completed(&pool, 100).into_iter().map(|(_, r)| r).collect();
        results.sort_unstable();
        assert_eq!(results, (0..100).collect::<Vec<_>>());
    }
}

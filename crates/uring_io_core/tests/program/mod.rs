//! Programs of actions that parties take at a driver, and a model that checks the results.
//!
//! A program is a sequence of bytes. The first ones choose the backend, the size of its ring, and the kernel that it
//! pretends to run on. Each further byte chooses what happens next. For each party, the model knows whether somebody
//! woke it, whether its deadline has passed, what it does, and whether that can be over. For each channel (a pipe or a
//! pair of sockets), the model knows which bytes are in it. The driver must hand out exactly the parties that have a
//! reason, once for each reason that they take, and no party that has left. It may not lose a byte, double one, or
//! write one where nobody asked for it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use uring_io_core::{
    numbers, readiness_now, BackendKind, Call, Driver, Interest, Link, Memory, Operation, Target,
    Token, Turn, Wakeup,
};

use crate::parties::{self, Closing};

/// Runs a program to its end. Does nothing on a backend that this machine lacks.
pub fn run(program: &[u8]) {
    let mut choices = Choices(program.iter());
    if let Some(mut world) = World::new(&mut choices) {
        while world.step(&mut choices).is_some() {}
        world.end();
    }
}

struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    /// A number below `limit`; `None` at the end of the program.
    fn below(&mut self, limit: usize) -> Option<usize> {
        self.0.next().map(|byte| usize::from(*byte) % limit)
    }

    fn one_of<T: Copy>(&mut self, list: &[T]) -> Option<T> {
        (!list.is_empty())
            .then(|| self.below(list.len()))
            .flatten()
            .map(|number| list[number])
    }
}

/// Fills memory before an operation, so that the test sees which bytes the operation has written.
const UNTOUCHED: u8 = 0xaa;
const LONG: Duration = Duration::from_secs(3600);

/// The byte at a position of the stream: every channel carries the same one.
fn byte(position: usize) -> u8 {
    (position % 97) as u8
}

/// A pipe or a pair of sockets. Bytes go from the writer to the reader.
struct Channel {
    /// `None` after both ends are closed.
    ends: Option<(OwnedFd, OwnedFd)>,
    target: Target,
    /// How many bytes the model knows to be written, and how many to be read.
    written: usize,
    read: usize,
    /// Whether somebody reads, and whether somebody writes: one at a time, so that the order of the bytes is known.
    reading: bool,
    writing: bool,
    /// Whether the model no longer knows the content of the channel.
    lost: bool,
}

impl Channel {
    fn new(is_socket: bool) -> Rc<RefCell<Self>> {
        let (ends, target): ((OwnedFd, OwnedFd), _) = if is_socket {
            let (reader, writer) = parties::sockets();
            ((reader.into(), writer.into()), Target::Socket)
        } else {
            let (reader, writer) = parties::pipe();
            parties::shrink(&writer);
            let target = Target::Stream { nonblocking: false };
            ((reader.into(), writer.into()), target)
        };
        Rc::new(RefCell::new(Self {
            ends: Some(ends),
            target,
            written: 0,
            read: 0,
            reading: false,
            writing: false,
            lost: false,
        }))
    }

    fn reader(&self) -> RawFd {
        self.ends.as_ref().map_or(-1, |ends| ends.0.as_raw_fd())
    }

    fn writer(&self) -> RawFd {
        self.ends.as_ref().map_or(-1, |ends| ends.1.as_raw_fd())
    }

    /// The next bytes to write.
    fn bytes(&self, length: usize) -> Vec<u8> {
        (self.written..self.written + length).map(byte).collect()
    }

    /// Checks and counts bytes that came out.
    fn take(&mut self, bytes: &[u8]) {
        if !self.lost {
            let expected = (self.read..self.read + bytes.len()).map(byte);
            assert!(
                expected.eq(bytes.iter().copied()),
                "{bytes:?} at {}",
                self.read
            );
        }
        self.read += bytes.len();
    }

    fn can_read(&self) -> bool {
        !self.lost && self.written > self.read
    }

    fn can_write(&self) -> bool {
        !self.lost && self.written == self.read
    }
}

type Shared = Rc<RefCell<Channel>>;

/// An operation that a party has started and that has not completed.
enum Doing {
    Poll(Shared, Interest),
    /// The lent memory, and the length of the lent part.
    Read(Shared, Vec<u8>, usize),
    Write(Shared, Vec<u8>, usize),
    /// The same as calls, which own their memory.
    Recv(Shared),
    Send(Shared, usize),
    Stream(Shared),
    Nop,
    /// Whether the timeout passes at once.
    Timeout(bool),
    /// The result that is to come from elsewhere.
    Elsewhere(i32),
}

impl Doing {
    /// Whether the operation can be over. If so, it must end.
    fn is_due(&self) -> bool {
        match self {
            Self::Poll(channel, Interest::READABLE)
            | Self::Read(channel, ..)
            | Self::Recv(channel)
            | Self::Stream(channel) => channel.borrow().can_read(),
            Self::Poll(channel, _) | Self::Write(channel, ..) | Self::Send(channel, _) => {
                channel.borrow().can_write()
            }
            Self::Nop => true,
            Self::Timeout(at_once) => *at_once,
            Self::Elsewhere(_) => false,
        }
    }
}

#[derive(Default)]
struct Party {
    woken: bool,
    /// `due` counts the passed deadlines that the party may hear of. `must_hear` says whether it must hear of one.
    due: u32,
    must_hear: bool,
    cancelled: bool,
    doing: Option<Doing>,
    /// Whether a call has the place: such a place has no other operation and no deadline.
    calls: bool,
}

struct World {
    driver: Closing,
    parties: BTreeMap<u32, (Token, Party)>,
    next: u32,
    /// Parties that have left. The driver may not hand them out.
    gone: Vec<Token>,
    channels: Vec<Shared>,
    /// Memory and channels of transfers whose party has left.
    abandoned: Vec<(Vec<u8>, Shared)>,
    /// Parties that left before the result came that they expected from elsewhere.
    owed: Vec<Token>,
    is_old: bool,
}

impl World {
    fn new(choices: &mut Choices) -> Option<Self> {
        const RELEASES: [(u32, u32); 8] = [
            (5, 6),
            (5, 10),
            (5, 11),
            (5, 19),
            (6, 0),
            (6, 1),
            (6, 7),
            (99, 0),
        ];
        // The backends that this system can have. On a machine without the chosen one, a program does nothing.
        #[cfg(target_os = "linux")]
        const BACKENDS: [BackendKind; 4] = [
            BackendKind::IoUring,
            BackendKind::Epoll,
            BackendKind::Poll,
            BackendKind::Select,
        ];
        #[cfg(not(target_os = "linux"))]
        const BACKENDS: [BackendKind; 3] =
            [BackendKind::Kqueue, BackendKind::Poll, BackendKind::Select];
        let backend = BACKENDS[choices.below(BACKENDS.len())?];
        #[cfg_attr(not(target_os = "linux"), allow(unused_mut))]
        let mut options = parties::options(backend, 1 + choices.below(8)? as u32);
        let release = RELEASES[choices.below(8)?];
        #[cfg(target_os = "linux")]
        {
            options.ring.limits = uring_io_core::Mask::linux(release.0, release.1);
        }
        let driver = match Driver::new(&options) {
            Ok(driver) => Closing(driver),
            Err(error) => {
                let leak = [libc::EMFILE, libc::ENFILE, libc::ENOMEM].contains(&error.errno);
                assert!(!leak, "{error}");
                return None;
            }
        };
        Some(Self {
            driver,
            parties: BTreeMap::new(),
            next: 0,
            gone: Vec::new(),
            channels: (0..4).map(|number| Channel::new(number < 2)).collect(),
            abandoned: Vec::new(),
            owed: Vec::new(),
            is_old: release != (99, 0),
        })
    }

    fn park(&mut self, calls: bool) -> u32 {
        let name = self.next;
        self.next += 1;
        let party = Party {
            calls,
            ..Party::default()
        };
        let token = self.driver.park(name);
        self.parties.insert(name, (token, party));
        name
    }

    /// One of the parties for which `like` is true; the inner `None` when there is none.
    fn any(&self, choices: &mut Choices, like: impl Fn(&Party) -> bool) -> Option<Option<u32>> {
        let number = choices.below(256)?;
        let like = |(name, (_, party)): (&u32, &(Token, Party))| like(party).then_some(*name);
        let names: Vec<u32> = self.parties.iter().filter_map(like).collect();
        Some((!names.is_empty()).then(|| names[number % names.len()]))
    }

    fn party(&mut self, name: u32) -> (Token, &mut Party) {
        let (token, party) = self.parties.get_mut(&name).unwrap();
        (*token, party)
    }

    /// Takes one step. `None` at the end of the program.
    fn step(&mut self, choices: &mut Choices) -> Option<()> {
        match choices.below(32)? {
            0..=2 => {
                self.park(false);
            }
            3 | 4 => {
                let first = choices.below(4)? == 0;
                if let Some(name) = self.any(choices, |_| true)? {
                    let (token, party) = self.party(name);
                    party.woken = true;
                    match first {
                        true => self.driver.wake_first(token),
                        false => self.driver.wake(token),
                    }
                }
            }
            5 => {
                let length = choices.one_of(&[Some(Duration::ZERO), Some(LONG), None])?;
                if let Some(name) = self.any(choices, |party| !party.calls)? {
                    let (token, party) = self.party(name);
                    party.must_hear = length == Some(Duration::ZERO);
                    party.due += u32::from(party.must_hear);
                    self.driver.set_timeout(token, length);
                }
            }
            6..=10 => {
                let idle = |party: &Party| party.doing.is_none() && !party.calls;
                if let Some(name) = self.any(choices, idle)? {
                    self.submit(name, choices)?;
                }
            }
            11..=13 => self.call(choices)?,
            14 | 15 => {
                if let Some(name) = self.any(choices, |_| true)? {
                    let (token, party) = self.party(name);
                    party.cancelled |= party.doing.is_some();
                    self.driver.cancel(token).unwrap();
                }
            }
            16 => {
                if let Some(name) = self.any(choices, |party| party.doing.is_some())? {
                    let (token, party) = self.party(name);
                    party.cancelled = true;
                    if let Some(reason) = self.driver.cancel_now(token).unwrap() {
                        self.take(name, reason);
                    }
                }
            }
            17..=19 => self.peer_writes(choices)?,
            20 | 21 => self.peer_reads(choices)?,
            22 => {
                if let Some(name) = self.any(choices, |_| true)? {
                    self.leave(name);
                }
            }
            23 => {
                let expects = |party: &Party| matches!(party.doing, Some(Doing::Elsewhere(_)));
                match self.any(choices, expects)? {
                    Some(name) => self.complete_elsewhere(name),
                    None => self
                        .owed
                        .drain(..)
                        .for_each(|token| self.driver.complete(token, 0)),
                }
            }
            24 => self.close_channel(choices)?,
            25 => self.driver.wait(Some(Duration::ZERO)).unwrap(),
            26 => {
                self.driver.begin_turn().unwrap();
                if let Some(token) = self.driver.next_ready() {
                    self.driver.requeue(token);
                }
            }
            27 => {
                self.driver.look().unwrap();
                self.driver.hand_out_all();
                for (name, token) in self.tokens() {
                    if let Some(reason) = self.driver.take_wakeup(token) {
                        self.take(name, reason);
                    }
                }
            }
            28 => self.settle(),
            _ => self.serve(Duration::ZERO),
        }
        Some(())
    }

    fn tokens(&self) -> Vec<(u32, Token)> {
        let tokens = self.parties.iter();
        tokens.map(|(name, (token, _))| (*name, *token)).collect()
    }

    fn submit(&mut self, name: u32, choices: &mut Choices) -> Option<()> {
        let kind = choices.below(5)?;
        let channel = Rc::clone(&self.channels[choices.below(4)?]);
        let length = choices.one_of(&[1, 2, 8, 100, 4096])?;
        let mut it = channel.borrow_mut();
        let (operation, doing) = match kind {
            0 => {
                let interest = Interest::READABLE;
                let operation = parties::poll(it.reader(), interest);
                (operation, Doing::Poll(Rc::clone(&channel), interest))
            }
            1 => {
                let interest = Interest::WRITABLE;
                let operation = parties::poll(it.writer(), interest);
                (operation, Doing::Poll(Rc::clone(&channel), interest))
            }
            2 if !it.reading => {
                let mut memory = vec![UNTOUCHED; length + 8];
                let lent = &mut memory[..length];
                let operation = parties::read(it.reader(), it.target, lent);
                it.reading = true;
                (operation, Doing::Read(Rc::clone(&channel), memory, length))
            }
            3 if !it.writing => {
                let mut memory = it.bytes(length);
                let operation = parties::write(it.writer(), it.target, &mut memory);
                it.writing = true;
                (operation, Doing::Write(Rc::clone(&channel), memory, length))
            }
            4 => {
                drop(it);
                let (token, party) = self.party(name);
                party.doing = Some(Doing::Elsewhere(length as i32));
                self.driver.expect_completion(token);
                return Some(());
            }
            _ => return Some(()),
        };
        drop(it);
        self.start(name, &operation, doing);
        Some(())
    }

    fn start(&mut self, name: u32, operation: &Operation, doing: Doing) {
        let (token, party) = self.party(name);
        party.doing = Some(doing);
        if let Some(result) = self.driver.submit(token, operation).unwrap() {
            self.complete(name, result);
        }
    }

    fn call(&mut self, choices: &mut Choices) -> Option<()> {
        let kind = choices.below(6)?;
        let channel = Rc::clone(&self.channels[choices.below(4)?]);
        let length = choices.one_of(&[1, 2, 8, 100, 4096])?;
        if kind == 5 {
            self.chain(1 + length % 3);
            return Some(());
        }
        let mut it = channel.borrow_mut();
        let is_socket = it.target == Target::Socket;
        let (call, doing) = match kind {
            0 => (Call::Nop, Doing::Nop),
            1 => {
                let at_once = length > 2;
                let time = if at_once { Duration::ZERO } else { LONG };
                let length = Box::new(time.into());
                (Call::Timeout { length }, Doing::Timeout(at_once))
            }
            2 if is_socket && !it.reading => {
                it.reading = true;
                let call = Call::Recv {
                    fd: it.reader(),
                    memory: Memory::Owned(vec![UNTOUCHED; length]),
                    flags: 0,
                    done: 0,
                };
                (call, Doing::Recv(Rc::clone(&channel)))
            }
            3 if is_socket && !it.writing => {
                it.writing = true;
                let bytes = Memory::Owned(it.bytes(length));
                let call = Call::send(it.writer(), bytes, libc::MSG_NOSIGNAL);
                (call, Doing::Send(Rc::clone(&channel), length))
            }
            4 if is_socket && !it.reading => {
                let call = Call::RecvEach {
                    fd: it.reader(),
                    flags: 0,
                };
                if !self.driver.can_stream(&call) {
                    return Some(());
                }
                it.reading = true;
                (call, Doing::Stream(Rc::clone(&channel)))
            }
            _ => return Some(()),
        };
        drop(it);
        let name = self.park(true);
        let (token, party) = self.party(name);
        party.doing = Some(doing);
        if let Err(error) = self.driver.call(token, call) {
            assert!(self.is_old, "{error}");
            self.leave(name);
        }
        Some(())
    }

    fn chain(&mut self, length: usize) {
        if !self.driver.chains_in_kernel() || length > self.driver.chain_length_max() {
            return;
        }
        let mut calls = Vec::new();
        for _ in 0..length {
            let name = self.park(true);
            let (token, party) = self.party(name);
            party.doing = Some(Doing::Nop);
            calls.push((token, Call::Nop, Link::default()));
        }
        self.driver.chain(calls).unwrap();
    }

    fn peer_writes(&mut self, choices: &mut Choices) -> Option<()> {
        let number = choices.below(4)?;
        let length = choices.below(8)? + 1;
        let mut channel = self.channels[number].borrow_mut();
        let has_room = readiness_now(channel.writer(), Interest::WRITABLE);
        if !channel.writing && has_room.unwrap().is_some() {
            let bytes = channel.bytes(length);
            parties::write_all(channel.writer(), &bytes);
            channel.written += length;
        }
        Some(())
    }

    fn peer_reads(&mut self, choices: &mut Choices) -> Option<()> {
        let number = choices.below(4)?;
        let mut channel = self.channels[number].borrow_mut();
        if !channel.reading && channel.can_read() {
            let mut bytes = vec![0; channel.written - channel.read];
            parties::read_exact(channel.reader(), &mut bytes);
            channel.take(&bytes);
        }
        Some(())
    }

    /// Closes both ends. The next channel gets their numbers.
    fn close_channel(&mut self, choices: &mut Choices) -> Option<()> {
        let number = choices.below(4)?;
        let old = std::mem::replace(&mut self.channels[number], Channel::new(false));
        let mut old = old.borrow_mut();
        for fd in [old.reader(), old.writer()] {
            while !self.driver.before_close(fd).unwrap() {}
        }
        old.lost = true;
        old.ends = None;
        let is_socket = old.target == Target::Socket;
        self.channels[number] = Channel::new(is_socket);
        Some(())
    }

    fn leave(&mut self, name: u32) {
        let (token, party) = self.parties.remove(&name).unwrap();
        assert_eq!(self.driver.leave(token), Some(name));
        assert_eq!(self.driver.leave(token), None);
        self.gone.push(token);
        let (memory, channel) = match party.doing {
            Some(Doing::Read(channel, memory, _) | Doing::Write(channel, memory, _)) => {
                (memory, channel)
            }
            Some(Doing::Recv(channel) | Doing::Send(channel, _) | Doing::Stream(channel)) => {
                (Vec::new(), channel)
            }
            Some(Doing::Elsewhere(_)) => return self.owed.push(token),
            _ => return,
        };
        // Nobody checks the bytes that this transfer may still move. So the test stops using the channel, and keeps it
        // open.
        channel.borrow_mut().lost = true;
        let number = self
            .channels
            .iter()
            .position(|other| Rc::ptr_eq(other, &channel));
        if let Some(number) = number {
            let is_socket = channel.borrow().target == Target::Socket;
            self.channels[number] = Channel::new(is_socket);
        }
        self.abandoned.push((memory, channel));
    }

    fn complete_elsewhere(&mut self, name: u32) {
        let (token, party) = self.party(name);
        if let Some(Doing::Elsewhere(result)) = party.doing {
            self.driver.complete(token, result);
            // The party waits for this result. No other result comes.
            self.until(|world| !world.parties[&name].1.is_busy());
        }
    }

    /// Serves a turn: each party that the driver hands out takes its reason, and the model must know that reason.
    fn serve(&mut self, longest: Duration) {
        if let Turn::Idle(_) = self.driver.begin_turn().unwrap() {
            self.driver.wait(Some(longest)).unwrap();
            self.driver.begin_turn().unwrap();
        }
        while let Some(token) = self.driver.next_ready() {
            assert!(!self.gone.contains(&token), "{token:?} has left");
            let name = self.driver.with_payload(token, |name| *name).unwrap();
            assert_eq!(self.party(name).0, token);
            let reason = self.driver.take_wakeup(token).expect("a reason");
            self.take(name, reason);
        }
    }

    fn take(&mut self, name: u32, reason: Wakeup) {
        let (_, party) = self.party(name);
        let streams = matches!(party.doing, Some(Doing::Stream(_)));
        // One reason stands for all wakeups before the party took it.
        let woken = std::mem::take(&mut party.woken);
        match reason {
            Wakeup::Woken => assert!(woken || streams, "{name} was not woken"),
            Wakeup::TimedOut => {
                party.must_hear = false;
                assert!(party.due > 0, "{name} is not due");
                party.due -= 1;
            }
            // The result replaces a deadline that nobody has heard of.
            Wakeup::Completed(result) => {
                party.must_hear = false;
                self.complete(name, result);
            }
        }
        if streams {
            self.take_shots(name);
        }
    }

    fn complete(&mut self, name: u32, result: i32) {
        let driver = &self.driver;
        let (token, party) = self.parties.get_mut(&name).unwrap();
        let doing = party.doing.take().expect("something that can be over");
        let cancelled = std::mem::take(&mut party.cancelled);
        let was_cancelled = cancelled && result == -libc::ECANCELED;
        let bytes = usize::try_from(result).unwrap_or(0);
        match doing {
            Doing::Poll(channel, _) => {
                assert!(
                    result > 0 || was_cancelled || channel.borrow().lost,
                    "{result}"
                );
            }
            Doing::Read(channel, memory, length) => {
                let mut channel = channel.borrow_mut();
                channel.reading = false;
                let has_result = (1..=length).contains(&bytes);
                assert!(has_result || was_cancelled || channel.lost, "{result}");
                channel.take(&memory[..bytes]);
                let mut rest = memory[bytes..].iter();
                assert!(rest.all(|byte| *byte == UNTOUCHED), "{memory:?}");
            }
            Doing::Recv(channel) => {
                let mut channel = channel.borrow_mut();
                channel.reading = false;
                let call = driver.take_call(*token).expect("the call");
                let Call::Recv {
                    memory: Memory::Owned(memory),
                    ..
                } = *call
                else {
                    panic!("{call:?}");
                };
                assert!(bytes > 0 || was_cancelled || channel.lost, "{result}");
                channel.take(&memory[..bytes]);
                let mut rest = memory[bytes..].iter();
                assert!(rest.all(|byte| *byte == UNTOUCHED), "{memory:?}");
            }
            Doing::Write(channel, _, length) | Doing::Send(channel, length) => {
                let mut channel = channel.borrow_mut();
                channel.writing = false;
                let has_result = (1..=length).contains(&bytes);
                assert!(has_result || was_cancelled || channel.lost, "{result}");
                channel.written += bytes;
            }
            Doing::Nop => assert!(result == 0 || was_cancelled, "{result}"),
            Doing::Timeout(at_once) => {
                let passed = at_once && result == -numbers::ETIME;
                assert!(passed || was_cancelled, "{result}");
            }
            Doing::Elsewhere(expected) => assert_eq!(result, expected),
            Doing::Stream(_) => panic!("{result} of a stream"),
        }
    }

    fn take_shots(&mut self, name: u32) {
        let driver = &self.driver;
        let (token, party) = self.parties.get_mut(&name).unwrap();
        let Some(Doing::Stream(channel)) = &party.doing else {
            return;
        };
        let channel = Rc::clone(channel);
        let mut channel = channel.borrow_mut();
        while let Some(shot) = driver.take_shot(*token) {
            let was_cancelled = party.cancelled && shot.result == -libc::ECANCELED;
            assert!(shot.result > 0 || was_cancelled || channel.lost, "{shot:?}");
            assert_eq!(shot.bytes.len(), shot.result.max(0) as usize);
            channel.take(&shot.bytes);
        }
        if !driver.is_submitted(*token) {
            channel.reading = false;
            party.cancelled = false;
            party.doing = None;
        }
    }

    /// Waits until every party with a reason has been handed out.
    fn settle(&mut self) {
        self.until(|world| {
            let mut parties = world.parties.values();
            parties.all(|(_, party)| !party.waits_in_vain())
        });
    }

    fn until(&mut self, done: impl Fn(&Self) -> bool) {
        const TURNS: u32 = 2000;
        for turn in 0..TURNS {
            self.serve(Duration::from_millis(u64::from(turn > 20)));
            if done(self) {
                return;
            }
        }
        for (name, (token, party)) in &self.parties {
            assert!(!party.woken, "{name} was woken and is not handed out");
            assert!(!party.must_hear, "{name} is due and is not handed out");
            let submitted = self.driver.is_submitted(*token);
            assert!(
                !party.waits_in_vain(),
                "{name} hears nothing (cancelled: {}, submitted: {submitted})",
                party.cancelled
            );
        }
        panic!("somebody hears nothing");
    }

    /// All parties leave. After the driver is closed, nothing may touch their memory.
    fn end(mut self) {
        self.settle();
        for (name, _) in self.tokens() {
            self.leave(name);
        }
        for token in self.owed.drain(..) {
            self.driver.complete(token, 0);
        }
        self.driver.close().unwrap();
        for token in self.gone {
            assert!(
                !self.driver.is_submitted(token),
                "{token:?} keeps its place"
            );
        }
        for (memory, channel) in self.abandoned {
            let channel = channel.borrow();
            let before = memory.clone();
            let has_room = readiness_now(channel.writer(), Interest::WRITABLE);
            if matches!(has_room, Ok(Some(_))) && channel.ends.is_some() {
                parties::write_all(channel.writer(), b"late");
            }
            assert_eq!(memory, before);
        }
    }
}

impl Party {
    fn is_busy(&self) -> bool {
        self.doing.is_some()
    }

    fn waits_in_vain(&self) -> bool {
        let is_over = |doing: &Doing| {
            doing.is_due() || self.cancelled && !matches!(doing, Doing::Elsewhere(_))
        };
        self.woken || self.must_hear || self.doing.as_ref().is_some_and(is_over)
    }
}

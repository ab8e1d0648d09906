//! Random sequences of what a party can do at a driver, against a model of what must come of them.
//!
//! The model knows for each party whether it was woken, whether its deadline has passed, and whether
//! its poll has something to tell. The driver must hand out exactly those that have a reason, once for
//! each reason taken, and nobody who has left.

mod parties;

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::time::Duration;

use parties::*;
use uring_io_core::{Driver, Interest, Token, Turn, Wakeup};

/// xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

#[derive(Debug, Default)]
struct Party {
    /// What may wake it, in the order of asking.
    woken: bool,
    due: bool,
    /// The pipe that it polls.
    polls: Option<usize>,
    cancelled: bool,
    /// Whether it has been handed out and has not taken its reason.
    handed_out: bool,
}

struct World {
    driver: Closing,
    parties: HashMap<u32, (Token, Party)>,
    /// Those that have left, who must never be seen again.
    gone: Vec<Token>,
    pipes: Vec<(File, File, bool)>,
    next: u32,
    random: Random,
}

impl World {
    fn new(driver: Closing, seed: u64) -> Self {
        let pipes = (0..4).map(|_| {
            let (reader, writer) = pipe();
            (reader, writer, false)
        });
        Self {
            driver,
            parties: HashMap::new(),
            gone: Vec::new(),
            pipes: pipes.collect(),
            next: 0,
            random: Random(seed),
        }
    }

    fn any(&mut self) -> Option<u32> {
        let mut names: Vec<u32> = self.parties.keys().copied().collect();
        names.sort_unstable();
        (!names.is_empty()).then(|| names[self.random.below(names.len())])
    }

    fn step(&mut self) {
        match self.random.below(10) {
            0 | 1 => {
                let token = self.driver.park(self.next);
                self.parties.insert(self.next, (token, Party::default()));
                self.next += 1;
            }
            2 => self.with_any(|driver, token, party, _, _| {
                driver.wake(token);
                party.woken = true;
            }),
            3 => self.with_any(|driver, token, party, _, _| {
                driver.set_timeout(token, Some(Duration::ZERO));
                party.due = true;
            }),
            4 => self.with_any(|driver, token, party, random, pipes| {
                if party.polls.is_some() {
                    return;
                }
                let number = random.below(pipes.len());
                let operation = poll(fd(&pipes[number].0), Interest::READABLE);
                assert_eq!(driver.submit(token, &operation), Ok(None));
                party.polls = Some(number);
            }),
            5 => self.with_any(|driver, token, party, _, _| {
                driver.cancel(token).unwrap();
                party.cancelled |= party.polls.is_some();
            }),
            6 => {
                let number = self.random.below(self.pipes.len());
                let (reader, writer, full) = &mut self.pipes[number];
                if *full {
                    reader.read_exact(&mut [0]).unwrap();
                } else {
                    writer.write_all(&[1]).unwrap();
                }
                *full = !*full;
            }
            7 => {
                if let Some(name) = self.any() {
                    let (token, _) = self.parties.remove(&name).unwrap();
                    assert_eq!(self.driver.leave(token), Some(name));
                    assert_eq!(self.driver.leave(token), None);
                    self.gone.push(token);
                }
            }
            _ => self.serve(),
        }
    }

    fn with_any(
        &mut self,
        act: impl FnOnce(&Driver<u32>, Token, &mut Party, &mut Random, &[(File, File, bool)]),
    ) {
        if let Some(name) = self.any() {
            let (token, party) = self.parties.get_mut(&name).unwrap();
            act(&self.driver, *token, party, &mut self.random, &self.pipes);
        }
    }

    /// A turn: all that is handed out takes its reason, which must be one that it has.
    fn serve(&mut self) {
        if let Turn::Idle(_) = self.driver.begin_turn().unwrap() {
            self.driver.wait(Some(Duration::ZERO)).unwrap();
            self.driver.begin_turn().unwrap();
        }
        while let Some(token) = self.driver.next_ready() {
            assert!(!self.gone.contains(&token), "{token:?} has left");
            let name = self.driver.with_payload(token, |name| *name).unwrap();
            let (known, party) = self.parties.get_mut(&name).unwrap();
            assert_eq!(*known, token);
            assert!(!party.handed_out);
            let reason = self.driver.take_wakeup(token).expect("a reason");
            match reason {
                Wakeup::Woken => assert!(std::mem::take(&mut party.woken), "{name} was not woken"),
                Wakeup::TimedOut => assert!(std::mem::take(&mut party.due), "{name} is not due"),
                Wakeup::Completed(result) => {
                    assert!(party.polls.take().is_some(), "{name} polls nothing");
                    if result == -libc::ECANCELED {
                        assert!(party.cancelled, "{name} was not cancelled");
                    } else {
                        assert!(result > 0, "{result}");
                    }
                    party.cancelled = false;
                }
            }
            // One reason stands for all that came before it was taken, but for a completion.
            if !matches!(reason, Wakeup::Completed(_)) || party.polls.is_none() {
                party.woken = false;
            }
        }
    }

    /// Everybody who has a reason must get it; then nobody is left with one.
    fn settle(&mut self) {
        for _ in 0..20 {
            self.serve();
        }
        for (name, (token, party)) in &self.parties {
            assert!(!party.woken, "{name} was woken and is not handed out");
            if party.cancelled {
                panic!(
                    "{name} was cancelled and heard nothing: {:?}",
                    self.driver.is_submitted(*token)
                );
            }
            if let Some(number) = party.polls {
                assert!(
                    !self.pipes[number].2,
                    "{name} polls a pipe with something in it"
                );
            }
        }
    }
}

#[test]
fn a_driver_hands_out_what_a_simple_model_expects() {
    for seed in 1..=40_u64 {
        each_backend(|driver| {
            let mut world = World::new(driver, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            for _ in 0..10 {
                for _ in 0..60 {
                    world.step();
                }
                world.settle();
            }
            while let Some(name) = world.any() {
                let (token, _) = world.parties.remove(&name).unwrap();
                world.driver.leave(token);
            }
            world.driver.close().unwrap();
        });
    }
}

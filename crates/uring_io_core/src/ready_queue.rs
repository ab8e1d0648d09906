//! Tokens that may run next, in order.

use std::collections::VecDeque;

use crate::token::Token;

/// First in, first out, in turns. A turn serves the tokens that were there when it began. So parties that keep waking
/// each other cannot keep the driver from asking the kernel.
#[derive(Debug, Default)]
pub(crate) struct ReadyQueue {
    tokens: VecDeque<Token>,
    left_in_turn: usize,
}

impl ReadyQueue {
    /// Adds a token behind all others, for the next turn.
    pub fn push(&mut self, token: Token) {
        self.tokens.push_back(token);
    }

    /// Adds a token before all others, still in this turn.
    pub fn push_first(&mut self, token: Token) {
        self.tokens.push_front(token);
        self.left_in_turn += 1;
    }

    /// The next token of this turn.
    pub fn pop(&mut self) -> Option<Token> {
        self.left_in_turn = self.left_in_turn.checked_sub(1)?;
        self.tokens.pop_front()
    }

    /// The next token of this turn or any later one.
    pub fn pop_any(&mut self) -> Option<Token> {
        self.left_in_turn = self.left_in_turn.saturating_sub(1);
        self.tokens.pop_front()
    }

    /// Begins a turn with all queued tokens.
    pub fn begin_turn(&mut self) {
        self.left_in_turn = self.tokens.len();
    }

    /// Whether no token is queued, for this turn or a later one.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(slot: u32) -> Token {
        Token::new(slot, 0)
    }

    #[test]
    fn a_turn_serves_only_what_was_queued_when_it_began() {
        let mut queue = ReadyQueue::default();
        queue.push(token(1));
        assert_eq!(queue.pop(), None);
        queue.begin_turn();
        queue.push(token(2));
        assert_eq!(queue.pop(), Some(token(1)));
        assert_eq!(queue.pop(), None);
        queue.begin_turn();
        assert_eq!(queue.pop(), Some(token(2)));
        assert!(queue.is_empty());
    }

    #[test]
    fn what_is_pushed_first_runs_in_the_present_turn() {
        let mut queue = ReadyQueue::default();
        queue.push(token(1));
        queue.push_first(token(2));
        assert_eq!(queue.pop(), Some(token(2)));
        assert_eq!(queue.pop(), None);
    }
}

//! Tokens: they name the park that a completion, a timer or a wakeup belongs to.

/// The name of one park: a slot of the in-flight table, and the generation of that slot.
///
/// The table uses a slot again and again, and raises its generation each time. So it recognises a late wakeup for an
/// earlier park, and drops it. The kernel carries the token as `user_data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(u64);

impl Token {
    /// The read of the waker's eventfd that is always in flight on io_uring.
    pub(crate) const WAKER: Self = Self::reserved(0);
    /// Requests to cancel. Nobody needs their own completions: those of their targets say all.
    pub(crate) const CANCEL: Self = Self::reserved(1);

    const RESERVED_SLOT: u32 = u32::MAX;

    /// No slot has a number with this bit: it marks the guard of a stream.
    const GUARD: u64 = 1 << 31;

    const fn reserved(number: u32) -> Self {
        Self::new(Self::RESERVED_SLOT, number)
    }

    pub(crate) const fn new(slot: u32, generation: u32) -> Self {
        Self((generation as u64) << 32 | slot as u64)
    }

    /// The token as a number, for callers that cannot keep it as it is.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// The token of that number. A number that belongs to no park wakes nobody.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) fn from_user_data(user_data: u64) -> Self {
        Self(user_data)
    }

    pub(crate) fn user_data(self) -> u64 {
        self.0
    }

    /// The token of the guard of this stream: see `in_flight/guard.rs`.
    pub(crate) fn guard(self) -> Self {
        Self(self.0 | Self::GUARD)
    }

    /// The token of the stream that has this guard; `None` when it is no guard's token.
    pub(crate) fn guarded(self) -> Option<Self> {
        (self.0 & Self::GUARD != 0).then_some(Self(self.0 & !Self::GUARD))
    }

    pub(crate) fn slot(self) -> usize {
        self.0 as u32 as usize
    }

    pub(crate) fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

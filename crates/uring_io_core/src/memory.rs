//! Memory that calls read into and write from.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::sync::Arc;

use crate::address::Address;
use crate::operation::LentBuffer;

/// Memory of a transfer.
pub enum Memory {
    /// Memory that the call owns.
    Owned(Vec<u8>),
    /// Memory of a chain: one call reads into it, and a later one writes from it.
    Shared(Arc<SharedMemory>),
    /// Memory of somebody else, lent until the completion.
    Lent(LentBuffer),
}

impl Memory {
    /// The place and size of the memory. The size is at most as much as one system call takes.
    pub(crate) fn lend(&self) -> LentBuffer {
        match self {
            Self::Owned(bytes) => LentBuffer::of(bytes),
            Self::Shared(shared) => LentBuffer::at(shared.0.get().cast(), shared.length()),
            Self::Lent(buffer) => *buffer,
        }
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.lend().length())
    }
}

/// Memory that the calls of a chain pass on from one to the next. The chain keeps its calls in order, so no two of them
/// use the memory at the same time. Nobody looks at it before all are over.
pub struct SharedMemory(Box<UnsafeCell<[u8]>>);

// SAFETY: only one call of a chain at a time uses the memory, and that call may run on any thread.
unsafe impl Send for SharedMemory {}
// SAFETY: as above. The safe methods read only the address and the length through a shared reference.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    /// `length` bytes, all zero. `None` when there is not enough memory.
    pub fn new(length: usize) -> Option<Self> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length).ok()?;
        bytes.resize(length, 0);
        let bytes = Box::into_raw(bytes.into_boxed_slice());
        // SAFETY: an UnsafeCell has the layout of its content, and `into_raw` has just given the box up.
        Some(Self(unsafe {
            Box::from_raw(bytes as *mut UnsafeCell<[u8]>)
        }))
    }

    /// Size in bytes.
    pub fn length(&self) -> usize {
        self.0.get().len()
    }

    /// The first `length` bytes, once the chain is over.
    ///
    /// # Safety
    ///
    /// Every call that uses the memory must have completed.
    pub unsafe fn bytes(&self, length: usize) -> &[u8] {
        // SAFETY: the caller promises that all calls have completed, so nobody writes to the memory any longer.
        let all = unsafe { &*self.0.get() };
        &all[..length.min(all.len())]
    }
}

/// One piece of memory of a vectored transfer, laid out as `struct iovec`.
#[repr(C)]
pub(crate) struct Segment {
    address: *mut u8,
    length: usize,
}

const _: () = assert!(size_of::<Segment>() == size_of::<libc::iovec>());

impl Segment {
    fn of(memory: &Memory) -> Self {
        let buffer = memory.lend();
        Self {
            address: buffer.address(),
            length: buffer.length(),
        }
    }
}

/// Several pieces of memory, filled or written out one after the other.
pub struct Vectors {
    /// The memory that the segments point to.
    #[expect(dead_code, reason = "kept while the kernel uses it")]
    memories: Vec<Memory>,
    segments: Vec<Segment>,
}

impl Vectors {
    /// The pieces, in this order.
    pub fn new(memories: Vec<Memory>) -> Self {
        let segments = memories.iter().map(Segment::of).collect();
        Self { memories, segments }
    }

    /// Where the kernel finds the segments, and how many there are.
    pub(crate) fn place(&self) -> (*const libc::iovec, u32) {
        (self.segments.as_ptr().cast(), self.segments.len() as u32)
    }

    /// The bytes of all pieces together.
    pub(crate) fn length(&self) -> usize {
        self.segments.iter().map(|segment| segment.length).sum()
    }
}

impl std::fmt::Debug for Vectors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} segments", self.segments.len())
    }
}

/// A message of sendmsg(2) or recvmsg(2): data, an address and ancillary data.
pub struct Message {
    header: libc::msghdr,
    segment: Segment,
    memory: Memory,
    address: libc::sockaddr_storage,
    address_length: usize,
    /// In words of 8 bytes, for the alignment of `struct cmsghdr`.
    control: Vec<u64>,
    control_length: usize,
}

impl Message {
    /// A message to send, with ancillary data as cmsg(3) lays it out. It needs an address unless the socket is
    /// connected.
    pub fn to_send(memory: Memory, address: Option<Address>, control: &[u8]) -> Self {
        let mut message = Self::to_receive(memory, control.len());
        message.address_length = 0;
        if let Some(address) = address {
            message.address = address.storage;
            message.address_length = address.length as usize;
        }
        for (word, bytes) in message.control.iter_mut().zip(control.chunks(8)) {
            let mut padded = [0; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_ne_bytes(padded);
        }
        message
    }

    /// A message to receive: data into `memory`, and at most `control_length` bytes of ancillary data.
    pub fn to_receive(memory: Memory, control_length: usize) -> Self {
        // SAFETY: all zeros are a valid header, without any content, and a valid address, without a family.
        let (header, address) = unsafe { std::mem::zeroed() };
        Self {
            header,
            segment: Segment::of(&memory),
            memory,
            address,
            address_length: size_of::<libc::sockaddr_storage>(),
            control: vec![0; control_length.div_ceil(8)],
            control_length,
        }
    }

    /// The header, with pointers to the other fields. The message must stay where it is until the call is over.
    pub(crate) fn header(&mut self) -> *mut libc::msghdr {
        self.header.msg_iov = std::ptr::from_mut(&mut self.segment).cast();
        self.header.msg_iovlen = 1;
        if self.address_length > 0 {
            self.header.msg_name = std::ptr::from_mut(&mut self.address).cast();
            self.header.msg_namelen = self.address_length as libc::socklen_t;
        }
        if self.control_length > 0 {
            self.header.msg_control = self.control.as_mut_ptr().cast();
            self.header.msg_controllen = self.control_length as _;
        }
        &raw mut self.header
    }

    /// The memory of the message's data.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The address that the kernel filled in, as a packed sockaddr; empty when there is none.
    pub fn address(&self) -> &[u8] {
        let length = (self.header.msg_namelen as usize).min(size_of_val(&self.address));
        let bytes = std::ptr::from_ref(&self.address).cast();
        // SAFETY: `length` is at most the size of the structure, which was made of zeros: all its bytes are
        // initialised.
        unsafe { std::slice::from_raw_parts(bytes, length) }
    }

    /// The flags that the kernel filled in (`MSG_TRUNC`, ...).
    pub fn flags(&self) -> i32 {
        self.header.msg_flags
    }

    /// Calls `take` with the level, type and data of each piece of ancillary data that the kernel filled in.
    #[allow(clippy::unnecessary_cast, reason = "musl has lengths of 32 bits")]
    pub fn each_control(&self, mut take: impl FnMut(i32, i32, &[u8])) {
        // SAFETY: the call has completed the header. It points to `self.control` and says how much of that the kernel
        // has filled in, and the macros stay inside of that.
        unsafe {
            let mut control = libc::CMSG_FIRSTHDR(&self.header);
            while let Some(found) = control.as_ref() {
                let data = libc::CMSG_DATA(control);
                let begins = data as usize - self.header.msg_control as usize;
                // The data ends with the control area, whatever its length says: the kernel may have cut it off.
                let left = self.control_length.saturating_sub(begins);
                let header = data as usize - control as usize;
                let length = (found.cmsg_len as usize).saturating_sub(header);
                let data = std::slice::from_raw_parts(data, length.min(left));
                take(found.cmsg_level, found.cmsg_type, data);
                control = libc::CMSG_NXTHDR(&self.header, control);
            }
        }
    }

    /// The descriptors that came along (`SCM_RIGHTS`).
    pub fn descriptors(&self) -> Vec<i32> {
        let mut descriptors = Vec::new();
        self.each_control(|level, kind, data| {
            if level == libc::SOL_SOCKET && kind == libc::SCM_RIGHTS {
                let numbers = data.chunks_exact(4);
                descriptors.extend(numbers.map(|number| {
                    i32::from_ne_bytes([number[0], number[1], number[2], number[3]])
                }));
            }
        });
        descriptors
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}, {} of control", self.memory, self.control_length)
    }
}

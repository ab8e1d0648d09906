//! Addresses of sockets.
#![allow(unsafe_code)]

use std::os::fd::RawFd;

/// A socket address in the kernel's format.
#[derive(Clone, Copy)]
pub struct Address {
    pub(crate) storage: libc::sockaddr_storage,
    pub(crate) length: libc::socklen_t,
}

impl Address {
    /// The address in these bytes (a packed sockaddr); `None` when they are longer than any address.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        // SAFETY: all zeros are a valid address, of no family.
        let mut storage = unsafe { std::mem::zeroed::<libc::sockaddr_storage>() };
        if bytes.len() > size_of_val(&storage) {
            return None;
        }
        let place = std::ptr::from_mut(&mut storage).cast::<u8>();
        // SAFETY: the check above makes sure that the bytes fit, and any bytes are a valid address.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len()) };
        Some(Self {
            storage,
            length: bytes.len() as libc::socklen_t,
        })
    }

    /// The peer of a socket; `None` when it is not connected, or when the descriptor is no socket.
    pub fn of_peer(fd: RawFd) -> Option<Self> {
        Self::told_by(fd, libc::getpeername)
    }

    /// The address of a socket itself; `None` when the descriptor is no socket.
    pub fn of_socket(fd: RawFd) -> Option<Self> {
        Self::told_by(fd, libc::getsockname)
    }

    fn told_by(
        fd: RawFd,
        tell: unsafe extern "C" fn(i32, *mut libc::sockaddr, *mut libc::socklen_t) -> i32,
    ) -> Option<Self> {
        let mut told = Self::from_bytes(&[])?;
        let mut length = size_of_val(&told.storage) as libc::socklen_t;
        let place = (&raw mut told.storage).cast();
        // SAFETY: `tell` is getpeername(2) or getsockname(2). Either writes at most `length` bytes, the size of
        // `storage`, a local.
        let result = unsafe { tell(fd, place, &raw mut length) };
        told.length = length.min(size_of_val(&told.storage) as libc::socklen_t);
        (result == 0).then_some(told)
    }

    /// The bytes of the address: a packed sockaddr.
    pub fn as_bytes(&self) -> &[u8] {
        let place = (&raw const self.storage).cast::<u8>();
        // SAFETY: `length` is at most the size of `storage`, and `storage` is initialised as a whole.
        unsafe { std::slice::from_raw_parts(place, self.length as usize) }
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "family {}", self.storage.ss_family)
    }
}

//! Addresses of sockets.
#![allow(unsafe_code)]

/// A socket address as the kernel has it.
#[derive(Clone, Copy)]
pub struct Address {
    pub(crate) storage: libc::sockaddr_storage,
    pub(crate) length: libc::socklen_t,
}

impl Address {
    /// The address in these bytes (a packed sockaddr); `None` when there are more than any has.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        // SAFETY: all zeros is an address of no family.
        let mut storage = unsafe { std::mem::zeroed::<libc::sockaddr_storage>() };
        if bytes.len() > size_of_val(&storage) {
            return None;
        }
        let place = std::ptr::from_mut(&mut storage).cast::<u8>();
        // SAFETY: the bytes fit, see above, and any bytes are an address.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len()) };
        Some(Self {
            storage,
            length: bytes.len() as libc::socklen_t,
        })
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "family {}", self.storage.ss_family)
    }
}

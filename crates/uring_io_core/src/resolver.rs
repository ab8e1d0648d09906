//! Resolves host names with the system's resolver, which uses /etc/hosts, nsswitch and search domains.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard};

use crate::error::Error;
use crate::hosts::Hosts;
use crate::platform::numbers;

/// `None` until the first call. A caller that finds it locked goes on without it: in a forked child it may stay locked
/// for ever.
static HOSTS: Mutex<Option<Hosts>> = Mutex::new(None);

fn hosts() -> Option<MutexGuard<'static, Option<Hosts>>> {
    HOSTS.try_lock().ok()
}

/// The answer that [`resolve`] gave for a host less than a second ago, if /etc/hosts has the name. Never waits.
pub fn resolved(host: &CStr) -> Option<Vec<String>> {
    let hosts = hosts()?;
    Some(hosts.as_ref()?.answer(host.to_bytes())?.to_vec())
}

/// Why the resolver did not resolve a name: the code of getaddrinfo(3) and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolveError {
    /// `EAI_NONAME`, `EAI_AGAIN`, ...
    pub code: i32,
    /// The text of gai_strerror(3).
    pub message: String,
    /// The errno of a system call that failed: the reason for `EAI_SYSTEM`.
    pub errno: Option<i32>,
}

impl ResolveError {
    /// At once after the call, which has set errno.
    fn new(code: i32) -> Self {
        let errno = Error::last("getaddrinfo").errno;
        // SAFETY: for any code, the call returns a string that is never freed.
        let message = unsafe { CStr::from_ptr(libc::gai_strerror(code)) };
        Self {
            code,
            message: message.to_string_lossy().into_owned(),
            errno: (code == libc::EAI_SYSTEM && errno != 0).then_some(errno),
        }
    }

    /// Whether the resolver knows that there is no such name.
    pub fn is_unknown_name(&self) -> bool {
        self.code == libc::EAI_NONAME || self.code == numbers::EAI_NODATA
    }
}

/// A list from getaddrinfo(3), which is freed when this is dropped.
struct AddressList(*mut libc::addrinfo);

impl Drop for AddressList {
    fn drop(&mut self) {
        // SAFETY: the list was returned by getaddrinfo and this is its only owner.
        unsafe { libc::freeaddrinfo(self.0) };
    }
}

/// The numeric addresses of a host, in the resolver's order, without repetitions. Blocks for as long as the resolver
/// takes.
pub fn resolve(host: &CStr) -> Result<Vec<String>, ResolveError> {
    let source = hosts().map(|mut hosts| hosts.get_or_insert_with(Hosts::of_the_system).source());
    let addresses = asked(host)?;
    if let (Some(source), Some(mut hosts)) = (source, hosts()) {
        if let Some(hosts) = hosts.as_mut() {
            hosts.keep(host.to_bytes(), &addresses, source);
        }
    }
    Ok(addresses)
}

fn asked(host: &CStr) -> Result<Vec<String>, ResolveError> {
    // SAFETY: an addrinfo of zeroes is what getaddrinfo expects of unused hints.
    let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
    hints.ai_socktype = libc::SOCK_STREAM;
    let mut found = std::ptr::null_mut();
    // SAFETY: the name ends in NUL; `hints` and `found` outlive the call.
    let code = unsafe { libc::getaddrinfo(host.as_ptr(), std::ptr::null(), &hints, &mut found) };
    if code != 0 {
        return Err(ResolveError::new(code));
    }
    let list = AddressList(found);
    let mut addresses = Vec::new();
    let mut next = list.0;
    while !next.is_null() {
        // SAFETY: the entries are valid until `list` is dropped, after this loop.
        let entry = unsafe { &*next };
        if let Some(address) = numeric(entry) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        next = entry.ai_next;
    }
    Ok(addresses)
}

fn numeric(entry: &libc::addrinfo) -> Option<String> {
    match entry.ai_family {
        libc::AF_INET => {
            // SAFETY: the family says that the address is a sockaddr_in.
            let address = unsafe { &*entry.ai_addr.cast::<libc::sockaddr_in>() };
            Some(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)).to_string())
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that the address is a sockaddr_in6.
            let address = unsafe { &*entry.ai_addr.cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
            Some(match address.sin6_scope_id {
                0 => ip.to_string(),
                scope => format!("{ip}%{scope}"),
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use super::*;

    #[test]
    fn localhost_has_a_loopback_address() {
        let addresses = resolve(&CString::new("localhost").unwrap()).unwrap();
        assert!(addresses
            .iter()
            .any(|address| address == "127.0.0.1" || address == "::1"));
    }

    #[test]
    fn a_name_that_cannot_be_is_an_error_with_its_reason() {
        let error = resolve(&CString::new("no such name").unwrap()).unwrap_err();
        assert!(!error.message.is_empty());
    }
}

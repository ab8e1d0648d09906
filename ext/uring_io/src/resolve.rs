//! The address_resolve hook: the system's resolver in a worker thread.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};

use magnus::value::ReprValue;
use magnus::{Error, RString, Ruby, Value};

use crate::engine::Engine;

/// Numeric addresses of `hostname`, or nil when it has none: Ruby then raises as for any name
/// that is not known.
pub fn resolve(engine: &Engine, ruby: &Ruby, hostname: RString) -> Result<Value, Error> {
    let hostname = hostname.to_string()?;
    let addresses = Arc::new(Mutex::new(Vec::new()));
    let found = Arc::clone(&addresses);
    let job = move || match (hostname.as_str(), 0).to_socket_addrs() {
        Ok(resolved) => {
            *found.lock().unwrap_or_else(PoisonError::into_inner) =
                resolved.map(|address| numeric(&address)).collect();
            0
        }
        Err(_) => -libc::ENOENT,
    };
    let result = engine.offload(ruby, Box::new(job))?;
    let addresses = std::mem::take(&mut *addresses.lock().unwrap_or_else(PoisonError::into_inner));
    if result < 0 || addresses.is_empty() {
        return Ok(ruby.qnil().as_value());
    }
    Ok(ruby.ary_from_iter(addresses).as_value())
}

fn numeric(address: &SocketAddr) -> String {
    match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
        address => address.ip().to_string(),
    }
}

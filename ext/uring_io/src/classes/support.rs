//! The core's findings about this machine, as plain Ruby values. `lib/uring_io/support.rb` makes objects of them.

use magnus::{function, prelude::*, Error, RHash, RModule, Ruby};
use uring_io_core::support::{BackendSupport, Limits, Releases, Support};

/// UringIO::Support.detect_raw: a Hash of Hashes.
fn detect(ruby: &Ruby) -> Result<RHash, Error> {
    let support = Support::detect();
    let hash = ruby.hash_new();
    let kernel = ruby.hash_new();
    let (major, minor, patch) = support.kernel.version;
    kernel.aset(ruby.to_symbol("name"), support.kernel.sysname.as_str())?;
    kernel.aset(ruby.to_symbol("release"), support.kernel.release.as_str())?;
    kernel.aset(ruby.to_symbol("version"), vec![major, minor, patch])?;
    kernel.aset(ruby.to_symbol("machine"), support.kernel.machine.as_str())?;
    hash.aset(ruby.to_symbol("kernel"), kernel)?;
    let backends = ruby.hash_new();
    for backend in &support.backends {
        backends.aset(
            ruby.to_symbol(backend.kind.name()),
            backend_hash(ruby, backend)?,
        )?;
    }
    hash.aset(ruby.to_symbol("backends"), backends)?;
    for (name, list) in [
        ("operations", &support.operations),
        ("features", &support.features),
        ("setup_flags", &support.setup_flags),
    ] {
        let entries = ruby.hash_new();
        for (entry, present) in list {
            entries.aset(ruby.to_symbol(*entry), *present)?;
        }
        hash.aset(ruby.to_symbol(name), entries)?;
    }
    let denied = support.denied.iter().map(|name| ruby.to_symbol(*name));
    hash.aset(ruby.to_symbol("denied"), ruby.ary_from_iter(denied))?;
    hash.aset(
        ruby.to_symbol("limits"),
        limits_hash(ruby, &support.limits)?,
    )?;
    Ok(hash)
}

/// UringIO::Support.releases: a Hash of Hashes.
fn releases(ruby: &Ruby) -> Result<RHash, Error> {
    let known = Releases::known();
    let hash = ruby.hash_new();
    for (name, list) in [
        ("operations", &known.operations),
        ("features", &known.features),
        ("setup_flags", &known.setup_flags),
    ] {
        let entries = ruby.hash_new();
        for (entry, (major, minor)) in list {
            entries.aset(ruby.to_symbol(*entry), format!("{major}.{minor}"))?;
        }
        hash.aset(ruby.to_symbol(name), entries)?;
    }
    Ok(hash)
}

fn backend_hash(ruby: &Ruby, backend: &BackendSupport) -> Result<RHash, Error> {
    let hash = ruby.hash_new();
    hash.aset(ruby.to_symbol("available"), backend.is_available())?;
    if let Some(why) = &backend.unavailable {
        hash.aset(ruby.to_symbol("reason"), ruby.to_symbol(why.reason.name()))?;
        hash.aset(ruby.to_symbol("call"), why.call)?;
        hash.aset(ruby.to_symbol("errno"), why.errno)?;
        hash.aset(ruby.to_symbol("cause"), why.cause.as_str())?;
        hash.aset(ruby.to_symbol("remedy"), why.remedy.as_str())?;
    }
    Ok(hash)
}

fn limits_hash(ruby: &Ruby, limits: &Limits) -> Result<RHash, Error> {
    let hash = ruby.hash_new();
    for (name, limit) in [
        ("open_files_soft", limits.open_files_soft),
        ("open_files_hard", limits.open_files_hard),
        ("memlock_soft", limits.memlock_soft),
        ("memlock_hard", limits.memlock_hard),
    ] {
        hash.aset(ruby.to_symbol(name), limit)?;
    }
    hash.aset(ruby.to_symbol("cpus"), limits.cpus)?;
    Ok(hash)
}

pub fn init(ruby: &Ruby, module: RModule) -> Result<(), Error> {
    let class = module.define_class("Support", ruby.class_object())?;
    class.define_singleton_method("detect_raw", function!(detect, 0))?;
    class.define_singleton_method("releases", function!(releases, 0))?;
    class
        .singleton_class()?
        .funcall::<_, _, magnus::Value>("private", (ruby.to_symbol("detect_raw"),))?;
    Ok(())
}

//! The keywords that every constructor takes, and the driver that they ask for.

use std::str::FromStr;

use magnus::scan_args::get_kwargs;
use magnus::{prelude::*, Error, RHash, Ruby, Value};
use uring_io_core::support;
use uring_io_core::{BackendKind, Driver, Options, RingOptions, Sqpoll};

use crate::ruby::{duration, errors, ractors};

/// A new driver and its options.
pub struct Backing<P> {
    pub driver: Driver<P>,
    /// The options of the driver, with its backend.
    pub options: Options,
    /// The limit of threads for blocking work, if the caller gave one.
    pub workers: Option<u32>,
}

/// Makes the driver that these keywords ask for: backend: nil, entries: `entries_default`, sqpoll: false,
/// sqpoll_idle: 1, sqpoll_cpu: nil, workers: nil, restrict: false.
pub fn driver<P>(ruby: &Ruby, keywords: RHash, entries_default: u32) -> Result<Backing<P>, Error> {
    type Given = Option<Value>;
    type Optional = (
        Given,
        Given,
        Option<bool>,
        Given,
        Given,
        Given,
        Option<bool>,
    );
    let names = [
        "backend",
        "entries",
        "sqpoll",
        "sqpoll_idle",
        "sqpoll_cpu",
        "workers",
        "restrict",
    ];
    let keywords = get_kwargs::<_, (), Optional, ()>(keywords, &[], &names)?;
    let (backend, entries, sqpoll, idle, cpu, workers, restrict) = keywords.optional;
    let ring = RingOptions {
        entries: whole_number(ruby, "entries", entries, entries_default, 32_768)?,
        sqpoll: polling_thread(ruby, sqpoll.unwrap_or(false), idle, cpu)?,
        any_thread: !ractors::keep_native_thread(ruby)?,
        // Other backends have no ring, and nothing to restrict.
        restrict: restrict.unwrap_or(false),
        ..RingOptions::default()
    };
    let workers = workers.filter(|workers| !workers.is_nil());
    let workers_max = whole_number(ruby, "workers", workers, 8, 1024)?;
    let options = |backend| Options {
        backend,
        ring: ring.clone(),
        workers_max: workers_max as usize,
    };
    let asked = asked_for(ruby, backend)?;
    // Only io_uring has a polling thread, so with sqpoll: there is no backend to fall back to.
    let asked = asked.or(ring.sqpoll.map(|_| BackendKind::IoUring));
    if let (Some(kind), true) = (asked, ring.sqpoll.is_some()) {
        if kind != BackendKind::IoUring {
            let message = format!(
                "sqpoll: needs io_uring, and the backend is {kind}: leave sqpoll: out, or give backend: :io_uring"
            );
            return Err(errors::unsupported(ruby, message));
        }
        warn_of_few_cpus(ruby)?;
    }
    let driver = match asked {
        Some(kind) => driver_on(ruby, kind, &options(kind))?,
        None => best_driver(ruby, options)?,
    };
    Ok(Backing {
        options: options(driver.backend()),
        driver,
        workers: workers.map(|_| workers_max),
    })
}

/// The polling thread that sqpoll:, sqpoll_idle: (in seconds) and sqpoll_cpu: ask for.
fn polling_thread(
    ruby: &Ruby,
    wanted: bool,
    idle: Option<Value>,
    cpu: Option<Value>,
) -> Result<Option<Sqpoll>, Error> {
    let idle = match idle.filter(|idle| !idle.is_nil()) {
        Some(idle) => duration::required(ruby, idle)?.as_millis().max(1),
        None => 1000,
    };
    let Ok(idle_ms) = u32::try_from(idle) else {
        let message = format!(
            "sqpoll_idle must be below 4294967 seconds, {} given",
            idle / 1000
        );
        return Err(errors::argument(ruby, message));
    };
    let cpu = cpu.filter(|cpu| !cpu.is_nil());
    let cpu = cpu.map(u32::try_convert).transpose()?;
    if let Some(cpu) = cpu {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        // `cpus` counts only the CPUs that the process may use, so a valid number may be higher.
        if wanted && cpu > 4096.max(cpus as u32) {
            let message = format!("sqpoll_cpu must be the number of a CPU, {cpu} given");
            return Err(errors::argument(ruby, message));
        }
    }
    Ok(wanted.then_some(Sqpoll { idle_ms, cpu }))
}

/// Warns on a machine with few CPUs, because the polling thread of the kernel keeps one of them busy.
fn warn_of_few_cpus(ruby: &Ruby) -> Result<(), Error> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    if cpus <= 2 {
        let message = format!(
            "uring_io: sqpoll: true keeps one CPU busy while there is IO, and this machine has {cpus}: \
             it is probably slower than without sqpoll:"
        );
        let kernel: Value = ruby.module_kernel().as_value();
        kernel.funcall::<_, _, Value>("warn", (message,))?;
    }
    Ok(())
}

/// The value of a keyword that takes a whole number from 1 to `most`.
fn whole_number(
    ruby: &Ruby,
    name: &str,
    given: Option<Value>,
    default: u32,
    most: u32,
) -> Result<u32, Error> {
    let Some(given) = given else {
        return Ok(default);
    };
    let number = i64::try_convert(given)?;
    if !(1..=i64::from(most)).contains(&number) {
        let message = format!("{name} must be from 1 to {most}, {number} given");
        return Err(errors::argument(ruby, message));
    }
    Ok(number as u32)
}

/// The backend that the argument names, or else the environment variable.
fn asked_for(ruby: &Ruby, backend: Option<Value>) -> Result<Option<BackendKind>, Error> {
    const VARIABLE: &str = "URING_IO_BACKEND";
    let (name, source) = match backend.filter(|backend| !backend.is_nil()) {
        Some(backend) => {
            if !backend.is_kind_of(ruby.class_symbol()) && !backend.is_kind_of(ruby.class_string())
            {
                let message = format!("backend must be a Symbol, {} given", backend.class());
                return Err(errors::wrong_type(ruby, message));
            }
            (backend.to_string(), "backend:")
        }
        None => match environment(ruby, VARIABLE)? {
            Some(name) => (name, VARIABLE),
            None => return Ok(None),
        },
    };
    BackendKind::from_str(&name).map(Some).map_err(|_| {
        let names = BackendKind::ALL.map(|kind| format!(":{kind}")).join(", ");
        errors::argument(
            ruby,
            format!("{source} names no backend: {name:?}; use one of {names}"),
        )
    })
}

/// A variable of Ruby's ENV; an empty one counts as unset.
fn environment(ruby: &Ruby, name: &str) -> Result<Option<String>, Error> {
    let env: Value = ruby.class_object().const_get("ENV")?;
    let value: Option<Value> = env.funcall("[]", (name,))?;
    let text = value.map(|value| value.to_string());
    Ok(text.filter(|text| !text.is_empty()))
}

/// The options for making the same driver for the calling thread.
pub fn for_this_thread(ruby: &Ruby, mut made: Options) -> Result<Options, Error> {
    made.ring.any_thread = !ractors::keep_native_thread(ruby)?;
    Ok(made)
}

pub fn driver_on<P>(ruby: &Ruby, kind: BackendKind, options: &Options) -> Result<Driver<P>, Error> {
    Driver::new(options)
        .map_err(|error| errors::backend_unavailable(ruby, kind.name(), &support::diagnose(&error)))
}

/// A driver with the first backend that works. A lack of io_uring raises nothing: this falls back to another backend,
/// and UringIO.support says why.
fn best_driver<P>(
    ruby: &Ruby,
    options: impl Fn(BackendKind) -> Options,
) -> Result<Driver<P>, Error> {
    let mut last = None;
    for kind in BackendKind::ALL {
        match Driver::new(&options(kind)) {
            Ok(driver) => return Ok(driver),
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(
        || errors::base(ruby, "no backend"),
        |error| errors::errno(ruby, error),
    ))
}

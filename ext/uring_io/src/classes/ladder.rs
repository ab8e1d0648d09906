//! Class UringIO::Ladder: measures one rung, without the GVL. `lib/uring_io/ladder.rb` goes through all rungs and
//! reports the results.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use magnus::{function, prelude::*, Error, RHash, RModule, Ruby, Symbol, Value};
use uring_io_core::ladder::{
    self, Cost, Exchange, Growth, Limit, Measurement, Outcome, Rung, Step,
};

use crate::ruby::{duration, errors, gvl};

/// Measures one rung with that many connections, each part for that many seconds. Returns a Hash, which has only
/// `:limit` if a limit prevents the measurement. An exception that somebody raises in the thread ends it.
fn measure(ruby: &Ruby, name: Symbol, connections: usize, seconds: Value) -> Result<RHash, Error> {
    let name = name.name()?;
    let Some(rung) = Rung::named(&name) else {
        let message = format!("there is no rung {name:?}");
        return Err(Error::new(ruby.exception_arg_error(), message));
    };
    let length: Duration = duration::required(ruby, seconds)?;
    loop {
        let stop = AtomicBool::new(false);
        let made = gvl::without(&stop, || ladder::measure(rung, connections, length, &stop));
        match made.transpose() {
            Err(error) => return Err(errors::errno(ruby, error)),
            Ok(Some(Outcome::Measured(measurement))) => return measured(ruby, &measurement),
            Ok(Some(Outcome::Limited(found))) => {
                let hash = ruby.hash_new();
                hash.aset(ruby.to_symbol("limit"), limit(ruby, found)?)?;
                return Ok(hash);
            }
            // Perhaps a signal handler has run without raising. Then this begins again.
            Ok(None | Some(Outcome::Stopped)) => ruby.thread_check_ints()?,
        }
    }
}

fn measured(ruby: &Ruby, found: &Measurement) -> Result<RHash, Error> {
    let hash = ruby.hash_new();
    hash.aset(ruby.to_symbol("connections"), found.connections)?;
    hash.aset(ruby.to_symbol("active"), found.active)?;
    let cut = found.cut.map(|cut| limit(ruby, cut)).transpose()?;
    hash.aset(ruby.to_symbol("cut"), cut)?;
    hash.aset(ruby.to_symbol("turns"), cost(ruby, &found.turns)?)?;
    let together = found
        .together
        .as_ref()
        .map(|it| cost(ruby, it))
        .transpose()?;
    hash.aset(ruby.to_symbol("together"), together)?;
    hash.aset(ruby.to_symbol("memory"), growth(ruby, found.growth)?)?;
    hash.aset(ruby.to_symbol("exchange"), exchange(ruby, &found.exchange)?)?;
    Ok(hash)
}

fn limit(ruby: &Ruby, limit: Limit) -> Result<RHash, Error> {
    let hash = ruby.hash_new();
    hash.aset(ruby.to_symbol("cause"), ruby.to_symbol(limit.cause.name()))?;
    hash.aset(ruby.to_symbol("most"), limit.most)?;
    hash.aset(
        ruby.to_symbol("error"),
        limit.error.map(|it| it.to_string()),
    )?;
    Ok(hash)
}

fn cost(ruby: &Ruby, cost: &Cost) -> Result<RHash, Error> {
    let hash = ruby.hash_new();
    hash.aset(ruby.to_symbol("exchanges"), cost.exchanges)?;
    hash.aset(ruby.to_symbol("calls"), cost.calls)?;
    for (name, length) in [
        ("cpu", Some(cost.cpu)),
        ("user", Some(cost.user)),
        ("system", Some(cost.system)),
        ("kernel_thread", cost.kernel_thread),
        ("elapsed", Some(cost.elapsed)),
        ("median", Some(cost.median)),
    ] {
        hash.aset(ruby.to_symbol(name), length.map(|it| it.as_secs_f64()))?;
    }
    Ok(hash)
}

fn growth(ruby: &Ruby, growth: Growth) -> Result<RHash, Error> {
    let hash = ruby.hash_new();
    hash.aset(ruby.to_symbol("process"), growth.process)?;
    hash.aset(ruby.to_symbol("kernel_stacks"), growth.kernel_stacks)?;
    hash.aset(ruby.to_symbol("kernel_objects"), growth.kernel_objects)?;
    Ok(hash)
}

fn exchange(ruby: &Ruby, exchange: &Exchange) -> Result<RHash, Error> {
    let hash = ruby.hash_new();
    let calls = exchange.calls.iter().map(|name| ruby.str_new(name));
    hash.aset(ruby.to_symbol("calls"), ruby.ary_from_iter(calls))?;
    hash.aset(ruby.to_symbol("answered"), exchange.answered)?;
    let steps = ruby.ary_new();
    for step in &exchange.steps {
        steps.push(one_step(ruby, step)?)?;
    }
    hash.aset(ruby.to_symbol("steps"), steps)?;
    Ok(hash)
}

fn one_step(ruby: &Ruby, step: &Step) -> Result<RHash, Error> {
    let hash = ruby.hash_new();
    hash.aset(ruby.to_symbol("name"), step.name)?;
    hash.aset(ruby.to_symbol("words"), step.words.as_str())?;
    hash.aset(ruby.to_symbol("call"), step.is_call)?;
    hash.aset(ruby.to_symbol("from"), step.from)?;
    hash.aset(ruby.to_symbol("to"), step.to)?;
    Ok(hash)
}

pub fn init(ruby: &Ruby, module: RModule) -> Result<(), Error> {
    let class = module.define_class("Ladder", ruby.class_object())?;
    let singleton = class.singleton_class()?;
    singleton.define_private_method("measure", function!(measure, 3))?;
    Ok(())
}

//! Arguments of methods with optional arguments. magnus's scan_args would cost more than such a method itself, because
//! it builds a format for rb_scan_args at each call.

use std::ops::RangeInclusive;

use magnus::value::Fixnum;
use magnus::{Error, Ruby, TryConvert, Value};

use crate::ruby::errors;

/// A number of bytes: `usize::try_convert`, with a shortcut for a Fixnum.
#[inline]
pub fn size(value: Value) -> Result<usize, Error> {
    let small = Fixnum::from_value(value).and_then(|number| number.to_usize().ok());
    small.map_or_else(|| usize::try_convert(value), Ok)
}

/// Raises ArgumentError, in Ruby's words, unless there are as many arguments as expected.
#[inline]
pub fn check_count(
    ruby: &Ruby,
    arguments: &[Value],
    expected: RangeInclusive<usize>,
) -> Result<(), Error> {
    if expected.contains(&arguments.len()) {
        return Ok(());
    }
    Err(wrong_count(ruby, arguments.len(), expected))
}

#[cold]
fn wrong_count(ruby: &Ruby, given: usize, expected: RangeInclusive<usize>) -> Error {
    let (least, most) = expected.into_inner();
    let expected = if least == most {
        least.to_string()
    } else {
        format!("{least}..{most}")
    };
    let message = format!("wrong number of arguments (given {given}, expected {expected})");
    errors::argument(ruby, message)
}

//! Makes the version of the Ruby that is built against known as `cfg(ruby_gte_3_4)` and so on.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    rb_sys_env::activate()?;
    Ok(())
}

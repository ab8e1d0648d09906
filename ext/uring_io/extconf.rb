# frozen_string_literal: true

require_relative "toolchain"

# Before mkmf, which follows each early end with a page of its own.
missing = Toolchain.missing
unless missing.empty?
  # Not a raise: the message shall not be below a backtrace.
  abort <<~MESSAGE
    uring_io is written in Rust, and cannot be compiled here. What is missing:
    #{missing.map { |thing| "  - #{thing}" }.join("\n")}
    Linux with glibc on x86_64 and aarch64 can do without: `gem install uring_io --platform x86_64-linux-gnu` (or
    aarch64-linux-gnu) takes the compiled gem where there is one for this Ruby (#{RUBY_VERSION}).
  MESSAGE
end

require "mkmf"
require "rb_sys/mkmf"

# In the folder of this Ruby, where native.rb looks. `rake compile` names that itself.
create_rust_makefile("uring_io/#{RUBY_VERSION[/\A\d+\.\d+/]}/uring_io")

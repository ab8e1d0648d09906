# frozen_string_literal: true

require "mkmf"
require "rb_sys/mkmf"

# After that of uring_io, which has said what is missing. In the folder of this Ruby, where the agent looks.
create_rust_makefile("uring_io/#{RUBY_VERSION[/\A\d+\.\d+/]}/uring_io_agent")

# frozen_string_literal: true

require "mkmf"
require "rb_sys/mkmf"

create_rust_makefile("uring_io/uring_io")

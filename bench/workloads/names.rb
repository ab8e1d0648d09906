# frozen_string_literal: true

require "socket"
require_relative "../program"

FIBERS = 20

# A name of /etc/hosts, as in the address of a database or of a service beside the program.
Bench.program do |b|
  FIBERS.times do
    b.spawn { loop { b.op { Addrinfo.getaddrinfo("localhost", 80, nil, :STREAM) } } }
  end
end

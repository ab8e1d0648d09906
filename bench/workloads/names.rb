# frozen_string_literal: true

require "socket"
require_relative "../program"

FIBERS = 20

# Looks up a name of /etc/hosts, like that of a database or service on the same machine.
Bench.program do |b|
  FIBERS.times do
    b.spawn { loop { b.op { Addrinfo.getaddrinfo("localhost", 80, nil, :STREAM) } } }
  end
end

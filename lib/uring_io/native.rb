# frozen_string_literal: true

# The compiled extension. It is built for one minor version of Ruby: platform gems carry one for
# each, in a folder of that name.
begin
  require "socket" # the extension looks for its classes
  require_relative "#{RUBY_VERSION[/\A\d+\.\d+/]}/uring_io"
rescue LoadError => error
  raise LoadError, "#{error.message}\nuring_io is not compiled for Ruby #{RUBY_VERSION}: " \
                   "run `rake compile` in a checkout, or `gem install uring_io --platform ruby`, " \
                   "which compiles it (a platform gem needs glibc 2.34)"
end

# Ruby wraps the memory that it gives to a hook in an IO::Buffer, and warns at the first one that the class is
# experimental. The program cannot change that, so make the first one here, with the warning switched off.
experimental = Warning[:experimental]
begin
  Warning[:experimental] = false
  IO::Buffer.new(0)
ensure
  Warning[:experimental] = experimental
end

# Only UringIO::NIO::Selector uses the class (ext/uring_io/src/classes/poller.rs).
UringIO.send(:private_constant, :Poller)

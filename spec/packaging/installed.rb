# frozen_string_literal: true

# Installs a gem as a user does, without a network, into a temporary folder, and fetches a page with it over loopback.
# The argument is the path of the gem. This is a program of its own because a machine without compilers has no RSpec
# either.

require "fileutils"
require "rbconfig"
require "tmpdir"

FETCH = <<~'RUBY'
  require "uring_io"
  server = TCPServer.new("127.0.0.1", 0)
  backend = nil
  body = UringIO.run do
    backend = Fiber.scheduler.backend
    Fiber.schedule do
      client = server.accept
      client.gets
      client.write("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello")
      client.close
    end
    Net::HTTP.get(URI("http://127.0.0.1:#{server.local_address.ip_port}/"))
  end
  expected = UringIO.support.best
  abort "fetched #{body.inspect} on #{backend.inspect}, expected hello on #{expected.inspect}" unless
    [body, backend] == ["hello", expected]
  puts "fetched on #{backend}, #{$LOADED_FEATURES.grep(%r{/uring_io\.so\z}).first}"
RUBY

# Compile where a user's machine would.
ENV.delete("CARGO_TARGET_DIR")
gem = File.expand_path(ARGV.fetch(0))
Dir.mktmpdir do |home|
  # Set GEM_HOME instead of --install-dir, with which RubyGems would not count the system's rb_sys.
  ENV.update("GEM_PATH" => Gem.path.join(File::PATH_SEPARATOR), "GEM_HOME" => home)
  system("gem", "install", "--local", "--no-document", "--bindir", "#{home}/bin", gem, exception: true)
  Dir.chdir(home) do
    doctor = IO.popen([RbConfig.ruby, "#{home}/bin/uring_io", "doctor"], &:read)
    # Status 1 says that another backend is in use, which is no fault of the gem.
    abort "uring_io doctor failed: #{$?}\n#{doctor}" unless [0, 1].include?($?.exitstatus)
    puts doctor.lines.first(3)
    system(RbConfig.ruby, "-rsocket", "-rnet/http", "-e", FETCH, exception: true)
  end
end

# frozen_string_literal: true

# Started by bench/puma/run: Puma in single mode, with so many threads, on whatever NIO this process has. Says where it
# listens; SIGTERM ends it when what was asked is answered.
#
#   ruby bench/puma/server.rb THREADS

require "puma/cli"

threads = Integer(ARGV.fetch(0))
Puma::CLI.new(["--environment", "production", "--workers", "0", "--threads", "#{threads}:#{threads}",
               "--bind", "tcp://127.0.0.1:0", File.expand_path("../web/config.ru", __dir__)]).run

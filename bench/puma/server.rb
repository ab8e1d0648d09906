# frozen_string_literal: true

# bench/puma/run and bench/rails/run start this: Puma with THREADS threads, in this process or in WORKERS workers, on
# the NIO that the caller has loaded. It prints where it listens. At SIGTERM it answers the requests that it has, and
# ends.
#
#   ruby bench/puma/server.rb THREADS [WORKERS [CONFIG.RU]]

require "puma/cli"

threads = Integer(ARGV.fetch(0))
workers = Integer(ARGV.fetch(1, "0"))
config = ARGV.fetch(2) { File.expand_path("../web/config.ru", __dir__) }
# --preload loads the app before the workers start, so that none of them is late.
Puma::CLI.new(["--environment", "production", "--workers", workers.to_s, *("--preload" if workers.positive?),
               "--threads", "#{threads}:#{threads}", "--bind", "tcp://127.0.0.1:0", config]).run

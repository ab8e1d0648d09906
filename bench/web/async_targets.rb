# frozen_string_literal: true

require_relative "run"

module WebBench
  # Falcon, or async-http's server if the gem falcon is not installed: on io-event's EPoll selector and on ours.
  module AsyncTargets
    FALCON = Gem::Specification.find_all_by_name("falcon").any?
    SERVER = FALCON ? "Falcon" : "async-http"
    NOTE = ("async-http's server stands in for Falcon, which is not installed" unless FALCON)
    SCRIPT = File.expand_path("../falcon/server.rb", __dir__)
    NEEDED = ["async", "async/http", "rack", FALCON ? "falcon/server" : "protocol/rack"].freeze

    class << self
      def stock(env: {}, **options)
        Target.new(name: "async", title: "#{SERVER}, io-event EPoll", script: SCRIPT, note: NOTE,
                   env: { **env, "IO_EVENT_SELECTOR" => "EPoll" },
                   probe: "#{NEEDED.map { |name| "require #{name.dump}\n" }.join}" \
                          "IO::Event::Selector::EPoll.new(Fiber.current).close", **options)
      end

      def ours(env: {}, **options)
        %w[io_uring epoll].map do |backend|
          Target.new(name: backend == "io_uring" ? "uring_io" : "uring_io-epoll",
                     title: "#{SERVER}, uring_io on #{backend}", script: SCRIPT, note: NOTE,
                     env: { **env, "URING_IO_BACKEND" => backend, "IO_EVENT_SELECTOR" => nil },
                     options: ["-I#{LIB}", "-ruring_io/async"],
                     probe: "require \"uring_io/async\"\nUringIO::Selector.new(Fiber.current).close", **options)
        end
      end
    end
  end
end

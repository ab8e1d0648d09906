# frozen_string_literal: true

module Bench
  LIB = File.expand_path("../lib", __dir__)
  # Seconds before the measurement, so that each connection has had its turn.
  def self.warm_up(connections) = [0.3, connections.to_i / 10_000.0].max

  # The target with which we compare the others.
  BASELINE = "async"

  # A scheduler, or threads, on which a program runs. The runner knows all targets, and programs enter them.
  #
  # +gem+ is the gem that it needs. +options+ and +env+ are for the Ruby that runs the program. +entry+ calls the
  # program's main flow: in a non-blocking fiber, or without a fiber for threads.
  Target = Data.define(:name, :title, :gem, :options, :env, :entry) do
    def initialize(name:, title:, entry:, gem: nil, options: [], env: {})
      super
    end

    def enter(&) = entry.call(&)
    def spawns_threads? = name.start_with?("threads")
    def ruby? = name != "floor"
  end

  # All targets, in the order of the table.
  module Targets
    OURS = ["-I#{LIB}"].freeze
    ON_ASYNC = lambda do |&main|
      require "async"
      Async { main.call }
    end

    class << self
      def ours(name, title, ruby = [], **options)
        entry = lambda do |&main|
          require "uring_io"
          UringIO.run(**options) { main.call }
        end
        Target.new(name:, title:, options: [*OURS, *ruby], entry:)
      end

      # A target on another gem's Fiber::Scheduler, which the block makes.
      def scheduler(name, library, title)
        entry = lambda do |&main|
          require library
          Fiber.set_scheduler(yield)
          Fiber.schedule do
            main.call
            # Never end: the scheduler of UringMachine waits only for fibers that exist when its close begins.
            Queue.new.pop
          end
          Fiber.set_scheduler(nil)
        end
        Target.new(name:, title:, gem: name, entry:)
      end

      def find(name) = ALL.find { |target| target.name == name }
      def names = ALL.map(&:name)
    end

    ALL = [
      Target.new(name: "threads", title: "Ruby's threads", entry: ->(&main) { main.call }),
      # With this variable the main thread, too, shares a few native threads with the others.
      Target.new(name: "threads-mn", title: "Ruby's threads, M:N", entry: ->(&main) { main.call },
                 env: { "RUBY_MN_THREADS" => "1" }),
      ours("select", "uring_io, select", backend: :select),
      ours("poll", "uring_io, poll", backend: :poll),
      ours("epoll", "uring_io, epoll", backend: :epoll),
      ours("io_uring", "uring_io, io_uring", backend: :io_uring),
      # -W0 silences the warning that SQPOLL needs a processor of its own.
      ours("sqpoll", "uring_io, io_uring with SQPOLL", ["-W0"], backend: :io_uring, sqpoll: true),
      Target.new(name: "async", title: "Async, io-event's EPoll", gem: "async", entry: ON_ASYNC,
                 env: { "IO_EVENT_SELECTOR" => "EPoll" }),
      Target.new(name: "async-uring", title: "Async, io-event's URing", gem: "async", entry: ON_ASYNC,
                 env: { "IO_EVENT_SELECTOR" => "URing" }),
      Target.new(name: "async+uring_io", title: "Async, uring_io's io_uring selector", gem: "async", entry: ON_ASYNC,
                 options: [*OURS, "-ruring_io/async"], env: { "URING_IO_BACKEND" => "io_uring" }),
      scheduler("uringmachine", "uringmachine/fiber_scheduler", "UringMachine's FiberScheduler") do
        UringMachine::FiberScheduler.new(UringMachine.new)
      end,
      scheduler("carbon_fiber", "carbon_fiber", "CarbonFiber") { CarbonFiber::Scheduler.new },
      scheduler("itsi-scheduler", "itsi/scheduler", "Itsi") { Itsi::Scheduler.new },
      scheduler("libev_scheduler", "libev_scheduler", "libev") { Libev::Scheduler.new },
      Target.new(name: "floor", title: "io_uring from Rust, without Ruby", entry: nil)
    ].freeze
    MAIN = %w[threads epoll io_uring async floor].freeze
  end
end

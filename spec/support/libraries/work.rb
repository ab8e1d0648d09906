# frozen_string_literal: true

require "json"
require_relative "../libraries"

module Libraries
  # The work of a row, in a process of its own.
  class Work
    # How often each fiber asks without meeting the others, after the request that meets them.
    REQUESTS = 4

    # How twenty blocks run at once. The table is about our scheduler; the others are for comparing.
    RUNNERS = {
      "uring_io" => lambda do |backend, &block|
        UringIO.run(backend:) { FIBERS.times { |index| Fiber.schedule { block.call(index) } } }
      end,
      "async" => lambda do |_, &block|
        require "async"
        Sync { Array.new(FIBERS) { |index| Async { block.call(index) } }.each(&:wait) }
      end,
      "threads" => ->(_, &block) { Array.new(FIBERS) { |index| Thread.new { block.call(index) } }.each(&:join) }
    }.freeze

    # +server+ is what the server told about how to reach it.
    attr_reader :backend, :server
    # The most fibers that were in a block of +inside+ at one time.
    attr_reader :most

    def initialize(backend, server, bound)
      @backend = backend
      @server = server
      @bound = bound
      @wrong = []
      @inside = @most = 0
      @count = Thread::Mutex.new
    end

    # Runs the block twenty times at once, with the number of the fiber. Keeps what it raises.
    def each_fiber
      RUNNERS.fetch(ENV.fetch(ON, "uring_io")).call(@backend) do |index|
        yield index
      rescue StandardError, NotImplementedError => error
        @wrong << "fiber #{index}: #{error.full_message(highlight: false).lines.first(4).join}"
      end
    end

    # The block asks the library for a word, and gets that same word if the library is right.
    def echoes(index)
      words = ["#{GATHER}-#{index}"] + Array.new(REQUESTS) { |number| "plain-#{index}-#{number}" }
      words.each { |word| same(word, yield(word)) }
    end

    def same(expected, got)
      @wrong << "expected #{expected.inspect}, got #{got.inspect}" unless expected == got
    end

    # For what has no server with a gate: how many fibers are in such a block at one time.
    def inside
      @count.synchronize { @most = [@most, @inside += 1].max }
      yield
    ensure
      @count.synchronize { @inside -= 1 }
    end

    # How many fibers are in a block of +inside+.
    def present
      @count.synchronize { @inside }
    end

    # For a thread that makes the fibers go on: returns true when all of them are in a block of +inside+, or when they
    # do not come in time because one keeps the others from coming.
    def everybody_inside
      (@bound / 0.005).ceil.times { present == FIBERS ? break : sleep(0.005) }
      true
    end

    def report
      puts JSON.generate(wrong: @wrong, most: @most)
    end
  end

  # The arguments of the process: backend, row, the server's address, and how long the fibers have to meet.
  def self.main(backend, name, server, bound)
    load_rows
    work = Work.new(backend.to_sym, JSON.parse(server, symbolize_names: true), Float(bound))
    work.instance_exec(&rows.fetch(name).work)
    work.report
  end
end

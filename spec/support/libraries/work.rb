# frozen_string_literal: true

require "json"
require_relative "../libraries"

module Libraries
  # What a row does, in a process of its own.
  class Work
    # How often each fiber asks without meeting the others, after the request that meets them.
    REQUESTS = 4

    # How twenty blocks run at once. Only our scheduler counts; the others are for comparing by hand.
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

    # What the server told about how to reach it.
    attr_reader :server

    def initialize(backend, server)
      @backend = backend
      @server = server
      @wrong = []
      @inside = @most = 0
      @count = Thread::Mutex.new
    end

    # Runs the block twenty times at once, with the number of the fiber. Keeps what it raises.
    def each_fiber
      RUNNERS.fetch(ENV.fetch("URING_IO_LIBRARIES_ON", "uring_io")).call(@backend) do |index|
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

    def report
      puts JSON.generate(wrong: @wrong, most: @most)
    end
  end

  # The arguments of the process: backend, row, and the server's address.
  def self.main(backend, name, server)
    load_rows
    work = Work.new(backend.to_sym, JSON.parse(server, symbolize_names: true))
    work.instance_exec(&rows.fetch(name).work)
    work.report
  end
end

# frozen_string_literal: true

require "json"
require_relative "../libraries"

module Libraries
  # The work of a row, which runs in a process of its own.
  class Work
    # The number of requests that each fiber makes without meeting the others, after the one that meets them.
    REQUESTS = 4

    # Ways to run twenty blocks at once. The table is about our scheduler; the others are for comparison.
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

    # +server+ is the server's address, which depends on the kind of server.
    attr_reader :backend, :server
    # The largest number of fibers that were in a block of +inside+ at the same time.
    attr_reader :most

    def initialize(backend, server, bound)
      @backend = backend
      @server = server
      @bound = bound
      @wrong = []
      @inside = @most = 0
      @count = Thread::Mutex.new
    end

    # Runs the block twenty times at once, with the number of the fiber. Records its exceptions.
    def each_fiber
      RUNNERS.fetch(ENV.fetch(ON, "uring_io")).call(@backend) do |index|
        yield index
      rescue StandardError, NotImplementedError => error
        @wrong << "fiber #{index}: #{error.full_message(highlight: false).lines.first(4).join}"
      end
    end

    # The block sends a word through the library, and must get the same word back.
    def echoes(index)
      words = ["#{GATHER}-#{index}"] + Array.new(REQUESTS) { |number| "plain-#{index}-#{number}" }
      words.each { |word| same(word, yield(word)) }
    end

    def same(expected, got)
      @wrong << "expected #{expected.inspect}, got #{got.inspect}" unless expected == got
    end

    # For libraries without a gate in their server: counts the fibers that are in such a block at the same time.
    def inside
      @count.synchronize { @most = [@most, @inside += 1].max }
      yield
    ensure
      @count.synchronize { @inside -= 1 }
    end

    # The number of fibers that are in a block of +inside+ now.
    def present
      @count.synchronize { @inside }
    end

    # For a thread that lets the fibers go on. Returns true when all of them are in a block of +inside+, or when they do
    # not come in time because one fiber keeps the others from coming.
    def everybody_inside
      (@bound / 0.005).ceil.times { present == FIBERS ? break : sleep(0.005) }
      true
    end

    def report
      puts JSON.generate(wrong: @wrong, most: @most)
    end
  end

  # The arguments of the process: backend, row, the server's address, and the seconds that the fibers have to meet.
  def self.main(backend, name, server, bound)
    load_rows
    work = Work.new(backend.to_sym, JSON.parse(server, symbolize_names: true), Float(bound))
    work.instance_exec(&rows.fetch(name).work)
    work.report
  end
end

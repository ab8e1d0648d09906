# frozen_string_literal: true

require "etc"
require "json"
require_relative "../uring_io"
require_relative "ladder/command"
require_relative "ladder/page"
require_relative "ladder/pictures"
require_relative "ladder/reading"
require_relative "ladder/table"

module UringIO
  # The ladder from blocking threads to io_uring: this machine serves one small exchange in six ways, with few and with
  # many connections. <tt>uring_io ladder</tt> prints it. It needs Linux 5.9 or later. <tt>require "uring_io"</tt> does
  # not load it.
  #
  #   require "uring_io/ladder"
  #   puts UringIO::Ladder.climb(connections: [10], seconds: 0.05)
  class Ladder
    # The version of {#to_h}.
    VERSION = 1
    # The rungs, from the lowest to the highest.
    RUNGS = %i[threads select poll epoll io_uring sqpoll].freeze
    # Numbers of connections. One connection in a hundred is active.
    CONNECTIONS = [10, 100, 1_000, 10_000].freeze
    # How long we measure each part.
    SECONDS = 0.7
    # More connections than any port range allows.
    MOST = 60_000
    private_constant :Command, :Curve, :Lanes, :MOST, :Page, :Pictures, :Reading, :Rung, :Sentences, :Table, :Texts

    class << self
      # Measures. This process is the server, and makes plain system calls without the GVL. An exception from outside,
      # such as Ctrl-C, ends the measuring.
      # @param rungs [Array<Symbol>] of {RUNGS}
      # @param connections [Array<Integer>] one or more numbers of connections. The ladder begins with the fewest, and
      #   measures each number once.
      # @param seconds [Numeric] about how long to measure each part
      # @yieldparam rung [Symbol] the next one to measure
      # @yieldparam count [Integer] its number of connections
      # @yieldparam done [Integer] how many parts are done
      # @yieldparam all [Integer] how many parts there are
      # @return [Ladder]
      # @raise [SystemCallError] when the kernel lacks a system call that the measuring itself needs
      def climb(rungs: RUNGS, connections: CONNECTIONS, seconds: SECONDS)
        check(rungs, connections, seconds)
        begun = now
        parts = connections.uniq.sort.product(rungs)
        runs = parts.each_with_index.map do |(count, rung), index|
          yield rung, count, index, parts.size if block_given?
          { rung:, wanted: count, **measure(rung, count, seconds) }
        end
        new({ version: VERSION, uring_io: UringIO::VERSION, machine:, bytes: 64, seconds: now - begun, runs: })
      end

      # <tt>uring_io ladder</tt>, with its arguments.
      # @api private
      # @return [Array(Integer, String)] the exit status, and the text to print
      # @raise [ArgumentError] for arguments that are not in the usage
      def command(arguments, out:, err:, color:) = Command.new(arguments, out:, err:, color:).run

      private

      def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

      def check(rungs, connections, seconds)
        raise ArgumentError, "rungs: is empty" if rungs.empty?
        raise ArgumentError, "connections: is empty" if connections.empty?

        rung = rungs.find { |name| !RUNGS.include?(name) }
        raise ArgumentError, "rungs: there is no #{rung.inspect}; there are #{RUNGS.join(', ')}" if rung

        count = connections.find { |number| !number.is_a?(Integer) || !number.between?(1, MOST) }
        raise ArgumentError, "connections: #{count.inspect} is not from 1 to #{MOST}" if count
        return if seconds.is_a?(Numeric) && seconds.real? && seconds.positive? && seconds <= 60

        raise ArgumentError, "seconds: #{seconds.inspect} is not above 0, and 60 at most"
      end

      def machine
        kernel = Etc.uname
        { kernel: "#{kernel[:sysname]} #{kernel[:release]}", hardware: kernel[:machine],
          processors: Etc.nprocessors, open_files: Process.getrlimit(:NOFILE).last }
      end
    end

    # @param recording [Hash] as {#to_h} returns it
    def initialize(recording)
      @recording = recording
      @reading = Reading.new(recording)
    end

    # All numbers. docs/ladder.md explains each of them.
    # @return [Hash]
    def to_h = @recording

    # @return [String] {#to_h} as JSON
    def to_json(*) = "#{JSON.pretty_generate(to_h)}\n"

    # @return [String] one page that loads nothing
    def html = Page.new(@reading).to_s

    # @return [Hash{String => String}] SVG images by their names
    def pictures = Pictures.all(@reading)

    # @param color [Boolean] with the colours of a terminal
    # @return [String] for a terminal of 80 columns
    def to_s(color: false) = Table.new(@reading, color:).to_s
  end
end

# frozen_string_literal: true

module Closes
  # Strings that take the place of memory which Ruby has freed too early. They show every write into that memory.
  class Canaries
    # The sizes that Ruby asks malloc for: the buffers of IO#gets and of IO#each_char, of small and large reads.
    SIZES = [8192, 8192, 1024, 8192, 65_536, 8192, 16_384, 8192, 131_072, 4096].freeze
    WHOLE = SIZES.uniq.to_h { |size| [size, ("v" * (size - 1)).freeze] }.freeze
    KEPT = 200

    def initialize(stint)
      @stint = stint
      @kept = []
      @names = {}
      @next = 0
    end

    # Puts some where something was just freed.
    # @param id [Integer] of the round, whose bytes tell it
    def put(id, name)
      @names[id] = name
      @names.shift if @names.size > 5000
      6.times do
        size = SIZES[@next % SIZES.size]
        check(@kept[@next % KEPT])
        # By this, not by dup, which shares memory.
        @kept[@next % KEPT] = "v" * (size - 1)
        @next += 1
      end
    end

    def check_all = @kept.each { |canary| check(canary) }

    private

    def check(canary)
      return if canary.nil? || canary == WHOLE.fetch(canary.bytesize + 1)

      found = canary.delete("v")
      id = found[/@(\d{9})/, 1]
      whose = ", sent to: #{@names[id.to_i & ~1]}" if id
      bytes = found.byteslice(0, 40).inspect
      @stint.violation("#{canary.bytesize + 1} bytes of the heap were overwritten with #{bytes}#{whose}")
      canary.replace(WHOLE.fetch(canary.bytesize + 1))
    end
  end

  # Lines of 16 bytes that tell whose they are and where they belong.
  module Text
    LINE = 16

    def self.lines(id, first, count)
      Array.new(count) { |index| format("@%<id>09d%<index>05d\n", id:, index: (first + index) % 100_000) }.join
    end
  end
end

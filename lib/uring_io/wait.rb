# frozen_string_literal: true

require "socket"

module UringIO
  # The wait of a parked fiber, at the moment of the call of Scheduler#fibers_waiting.
  class Wait
    # The methods in which a fiber waits, besides those of a Ring.
    HOOKS = %i[address_resolve block blocking_operation_wait fiber io_pread io_pwrite io_read io_select io_wait io_write
               kernel_sleep process_wait yield].freeze
    # How many frames at the top of a backtrace to search for the method.
    TOPMOST = 6
    private_constant :HOOKS, :TOPMOST

    # @param row [Array] a row of hooks/waits.rs
    # @api private
    def initialize(row)
      @fiber, @blocker, @calls, descriptors, @seconds_left, @seconds, @ready, @runs = row
      @descriptors = descriptors.uniq.to_h { |number, *ends| [number, Descriptor.describe(number, *ends)] }
      # A fiber that has ended meanwhile has no backtrace.
      @backtrace = @fiber.backtrace || []
      labels = @fiber.backtrace_locations(0, TOPMOST) || []
      @hook = labels.filter_map { |location| location.base_label&.to_sym }.find { |label| HOOKS.include?(label) }
    end

    # @return [Fiber]
    attr_reader :fiber

    # @return [Symbol, nil] the hook that the fiber waits in, such as :io_read; :fiber when it has started another
    #   fiber, which runs first; nil for calls of a Ring
    attr_reader :hook

    # @return [Array<Symbol>] the calls of a Ring that the fiber waits for, by the names of system calls
    attr_reader :calls

    # @return [Hash{Integer => String, nil}] the descriptors of the wait, each with its peer, path or kind; nil when
    #   that is unknown
    attr_reader :descriptors

    # @return [Object, nil] the object that the fiber waits for: a Mutex, Queue or Thread
    attr_reader :blocker

    # @return [Float, nil] seconds until the wait ends at the latest, by its own timeout or a Timeout around it
    attr_reader :seconds_left

    # @return [Float, nil] the most seconds that the fiber can have waited: the time since the thread last came back
    #   from the kernel before the wait. nil when it had not been there before.
    attr_reader :seconds

    # @return [Array<String>] the backtrace of the fiber
    attr_reader :backtrace

    # @return [Boolean] whether the wait is over, and the fiber only waits for its turn to run
    def ready? = @ready

    # @return [Boolean] whether it is the fiber that runs the scheduler
    # @api private
    def runs? = @runs

    # @return [String] what the fiber waits for, in a line, without the backtrace
    def to_s
      ["#{Wait.name_of(fiber)} #{state}", *objects].join(" ") + times
    end

    # @return [String]
    def inspect = "#<#{self.class} #{self}>"

    # @return [String] the class and address of an object, without a call of its own methods
    # @api private
    def self.name_of(object) = Kernel.instance_method(:to_s).bind_call(object)

    private

    def state
      return "is ready and waits for its turn, after" if ready?

      "waits in"
    end

    def objects
      what = calls.tally.map { |name, count| count > 1 ? "#{count} x #{name}" : name }
      what = [hook || "Ruby"] if what.empty?
      about = descriptors.map { |number, words| words ? "#{number} (#{words})" : number.to_s }
      about << Wait.name_of(blocker) if blocker
      [what.join(", "), *("on #{about.join(', ')}" if about.any?)]
    end

    def times
      [*(format(", began at most %.3f s ago", seconds) if seconds),
       *(format(", ends within %.3f s", seconds_left) if seconds_left)].join
    end

    # Describes a descriptor of this process by its peer, file or kind.
    module Descriptor
      class << self
        # @param peer [String, nil] a packed sockaddr, like +own+
        # @return [String, nil]
        def describe(number, peer, own)
          return "socket #{words(peer) || words(own)}".rstrip if own

          link = File.readlink("/proc/self/fd/#{number}")
          link.start_with?("pipe:") ? "pipe" : link
        rescue SystemCallError
          nil # The descriptor has been closed since, or this is not Linux.
        end

        private

        # Returns nil for a UNIX socket without a name.
        def words(sockaddr)
          address = Addrinfo.new(sockaddr) if sockaddr
          return unless address
          return address.inspect_sockaddr unless address.unix?

          address.unix_path.empty? ? nil : address.unix_path.sub(/\A\0/, "@")
        rescue SocketError, ArgumentError
          nil
        end
      end
    end
    private_constant :Descriptor
  end
end

# frozen_string_literal: true

require "socket"
require_relative "ring/operations"
require_relative "ring/status"

module UringIO
  # Operations that no scheduler hook expresses: files and their metadata, names, sockets; one at a time, or many
  # in one system call.
  #
  #   ring = UringIO::Ring.new
  #   ring.stat("/etc/hosts").size
  #   ring.batch { |b| paths.each { |path| b.stat(path) } }   # one io_uring_enter submits them all
  #
  # In a fiber of a UringIO::Scheduler a call parks that fiber, and uses the scheduler's own ring; elsewhere it
  # blocks the thread without the GVL, and signals and Thread#raise end it. Either way an operation that is ended
  # is cancelled and awaited, and what it opened is closed again. Without io_uring the same methods work on worker
  # threads and readiness. A ring belongs to the thread that made it.
  #
  # The methods are those of Operations. They return what is said there, or raise the Errno of the system call.
  class Ring
    include Operations

    # What the kernel and the ring did so far.
    # @!attribute enters
    #   @return [Integer] system calls that submit or wait
    # @!attribute submissions
    #   @return [Integer] operations handed to the kernel
    # @!attribute completions
    #   @return [Integer] operations that are over
    Stats = Struct.new(:enters, :submissions, :completions)

    private_constant :Call

    # @!method initialize(entries: 256, backend: nil, sqpoll: false, workers: nil)
    #   @param entries [Integer] size of the submission queue; more calls than that in a batch take several
    #     system calls
    #   @param backend [Symbol, nil] as for Scheduler.new
    #   @raise [UnsupportedError] when the backend that was asked for cannot be used here

    # @!method close
    #   Ends what is in flight and gives the ring back. Repeatable.

    # Makes all the calls of the block at the same time, in no order among them.
    #
    #   sizes = ring.batch { |b| paths.each { |path| b.stat(path) } }
    #
    # @yieldparam calls [Batch] has the methods of Operations; each returns the call's place among the results
    # @return [Array] what the method would return for each call, in their order; for one that failed the exception
    #   that it would raise
    def batch
      batch = Batch.new
      yield batch
      values = perform_all(batch.calls)
      values.zip(batch.conversions).map { |value, convert| value.is_a?(Exception) ? value : convert.call(value) }
    end

    # As #batch, and raises the first exception, in the order of the calls.
    # @return [Array]
    def batch!(&)
      results = batch(&)
      failure = results.find { |result| result.is_a?(Exception) }
      raise failure if failure

      results
    end

    # @return [Stats] of this ring itself, not of the scheduler's that fibers use
    def stats
      Stats.new(*counts)
    end

    # Calls that are made together, see Ring#batch.
    class Batch
      include Operations

      # @api private
      attr_reader :calls, :conversions

      # @api private
      def initialize
        @calls = []
        @conversions = []
      end

      private

      def run(call, timeout: nil, &convert)
        raise ArgumentError, "timeout: is for single calls, not for those of a batch" if timeout

        @calls << call
        @conversions << (convert || :itself.to_proc)
        @calls.size - 1
      end
    end

    private

    def run(call, timeout: nil)
      value = perform(call, timeout)
      raise value if value.is_a?(Exception)
      raise IO::TimeoutError, "the operation took longer than #{timeout} s" if value.nil?

      block_given? ? yield(value) : value
    end
  end
end

# frozen_string_literal: true

require_relative "ring/operations"
require_relative "ring/streams"
require_relative "ring/batch"
require_relative "ring/chain"
require_relative "ring/child"
require_relative "ring/messages"
require_relative "ring/status"

module UringIO
  # Operations that no scheduler hook expresses: files and their metadata, names, sockets; one at a time, many in one
  # system call (#batch), one after the other in one system call (#chain), or over and over (#accept_each, #recv_each).
  #
  #   ring = UringIO::Ring.new
  #   ring.stat("/etc/hosts").size
  #   ring.batch { |b| paths.each { |path| b.stat(path) } }   # one io_uring_enter submits them all
  #
  # In a fiber of a UringIO::Scheduler a call parks that fiber, and uses the scheduler's own ring; elsewhere it
  # blocks the thread without the GVL, and signals and Thread#raise end it. Either way an operation that is ended
  # is cancelled and awaited, and what it opened is closed again. Without io_uring the same methods work on worker
  # threads and readiness; what cannot be imitated raises UnsupportedError. A ring belongs to the thread that made
  # it: its methods raise ThreadError elsewhere, but for #backend and #closed?. After #close they raise ClosedError.
  #
  # The methods are those of Operations and Streams. They return what is said there, or raise the Errno of the
  # system call. Those that the kernel lacks raise UnsupportedError.
  class Ring
    include Operations
    include Streams

    # @!parse
    #   # A call with its arguments.
    #   # @api private
    #   class Call; end
    #
    #   # Bytes that go from one step of a chain to another.
    #   # @api private
    #   class Memory; end

    # What the kernel and the ring did so far.
    # @!attribute enters
    #   @return [Integer] system calls that submit or wait
    # @!attribute submissions
    #   @return [Integer] operations handed to the kernel
    # @!attribute completions
    #   @return [Integer] operations that are over
    # @!attribute direct_calls
    #   @return [Integer] other system calls on behalf of operations, which the backends without io_uring make
    Stats = Struct.new(:enters, :submissions, :completions, :direct_calls) do
      # @return [Integer] system calls made, but for those that set something up once
      def system_calls
        enters + direct_calls
      end
    end

    private_constant :Call, :Memory

    # @!method initialize(**options)
    #   @param options [Hash]
    #   @option options [Integer] :entries (256) size of the submission queue; more calls than that in a batch take
    #     several system calls
    #   @option options [Symbol, nil] :backend (nil) as for Scheduler.new
    #   @option options [Boolean] :sqpoll (false) whether a thread of the kernel takes submissions from the queue, so
    #     that steady work takes no system calls (Linux 5.11; unprivileged 5.13). It keeps a CPU busy, and warns where
    #     there are two or fewer. This thread looks for completions for up to 20 ms before it sleeps. The kernel's
    #     thread keeps the user and group of whoever makes the ring: when the process has others by then, calls that
    #     name a file or an address raise UnsupportedError.
    #   @option options [Numeric] :sqpoll_idle (1) seconds without work after which that thread sleeps
    #   @option options [Integer, nil] :sqpoll_cpu (nil) the CPU that it is bound to
    #   @option options [Integer, nil] :workers (nil) most threads that do blocking work where there is no io_uring
    #   @raise [UnsupportedError] when the backend or polling thread that was asked for cannot be had here

    # @!method backend
    #   Any thread may ask.
    #   @return [Symbol] :io_uring, :epoll, :kqueue, :poll or :select

    # @!method close
    #   Ends what is in flight and gives the ring back. Repeatable. Waits for a second at most for peers to read what
    #   was sent without a copy; memory that the kernel still needs is then kept for good. What fibers of a scheduler
    #   have under way is that scheduler's to make, and goes on until it is over; a stream of theirs ends with the next
    #   that comes.
    #   @return [nil]

    # @!method closed?
    #   Any thread may ask.
    #   @return [Boolean] whether it was closed, or was made by the process that forked this one

    # Makes all the calls of the block at the same time, in no order among them.
    #
    #   sizes = ring.batch { |b| paths.each { |path| b.stat(path) } }
    #
    # @yieldparam calls [Batch] has the methods of Operations; each returns the call's place among the results
    # @return [Array] what the method would return for each call, in their order; for one that failed the exception
    #   that it would raise
    def batch
      calls = Batch.new
      yield calls
      perform_all(calls)
    ensure
      # An exception can come wherever Ruby looks for one: in the block, and between it and the calls.
      calls&.discard
    end

    # As #batch, and raises the first exception, in the order of the calls.
    # @return [Array]
    def batch!(&)
      results = batch(&)
      failure = results.find { |result| result.is_a?(Exception) }
      raise failure if failure

      results
    end

    # Makes the calls of the block one after the other, each when the one before has succeeded. On io_uring that is
    # one submission, and the kernel does it alone (Linux 5.19); but for what follows a step by whose failure the kernel
    # would not break a chain (those on names and attributes, #stat, #fsync, #fdatasync, #sync_file_range, #fallocate,
    # #ftruncate and #madvise): that is submitted when the step has succeeded, unless hardlink is given. Steps can use a
    # descriptor that an earlier step opens, and the bytes that one reads:
    #
    #   ring.chain do |c|
    #     file = c.open("index.html")
    #     c.send(socket, c.read(file, 1024))
    #     c.close(file)
    #   end
    #
    # A step that fails, or transfers less than was asked for, breaks the chain: the rest is not done. How much a step
    # sends is settled before anything is read, so read what is there, or all of a known size. Receiving less breaks it
    # with Socket::MSG_WAITALL only. Descriptors that steps open are the chain's own: they are closed with it, whatever
    # happens; Chain#install gives one to the process.
    #
    # @param timeout [Numeric, nil] seconds for all of it
    # @param hardlink [Boolean] goes on after a failure or a short transfer. A step that sends then sends all that
    #   was asked for, and what was not read are zero bytes
    # @yieldparam steps [Chain]
    # @return [Array] what each step came to, in their order
    # @raise [ChainError] when the chain broke
    # @raise [ArgumentError] when there are more steps than the ring has entries
    def chain(timeout: nil, hardlink: false)
      chain = Chain.new
      yield chain
      chain.make do |steps, descriptors|
        perform_chain(steps, descriptors, hardlink, timeout)
      end
    ensure
      # As in #batch.
      discard(chain.calls) if chain
    end

    # Ends the calls that other fibers of this thread make on a descriptor: they raise Errno::ECANCELED, unless they
    # have succeeded by then. Closing a descriptor does not end what waits for it.
    # @param io [IO, Integer]
    # @return [Integer] how many there were
    def cancel(io)
      cancel_on(descriptor(io))
    end

    # @!method register(buffer)
    #   Registers the memory of a buffer with the ring: reading from disk past the page cache (O_DIRECT) and writing
    #   there are faster with it. The buffer is locked until RegisteredBuffer#release. In a fiber of a scheduler it is
    #   registered with the scheduler's ring. io_uring only (Linux 5.19).
    #   @param buffer [IO::Buffer] one that owns its memory: IO::Buffer.new or IO::Buffer.map
    #   @return [RegisteredBuffer]
    #   @raise [UnsupportedError] where that cannot be done

    # @!parse
    #   # Memory that is registered with a ring, for Operations#read_fixed and Operations#write_fixed.
    #   class RegisteredBuffer
    #     # @return [IO::Buffer] locked: its content can be used, but it cannot be resized or freed
    #     def buffer; end
    #
    #     # @return [Boolean] whether it was released, or the ring closed
    #     def released?; end
    #
    #     # Takes the memory from the ring and unlocks the buffer. Repeatable.
    #     # @return [nil]
    #     # @raise [Error] while a call uses it
    #     def release; end
    #   end

    # Gives an object to another ring, of whatever thread, where #receive returns it. Rings of io_uring wake each
    # other in the kernel (IORING_OP_MSG_RING, Linux 5.18).
    # @param ring [Ring]
    # @param object [Object] itself, not a copy
    # @return [nil]
    # @raise [ClosedError] when that ring is closed
    def message(ring, object)
      raise TypeError, "#{ring.class} given where a UringIO::Ring is needed" unless ring.is_a?(Ring)

      give(ring, object)
    end

    # The next object that somebody has sent to this ring by #message; waits for one.
    # @param timeout [Numeric, nil] seconds
    # @return [Object]
    # @raise [IO::TimeoutError] when the timeout passes first
    def receive(timeout: nil)
      found = take(timeout) or raise IO::TimeoutError, "no message came for #{timeout} s"

      found.first
    end

    # @return [Stats] of this ring itself, not of the scheduler's that fibers use
    def stats
      Stats.new(*counts)
    end

    private

    def run(call, timeout: nil)
      value = perform(call, timeout)
      block_given? ? yield(value) : value
    end
  end
end

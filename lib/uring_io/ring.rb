# frozen_string_literal: true

require_relative "ring/operations"
require_relative "ring/streams"
require_relative "ring/batch"
require_relative "ring/chain"
require_relative "ring/child"
require_relative "ring/messages"
require_relative "ring/status"

module UringIO
  # Operations that a scheduler has no hook for: files and their metadata, names, sockets. A program makes one call at a
  # time, many in one system call (#batch), several in order in one system call (#chain), or one call with many results
  # (#accept_each, #recv_each).
  #
  #   ring = UringIO::Ring.new
  #   ring.stat("/etc/hosts").size
  #   ring.batch { |b| paths.each { |path| b.stat(path) } }   # one io_uring_enter submits them all
  #
  # In a fiber of a UringIO::Scheduler, a call parks that fiber and uses the scheduler's own ring. Elsewhere it blocks
  # the thread, without holding the GVL; signals and Thread#raise end it. A call that ends early cancels its operation,
  # waits until that is over, and closes the descriptors that it opened. Without io_uring, the same methods wait for
  # readiness or use worker threads, and calls that need io_uring raise UnsupportedError.
  #
  # A ring belongs to the thread that made it. On other threads its methods raise ThreadError, except #backend and
  # #closed?. After #close they raise ClosedError.
  #
  # The modules Operations and Streams describe most methods and their results. A method raises an Errno when its system
  # call fails, and UnsupportedError when the kernel lacks the operation.
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

    # Counts since the ring was made.
    # @!attribute enters
    #   @return [Integer] system calls that submit or wait
    # @!attribute submissions
    #   @return [Integer] operations handed to the kernel
    # @!attribute completions
    #   @return [Integer] operations that are over
    # @!attribute direct_calls
    #   @return [Integer] other system calls for operations, mostly on the backends without io_uring
    Stats = Struct.new(:enters, :submissions, :completions, :direct_calls) do
      # @return [Integer] system calls made, except those that set something up once
      def system_calls
        enters + direct_calls
      end
    end

    private_constant :Call, :Memory

    # @!method initialize(**options)
    #   @param options [Hash]
    #   @option options [Integer] :entries (256) size of the submission queue; a batch of more calls than that takes
    #     several system calls
    #   @option options [Symbol, nil] :backend (nil) as for Scheduler.new
    #   @option options [Boolean] :sqpoll (false) whether a thread of the kernel takes submissions from the queue, so
    #     that steady work needs no system calls (Linux 5.11; without privileges 5.13). That thread keeps a CPU busy, so
    #     the ring warns when the process has two CPUs or fewer. The calling thread looks for completions for up to
    #     20 ms before it sleeps. The kernel's thread keeps the user and group that the process had when it made the
    #     ring. After the process changes them, calls that name a file or an address raise UnsupportedError.
    #   @option options [Numeric] :sqpoll_idle (1) seconds without work after which the kernel's thread sleeps
    #   @option options [Integer, nil] :sqpoll_cpu (nil) the CPU that the kernel's thread stays on
    #   @option options [Integer, nil] :workers (nil) the most threads that do blocking work on other backends
    #   @raise [UnsupportedError] when this machine lacks the backend, or cannot start the polling thread

    # @!method backend
    #   Any thread may call it.
    #   @return [Symbol] :io_uring, :epoll, :kqueue, :poll or :select

    # @!method close
    #   Ends the operations in flight and frees the ring. Repeatable. The ring waits at most a second until peers have
    #   read the data of #send_zc. It never frees memory that the kernel still needs after that. Calls that began in
    #   fibers of a scheduler go on, because the scheduler's ring makes them; their streams end at the next result.
    #   @return [nil]

    # @!method closed?
    #   Any thread may call it.
    #   @return [Boolean] true after #close, and in a forked child for a ring of its parent

    # Makes all the calls of the block at the same time, in no particular order.
    #
    #   sizes = ring.batch { |b| paths.each { |path| b.stat(path) } }
    #
    # @yieldparam calls [Batch] has the methods of Operations; each returns the index of the call's result
    # @return [Array] the results, in the order of the calls; for a failed call, the exception that the ring's own
    #   method would raise
    def batch
      calls = Batch.new
      yield calls
      perform_all(calls)
    ensure
      # Ruby may raise an exception wherever it checks for interrupts: in the block, and between it and the calls.
      calls&.discard
    end

    # Like #batch, but raises the first exception in the order of the calls.
    # @return [Array]
    def batch!(&)
      results = batch(&)
      failure = results.find { |result| result.is_a?(Exception) }
      raise failure if failure

      results
    end

    # Makes the calls of the block in order: each begins when the one before it has succeeded. On io_uring the ring
    # submits the whole chain at once, and the kernel does the rest alone (Linux 5.19). There is one exception: the
    # kernel does not break a chain when #stat, #fsync, #fdatasync, #sync_file_range, #fallocate, #ftruncate, #madvise
    # or a step on names or attributes fails. So the ring waits until such a step has succeeded before it submits the
    # steps after it, unless +hardlink+ is true.
    #
    # Steps can use a descriptor that an earlier step opens, and the bytes that an earlier step reads:
    #
    #   ring.chain do |c|
    #     file = c.open("index.html")
    #     c.send(socket, c.read(file, 1024))
    #     c.close(file)
    #   end
    #
    # A step that fails, or transfers fewer bytes than it should, breaks the chain: the ring does not make the rest. The
    # length of each send is fixed before any step reads. So read a file of known size, or ask for no more bytes than it
    # has. A short #recv breaks the chain only with Socket::MSG_WAITALL. Descriptors that steps open belong to the
    # chain, which always closes them at its end. Chain#install gives one to the process.
    #
    # @param timeout [Numeric, nil] seconds for the whole chain
    # @param hardlink [Boolean] whether the chain goes on after a failure or a short transfer. After a short read, a
    #   step that sends its bytes still sends the full length, with zero bytes for the missing ones
    # @yieldparam steps [Chain]
    # @return [Array] the results, in the order of the steps
    # @raise [ChainError] when the chain broke
    # @raise [ArgumentError] when there are more steps than the ring has entries
    def chain(timeout: nil, hardlink: false)
      chain = Chain.new
      yield chain
      chain.make do |steps, descriptors|
        perform_chain(steps, descriptors, hardlink, timeout)
      end
    ensure
      # As in #batch. Ruby checks for interrupts at the end of each method, so what holds buffers comes first.
      if chain
        discard(chain.calls)
        chain.give_up
      end
    end

    # Ends the calls that other fibers of this thread make on a descriptor. They raise Errno::ECANCELED, unless they
    # have succeeded by then. IO#close ends such calls by itself; #close_descriptor does not.
    # @param io [IO, Integer]
    # @return [Integer] how many such calls there were
    def cancel(io)
      cancel_on(descriptor(io))
    end

    # @!method register(buffer)
    #   Registers the memory of a buffer with the ring. That makes reads and writes past the page cache (O_DIRECT)
    #   faster. The buffer stays locked until RegisteredBuffer#release. In a fiber of a scheduler, the method registers
    #   it with the scheduler's ring. io_uring only (Linux 5.19).
    #   @param buffer [IO::Buffer] one that owns its memory: IO::Buffer.new or IO::Buffer.map
    #   @return [RegisteredBuffer]
    #   @raise [UnsupportedError] on other backends and older kernels

    # @!parse
    #   # Memory that is registered with a ring, for Operations#read_fixed and Operations#write_fixed.
    #   class RegisteredBuffer
    #     # @return [IO::Buffer] locked: a program can use its content, but cannot resize or free it
    #     def buffer; end
    #
    #     # @return [Boolean] true after #release, and after the ring was closed
    #     def released?; end
    #
    #     # Ends the registration and unlocks the buffer. Repeatable.
    #     # @return [nil]
    #     # @raise [Error] while a call uses the buffer
    #     def release; end
    #   end

    # Sends an object to a ring of this or another thread, where #receive returns it. Rings of io_uring wake each
    # other in the kernel (IORING_OP_MSG_RING, Linux 5.18).
    # @param ring [Ring]
    # @param object [Object] the ring gets the object itself, not a copy
    # @return [nil]
    # @raise [ClosedError] when that ring is closed
    def message(ring, object)
      raise TypeError, "#{ring.class} given where a UringIO::Ring is needed" unless ring.is_a?(Ring)

      give(ring, object)
    end

    # Returns the next object that #message has sent to this ring. Waits until there is one.
    # @param timeout [Numeric, nil] seconds
    # @return [Object]
    # @raise [IO::TimeoutError] when the timeout passes first
    def receive(timeout: nil)
      found = take(timeout) or raise IO::TimeoutError, "no message came for #{timeout} s"

      found.first
    end

    # @return [Stats] the counts of this ring itself; they leave out the scheduler's ring, which fibers use
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

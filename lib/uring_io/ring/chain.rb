# frozen_string_literal: true

module UringIO
  class Ring
    # Calls that run in order: see Ring#chain. It has the methods of Operations; each returns its Step.
    class Chain
      include Operations

      # A step of a chain: the name of its call, and its position.
      class Step
        # @return [Symbol] the name of the method
        attr_reader :name
        # @return [Integer] the position in the chain, from 0 on
        attr_reader :index

        # @api private
        attr_reader :call, :slots, :into, :memory

        # @api private
        def initialize(name, index, call, slots, into:, memory:, convert:)
          @name = name
          @index = index
          @call = call
          @slots = slots
          @into = into
          @memory = memory
          @convert = convert
        end

        # @api private
        def converted(value)
          value.is_a?(Exception) || @convert.nil? ? value : @convert.call(value)
        end

        # @return [String]
        def inspect
          "#<#{self.class} #{index}: #{name}>"
        end
      end

      # All calls that the block prepared. Those that did not become a step can hold buffers, too.
      # @api private
      attr_reader :calls

      # @api private
      def initialize
        @calls = []
        @steps = []
        @ios = []
        @slots = []
        @opened = 0
        @memory = nil
        @may_keep_messages = false
        @begun = false
      end

      # Makes the steps, once.
      # @api private
      def make(&)
        raise Error, "this chain has begun or ended: call Ring#chain again" if @begun

        @begun = true
        @steps.empty? ? [] : made(&)
      end

      # Makes the chain take no more steps.
      # @api private
      def give_up
        @begun = true
      end

      # @!method open(path, mode = "r", perm = 0o666, dir: nil, resolve: nil)
      #   Opens a file for later steps. Its descriptor belongs to the chain.
      #   @return [Step]

      # @!method socket(domain, type = :STREAM, protocol = 0)
      #   Makes a socket for later steps. Its descriptor belongs to the chain.
      #   @return [Step]

      # @!method accept(io)
      #   Accepts a connection for later steps. Its descriptor belongs to the chain.
      #   @return [Step]

      # Like Operations#send, but waits until it has sent all the data (Socket::MSG_WAITALL).
      # @return [Step]
      def send(io, data, flags = 0) = step(:send) { super(io, data, flags | Socket::MSG_WAITALL) }

      # Closes the descriptor that an earlier step has opened.
      # @param step [Step]
      # @return [Step]
      def close(step)
        unless step.is_a?(Step) && step.into
          raise TypeError, "#{step.class} given where a step that opens a descriptor is needed: " \
                           "close_descriptor takes a number"
        end

        step(:close) { run(Call.close(descriptor(step))) }
      end

      # Gives the process a descriptor for the file or socket that an earlier step has opened (io_uring: Linux 6.8). The
      # step's result is this descriptor. It is close-on-exec, and the caller has to close it.
      # @param step [Step]
      # @return [Step]
      def install(step)
        unless step.is_a?(Step) && step.into
          raise TypeError, "#{step.class} given where a step that opens a descriptor is needed"
        end

        step(:install) { run(Call.install(descriptor(step))) }
      end

      (Operations.public_instance_methods(false) - public_instance_methods(false)).each do |name|
        # Not define_method: other Ractors cannot call a method whose block belongs to the Ractor that loads this file.
        class_eval "def #{name}(*, **) = step(:#{name}) { super }", __FILE__, __LINE__ # def stat(*, **) = ...
      end

      private

      # The data of its calls would have two owners.
      def initialize_copy(_original)
        raise TypeError, "a #{self.class} cannot be copied: call Ring#chain again"
      end

      def made
        # The descriptor number of a closed IO may belong to another file by now.
        closed = @ios.find { |io| IO.try_convert(io)&.closed? }
        raise IOError, "closed stream: #{closed.inspect} was closed before the chain was made" if closed

        rows = @steps.map { |step| [step.call, step.slots, step.into] }
        *values, broken, timed_out = yield rows, @opened
        outcomes = @steps.zip(values).map { |step, value| step.converted(value) }
        fail_at(broken, outcomes, timed_out) if broken
        outcomes
      ensure
        @steps.each { |step| step.memory&.free }
      end

      # Clears the name, slots and memory that a call left here when it raised before it became a step.
      def step(name)
        @name = name
        @slots = []
        @memory = nil
        @may_keep_messages = false
        yield
      end

      def run(call, timeout: nil, &convert)
        # This comes first: otherwise an exception could leave the call out of the list.
        @calls << call
        refuse(call) if @begun
        raise ArgumentError, "a step of a chain takes no timeout: give it to Ring#chain" if timeout

        call.try_at_once if @may_keep_messages
        slots = @slots.any? ? @slots : []
        step = Step.new(@name, @steps.size, call, slots, into: (@opened if call.opens?), memory: @memory, convert:)
        @steps << step
        @opened += 1 if step.into
        step
      end

      # Nobody lets go of the objects of a call that comes after the end of the chain.
      def refuse(call)
        call.discard
        raise Error, "this chain has begun or ended and takes no more steps: add them inside its block"
      end

      # A call asks for its descriptors in the order in which it has them. A send on a TCPSocket or UNIXSocket can wait
      # in the kernel, because Ruby makes only streams and pairs of these classes. For any other IO it would take a
      # system call to find out what it is.
      def descriptor(io)
        @may_keep_messages = !(io.is_a?(TCPSocket) || io.is_a?(UNIXSocket))
        unless io.is_a?(Step)
          @ios << io
          @slots << nil
          return super
        end
        unless io.into && @steps[io.index].equal?(io)
          raise ArgumentError, "#{io.inspect} opens no descriptor for this chain: give an earlier step that does"
        end

        @slots << io.into
        -1
      end

      # The kernel can resolve a relative path only from a descriptor of the process.
      def directory(io)
        raise TypeError, "dir: cannot be a step of the chain: give an IO or a descriptor" if io.is_a?(Step)

        super.tap { @slots.pop if io }
      end

      def room(length)
        return super unless length.is_a?(Integer)

        @memory = Memory.new(length)
      end

      def bytes(data)
        return super unless data.is_a?(Step)

        # A step of another chain is refused: that chain may still use its memory.
        memory = data.memory if @steps[data.index].equal?(data)
        memory or raise ArgumentError, "#{data.inspect} reads no bytes for this chain: give an earlier step that does"
      end

      def fail_at(broken, outcomes, timed_out)
        outcome = outcomes[broken]
        cause = outcome if outcome.is_a?(Exception)
        cause = IO::TimeoutError.new("the chain took longer than its timeout") if timed_out
        cause ||= Error.new("it transferred fewer bytes than it should")
        raise ChainError.new(@steps[broken], outcomes, cause.message), cause:
      end
    end
  end
end

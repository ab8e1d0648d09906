# frozen_string_literal: true

module UringIO
  class Ring
    # Calls that are made one after the other, see Ring#chain. Has the methods of Operations; each returns its Step.
    class Chain
      include Operations

      # A step of a chain: its name, and what came of it.
      class Step
        # @return [Symbol] the method
        attr_reader :name
        # @return [Integer] from 0 on
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

      # All that were prepared, also for what has not become a step: they hold on to buffers.
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
      end

      # @api private
      def make
        return [] if @steps.empty?

        # The number of its descriptor may be another's by now.
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

      # @!method open(path, mode = "r", perm = 0o666, dir: nil, resolve: nil)
      #   Opens a file as a descriptor of the chain's own, for later steps.
      #   @return [Step]

      # @!method socket(domain, type = :STREAM, protocol = 0)
      #   Makes a socket as a descriptor of the chain's own, for later steps.
      #   @return [Step]

      # @!method accept(io)
      #   Accepts a connection as a descriptor of the chain's own, for later steps.
      #   @return [Step]

      # As Operations#send, of all the data: what would be a short transfer waits (Socket::MSG_WAITALL).
      # @return [Step]
      def send(io, data, flags = 0) = step(:send) { super(io, data, flags | Socket::MSG_WAITALL) }

      # Closes what an earlier step has opened.
      # @param step [Step]
      # @return [Step]
      def close(step)
        unless step.is_a?(Step) && step.into
          raise TypeError, "#{step.class} given where a step that opens is needed: close_descriptor takes numbers"
        end

        step(:close) { run(Call.close(descriptor(step))) }
      end

      # Gives the process a descriptor for what an earlier step has opened, close-on-exec (io_uring: Linux 6.8). The
      # step comes to it; it is the caller's to close.
      # @param step [Step]
      # @return [Step]
      def install(step)
        raise TypeError, "#{step.class} given where a step that opens is needed" unless step.is_a?(Step) && step.into

        step(:install) { run(Call.install(descriptor(step))) }
      end

      (Operations.public_instance_methods(false) - public_instance_methods(false)).each do |name|
        # Not define_method: its block would be of the Ractor that loads this.
        class_eval "def #{name}(*, **) = step(:#{name}) { super }", __FILE__, __LINE__ # def stat(*, **) = ...
      end

      private

      # One that goes with the name of the method which makes it, and with nothing of one before that was refused.
      def step(name)
        @name = name
        @slots = []
        @memory = nil
        @may_keep_messages = false
        yield
      end

      def run(call, timeout: nil, &convert)
        # First of all: nothing may come between that and the making of the call.
        @calls << call
        raise ArgumentError, "timeout: is for a chain as a whole, not for its steps" if timeout

        call.try_at_once if @may_keep_messages
        slots = @slots.any? ? @slots : []
        step = Step.new(@name, @steps.size, call, slots, into: (@opened if call.opens?), memory: @memory, convert:)
        @steps << step
        @opened += 1 if step.into
        step
      end

      # Descriptors come in the order of the call's own. The kernel waits with a send on the sockets that Ruby makes of
      # these classes: streams, and pairs, whose sends it begins when there is room. To ask what others are takes a
      # system call.
      def descriptor(io)
        @may_keep_messages = !(io.is_a?(TCPSocket) || io.is_a?(UNIXSocket))
        unless io.is_a?(Step)
          @ios << io
          @slots << nil
          return super
        end
        raise ArgumentError, "#{io.inspect} opens nothing" unless io.into && @steps[io.index].equal?(io)

        @slots << io.into
        -1
      end

      # A path of its own would be relative to a descriptor of the process.
      def directory(io)
        raise TypeError, "dir: takes no step of the chain" if io.is_a?(Step)

        super.tap { @slots.pop if io }
      end

      def room(length)
        return super unless length.is_a?(Integer)

        @memory = Memory.new(length)
      end

      def bytes(data)
        return super unless data.is_a?(Step)

        # Memory of another chain could be in use there.
        memory = data.memory if @steps[data.index].equal?(data)
        memory or raise ArgumentError, "#{data.inspect} reads nothing that could be written"
      end

      def fail_at(broken, outcomes, timed_out)
        outcome = outcomes[broken]
        cause = outcome if outcome.is_a?(Exception)
        cause = IO::TimeoutError.new("the chain took longer than its timeout") if timed_out
        cause ||= Error.new("fewer bytes were transferred than it asked for")
        raise ChainError.new(@steps[broken], outcomes, cause.message), cause:
      end
    end
  end
end

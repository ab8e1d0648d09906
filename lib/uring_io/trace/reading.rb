# frozen_string_literal: true

require_relative "peers"

module UringIO
  class Trace
    # Reads the records of one engine: its fibers, each with its runs and waits, and the traffic of its ring. Instants
    # are nanoseconds since the first recording of the process.
    class Reading
      # A fiber. +number+ counts the fibers in the order in which they appear, and +name+ says where the block is.
      # +collections+ are the collections of garbage while the fiber ran.
      Fiber = Struct.new(:number, :name, :runs, :waits, :marks, :stack, :since, :collections) do
        # Whether it stands for all code that runs while no record says that a fiber does.
        def outside? = name.equal?(OUTSIDE)
      end
      # A fiber waited from +from+ to +to+ for +operations+. If there are none, +purpose+ says for what it waited. At
      # +woken+ something woke the fiber. +open+ says that the wait had not ended.
      Wait = Struct.new(:from, :to, :purpose, :operations, :woken, :open, :depth)
      # An operation that is not over has neither a +result+ nor a +to+. One that was over at once has no +to+.
      Operation = Struct.new(:fiber, :name, :descriptor, :peer, :bytes, :from, :to, :result)
      # A call into the kernel. +submissions+ and +completions+ are how many of them the call handed over and brought
      # back. After it the thread waited for Ruby's lock for +locked+ nanoseconds.
      Enter = Struct.new(:from, :to, :submissions, :locked, :completions)

      # The size of a record, its fields, and its events: see Record and Event in recorder/record.rs.
      SIZE = 37
      FORMAT = "QQQllSSC"
      EVENTS = %i[none started ended parked parked_for left part submitted done completed woken raised entered
                  looked collected].freeze
      OUTSIDE = "the loop (or a fiber that it resumed itself)"
      # Nanoseconds. The loop's own work between two fibers takes less.
      SHORT = 50_000
      private_constant :SIZE, :FORMAT, :EVENTS, :OUTSIDE, :SHORT

      # @return [Symbol]
      attr_reader :backend
      # @return [Integer] how many of the first records are missing
      attr_reader :gone
      # @return [Array<Fiber>]
      attr_reader :fibers
      # @return [Array<Enter>]
      attr_reader :enters
      # @return [Array<Operation>] in the order in which they began
      attr_reader :operations
      # @return [Array<Array(Integer, Integer)>] from when to when the thread collected garbage
      attr_reader :collections

      # @param loops [Boolean] whether fibers give control to a loop, which may also run fibers without a record
      def initialize(backend, gone, names, records, loops)
        @backend = backend
        @gone = gone
        @loops = loops
        @names = Peers.names(names)
        @fibers = []
        @enters = []
        @operations = []
        @collections = []
        @present = {}
        @places = {}
        @parts = {}
        @pending = {}
        @last = 0
        (records.bytesize / SIZE).times { |number| read(*records.unpack(FORMAT, offset: number * SIZE)) }
        finish
      end

      # Whether the engine did anything. An engine whose thread only collected garbage did not.
      # @api private
      def used? = [fibers, enters, operations].any?(&:any?)

      private

      def read(at, party, token, value, descriptor, name, about, event)
        @at = @last = at
        event = EVENTS.fetch(event)
        case event
        when :started then started(party, @names[name])
        when :ended then ended(party)
        when :parked then parked(party, token, @names[name])
        when :parked_for
          parked(party, token, "")
          submitted(token, operation(name, descriptor, about, value))
        when :left then left(party, token)
        when :part then @parts[token] = fiber_of(party)
        when :submitted then submitted(token, operation(name, descriptor, about, value))
        when :done then done(operation(name, descriptor, about, 0), value)
        when :completed then completed(token, value)
        when :woken then (@places[token] || [])[1]&.woken ||= at
        when :raised then fiber_of(party).marks << [at, "an exception is raised in it"]
        when :entered, :looked then entered(party, token, value, event == :entered)
        when :collected then collected(party)
        end
        # The completions and wakeups that a call brought follow the record of the call.
        @entered = nil unless %i[entered looked completed woken].include?(event)
      end

      def fiber_of(party) = @present[party] ||= new_fiber("")

      def new_fiber(name)
        Fiber.new(@fibers.size + 1, name, [], [], [], [], nil, []).tap { |fiber| @fibers << fiber }
      end

      # Only one fiber runs at a time. So the fiber that ran before has given control away, even if no record says so.
      def run(fiber)
        pause(@current) if @current&.since && @current != fiber
        outside_ran(@at)
        @unknown_since = nil
        @current = fiber
        fiber.since = @at
      end

      # When no record says that this fiber runs, then something without records has resumed it.
      def pause(fiber, at = @at)
        since = fiber.since || (@unknown_since if @loops)
        fiber.runs << [since, at] if since && at > since
        fiber.since = nil
        @unknown_since = at
      end

      # While no record says that a fiber runs, the loop does, or a fiber that the loop has resumed by itself.
      def outside_ran(at)
        return unless @loops && @unknown_since && at - @unknown_since >= SHORT

        @outside ||= Fiber.new(nil, OUTSIDE, [], [], [], [], nil, [])
        @outside.runs << [@unknown_since, at]
      end

      def started(party, name)
        run(@present[party] = new_fiber(name))
      end

      def ended(party)
        fiber = fiber_of(party)
        pause(fiber)
        fiber.stack.dup.each { |wait| leave(fiber, wait) }
        @present.delete(party)
      end

      def parked(party, token, purpose)
        fiber = fiber_of(party)
        pause(fiber)
        wait = Wait.new(@at, nil, purpose, [], nil, false, fiber.stack.size)
        fiber.stack << wait
        fiber.waits << wait
        @places[token] = [fiber, wait]
      end

      def left(party, token)
        fiber = fiber_of(party)
        _, wait = @places.delete(token)
        # The waits inside of this one are over as well. A wait that we do not know began before the recording.
        leave(fiber, fiber.stack.last) until wait.nil? || !fiber.stack.include?(wait)
        run(fiber) if fiber.stack.empty?
      end

      def leave(fiber, wait)
        wait.to = @at
        fiber.stack.delete(wait)
      end

      def operation(name, descriptor, about, length)
        descriptor = nil if descriptor.negative?
        Operation.new(nil, @names[name], descriptor, descriptor && @names[about], length, @at, nil, nil)
      end

      def submitted(token, operation)
        fiber, wait = @places[token] || [@parts[token] || @current]
        wait ||= fiber&.stack&.last
        wait&.operations&.push(operation)
        begin_operation(operation, fiber)
        @pending[token] = operation
      end

      def begin_operation(operation, fiber)
        operation.fiber = fiber
        @operations << operation
      end

      def done(operation, result)
        operation.result = result
        begin_operation(operation, @current)
        @current&.marks&.push([@at, operation])
      end

      # A stream completes again and again. Its last completion counts.
      def completed(token, result)
        @entered.completions += 1 if @entered
        operation = @pending[token] or return
        operation.to = @at
        operation.result = result
      end

      # The recorder makes this record when the thread is back and has Ruby's lock.
      def entered(length, locked, submissions, waits)
        to = [@at - locked, 0].max
        from = [to - length, @enters.empty? ? 0 : @enters.last.to].max
        @entered = Enter.new(from, [to, from].max, submissions, locked, 0)
        @enters << @entered
        # During a call that waits, no fiber runs. This one has given control away, even if no record says so.
        pause(@current, [@entered.from, @current.since].max) if waits && @current&.since
        outside_ran(@entered.from)
        @unknown_since = @at unless @current&.since
      end

      def collected(length)
        from = [@at - length, 0].max
        fiber = @current if @current&.since
        @collections << [from, @at]
        fiber.collections << [[from, fiber.since].max, @at] if fiber
      end

      def finish
        @at = @last
        @fibers.each do |fiber|
          pause(fiber) if fiber.since
          fiber.stack.dup.each do |wait|
            wait.open = true
            leave(fiber, wait)
          end
        end
        return unless @outside

        @outside.number = @fibers.size + 1
        @fibers << @outside
      end
    end
  end
end

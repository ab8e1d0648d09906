# frozen_string_literal: true

require_relative "peers"

module UringIO
  class Trace
    # What the records of one engine tell: fibers, each with what it waited for and when it ran, and what went through
    # the ring. Instants are nanoseconds since the first recording of the process.
    class Reading
      # A fiber. +number+ counts in the order in which they were seen, +name+ says where its block is. +collections+ are
      # those of garbage while it ran.
      Fiber = Struct.new(:number, :name, :runs, :waits, :marks, :stack, :since, :collections)
      # From +from+ to +to+ a fiber waited for +operations+; or, where there are none, +purpose+ says for what. It might
      # have gone on from +woken+ on. +open+ says that it had not ended.
      Wait = Struct.new(:from, :to, :purpose, :operations, :woken, :open, :depth)
      # +result+ and +to+ are nil for one that is not over. One that was over at once has no +to+.
      Operation = Struct.new(:fiber, :name, :descriptor, :peer, :bytes, :from, :to, :result)
      # A call into the kernel, that took so many submissions there and brought so many completions; +locked+ is how
      # long the thread then waited for Ruby's lock.
      Enter = Struct.new(:from, :to, :submissions, :locked, :completions)

      # Of a record, and what its numbers are: see Event of recorder/record.rs.
      SIZE = 37
      FORMAT = "QQQllSSC"
      EVENTS = %i[none started ended parked parked_for left part submitted done completed woken raised entered
                  looked collected].freeze
      private_constant :SIZE, :FORMAT, :EVENTS

      # @return [Symbol]
      attr_reader :backend
      # @return [Integer] records that are missing at the beginning
      attr_reader :gone
      # @return [Array<Fiber>]
      attr_reader :fibers
      # @return [Array<Enter>]
      attr_reader :enters
      # @return [Array<Operation>] in the order in which they were begun
      attr_reader :operations
      # @return [Array<Array(Integer, Integer)>] when the thread collected garbage: from and to
      attr_reader :collections

      def initialize(backend, gone, names, records)
        @backend = backend
        @gone = gone
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

      # Whether anything was done there. One of a thread that did nothing but collect garbage was not used.
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
        # What it brought follows it.
        @entered = nil unless %i[entered looked completed woken].include?(event)
      end

      def fiber_of(party) = @present[party] ||= new_fiber("")

      def new_fiber(name)
        Fiber.new(@fibers.size + 1, name, [], [], [], [], nil, []).tap { |fiber| @fibers << fiber }
      end

      # Only one fiber runs at a time: one that gave control away without a word does not any more.
      def run(fiber)
        pause(@current) if @current && @current != fiber
        @current = fiber
        fiber.since = @at
      end

      def pause(fiber, at = @at)
        fiber.runs << [fiber.since, at] if fiber.since && at > fiber.since
        fiber.since = nil
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
        # Those inside of it are over as well. One that is not known began before the recording.
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

      # A stream completes over and over: the last time counts.
      def completed(token, result)
        @entered.completions += 1 if @entered
        operation = @pending[token] or return
        operation.to = @at
        operation.result = result
      end

      # It is told of when the thread is back, and has Ruby's lock.
      def entered(length, locked, submissions, waits)
        to = [@at - locked, 0].max
        from = [to - length, @enters.empty? ? 0 : @enters.last.to].max
        @entered = Enter.new(from, [to, from].max, submissions, locked, 0)
        @enters << @entered
        # A fiber that gave control away without a word does not run in the kernel.
        pause(@current, [@entered.from, @current.since].max) if waits && @current&.since
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
          pause(fiber)
          fiber.stack.dup.each do |wait|
            wait.open = true
            leave(fiber, wait)
          end
        end
      end
    end
  end
end

# frozen_string_literal: true

require_relative "actions"
require_relative "canaries"
require_relative "closers"
require_relative "round"

module Closes
  # One fiber that makes rounds, and what they share.
  class Lane
    attr_reader :stint, :canaries, :places, :closers, :kinds, :ring

    def initialize(party, number)
      @stint = party.stint
      @number = number
      @alone = party.alone?
      @canaries = party.canaries
      @closers = party.closers
      @ring = party.ring
      @kinds = KINDS.values.select { |kind| party.kind?(kind) && Closes.chosen("KINDS", kind.name) }
      @places = Places.new(@stint, number)
      @rounds = 0
    end

    def alone? = @alone

    # Of a terminal, what it holds is little.
    def small?(name) = %i[terminal master].include?(name)

    def note(text) = @stint.board.note(@number, text)

    def count(name, number = 1) = @stint.board.count(@number, name, number)

    # Lets the kernel have what was begun, or not.
    def random_pause
      case @stint.random.rand(4)
      when 0 then sleep(0)
      when 1 then sleep(0.0002)
      end
    end

    def work
      actions = Actions.new(self) if @alone
      while @stint.more?
        # Two numbers, for who waits and for who has the number next.
        id = (@number * 10_000_000) + (@rounds += 2)
        next actions.run(id) if actions && (@kinds.empty? || @stint.random.rand(60).zero?)

        Round.new(self, id).run
      end
      @places.close
    end
  end

  # Numbered lines on an IO that nobody closes.
  class Flow
    def initialize(stint, id, reader, writer)
      @stint = stint
      @id = id
      @reader = reader
      @writer = writer
    end

    def write
      sent = 0
      while @stint.more?
        count = @stint.random.rand(1..200)
        @writer.write(Text.lines(@id, sent, count))
        sent += count
        sleep(@stint.random.rand * 0.002)
      end
      @writer.write("end #{sent}\n")
      @writer.close
    end

    def read
      received = 0
      while (line = @reader.gets) && !line.start_with?("end")
        due = Text.lines(@id, received, 1)
        return @stint.violation("#{line.inspect} came where #{due.inspect} was due") if line != due

        received += 1
      end
      @stint.expect(line == "end #{received}\n", "#{received} lines came and then #{line.inspect}")
      @reader.close
    end
  end

  # A scheduler with its lanes, in the thread that runs it.
  class Party
    attr_reader :stint, :canaries, :closers, :ring, :inbox
    attr_writer :other

    # Two schedulers that close each other's IOs.
    def self.together(stint)
      one, two = Array.new(2) { |number| new(stint, lanes: 3, first: number * 8) }
      one.other = two
      two.other = one
      thread = Thread.new { two.run_here }
      one.run_here
      thread.join
    end

    # @param actions [Boolean] whether it is the only one, and does what others cannot bear
    # @param first [Integer] of its places on the board
    def initialize(stint, lanes:, actions: false, first: 0)
      @stint = stint
      @numbers = first...(first + lanes)
      @alone = actions
      @inbox = Thread::Queue.new
      @done = false
    end

    def alone? = @alone

    def kind?(_kind) = true

    def run_here
      UringIO.run(backend: @stint.backend) do
        @ring = UringIO::Ring.new(backend: @stint.backend)
        work
        @ring.close
      end
    end

    def done? = @done

    private

    def work
      @canaries = Canaries.new(@stint)
      @closers = Closers.new(@stint, @other&.inbox)
      works = 2.times.map { finishing { serve } }
      works += flows.flat_map { |flow| [finishing { flow.write }, finishing { flow.read }] }
      lanes = @numbers.map { |number| finishing { Lane.new(self, number).work } }
      lanes.each(&:pop)
      # The other one may have something to be closed.
      @done = true
      sleep(0.001) until @other.nil? || @other.done?
      @inbox.close
      works.each(&:pop)
      @closers.stop
      @canaries.check_all
    end

    def serve
      while (job = @inbox.pop)
        job.call
      end
    end

    def flows
      [UNIXSocket.pair, IO.pipe].map.with_index { |pair, index| Flow.new(@stint, 900_000_000 + index, *pair) }
    end

    # A queue that gets something when the fiber with this block has ended.
    def finishing
      queue = Thread::Queue.new
      Fiber.schedule do
        yield
      rescue StandardError => error
        @stint.violation("#{error.class}: #{error.message} at #{error.backtrace.first(3).join(' < ')}")
      ensure
        queue << true
      end
      queue
    end
  end

  # The same on Async, with our selector.
  class AsyncParty < Party
    # Why it cannot be had; nil when it can.
    def self.missing
      require "async"
      nil
    rescue LoadError => error
      error.message
    end

    # Async's IO.select is a thread's, which no scheduler knows of. Ruby does not wait in sysread where a selector says
    # EAGAIN, and there is no ring of ours.
    def kind?(kind) = !%i[select sysread].include?(kind.name) && !kind.ring

    def run_here
      Fiber.blocking do
        selector = UringIO::Selector.new(Fiber.current, backend: @stint.backend)
        reactor = Async::Reactor.new(selector:)
        reactor.run { work }.wait
      ensure
        Fiber.set_scheduler(nil)
      end
    end
  end
end

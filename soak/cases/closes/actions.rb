# frozen_string_literal: true

module Closes
  # Actions that need a process of their own, or that come seldom: the collector closes, threads wait, children fork.
  class Actions
    NAMES = %i[forgotten root blocked_thread forked popen block_form].freeze

    def initialize(lane)
      @lane = lane
      @stint = lane.stint
      @names = NAMES.select { |name| Closes.chosen("ACTIONS", name) }
    end

    def run(id)
      @id = id
      @open = []
      return if @names.empty?

      @name = @names.sample(random: @stint.random)
      @lane.note(@name.to_s)
      public_send(@name)
      @lane.canaries.put(id, @name.to_s)
      @lane.count(:operations)
    rescue StandardError => error
      wrong("#{error.class}: #{error.message} at #{error.backtrace.first(3).join(' < ')}")
    ensure
      @open.each(&:close)
    end

    # IOs that nobody has any more are closed by the collector, while integer calls use their numbers.
    def forgotten
      peers = Array.new(10) { |index| forget(index.even? ? :poll : :recv) }
      3.times { GC.start }
      sleep(0.001)
      peers.each do |peer, waiter|
        # While the peer has not reached the end, the IO is still there.
        gone = peer.read_nonblock(1, exception: false).nil?
        gone ? closed(1) : peer.write(Text.lines(@id, 0, 1))
        what, value = waiter.outcome
        right = gone ? what == :error && closed?(value) : what == :value
        how = "#{waiter.kind.name} on the number of an IO that is #{'not ' unless gone}collected"
        wrong("#{how} came to #{what} #{value.inspect}") unless right
        waiter.interrupt if waiter.waits?
      end
      @lane.count(:faults)
    end

    # The root fiber of a thread closes what a fiber of its scheduler waits for.
    def root
      outcome = []
      Thread.new do
        Fiber.set_scheduler(UringIO::Scheduler.new(backend: @stint.backend))
        ours, peer = UNIXSocket.pair
        Fiber.schedule { outcome << attempt { ours.gets } }
        ours.close
        @lane.canaries.put(@id, "gets on unix, closed by the root fiber")
        outcome << attempt { peer.write(Text.lines(@id, 0, 500)) }
        peer.close
      end.join(Stint::PATIENCE) or return wrong("the root fiber that closes waits for ever")
      closed(1)
      # Whichever of them came first.
      right = outcome.any? { |one| closed?(one) } && outcome.any?(Errno::EPIPE)
      wrong("gets, and who wrote to it, came to #{outcome.inspect}") unless right
    end

    # A thread without a scheduler waits, in Ruby or in a ring of its own.
    def blocked_thread
      ours, peer = @open.concat(UNIXSocket.pair)
      how = %i[gets recv read_each poll].sample(random: @stint.random)
      outcome = Thread::Queue.new
      thread = Thread.new do
        ring = UringIO::Ring.new(backend: @stint.backend)
        Thread.current[:waits] = true
        outcome << attempt { blocked_call(how, ours, ring) }
        ring.close
      end
      sleep(0.0002) until thread[:waits] && thread.stop?
      who = @lane.closers.sample
      # Ruby 3.3's own close is in need of a Mutex where a thread is in a call of Ruby's own.
      who = :itself if who == :trap && how == :gets
      error = @lane.closers.run(who) { ours.close }
      closed(1)
      wrong("the closer of what a thread waits for came to #{error.inspect}") if error
      found = outcome.pop(timeout: Stint::PATIENCE)
      wrong("#{how} in a thread, closed by #{who}, came to #{found.inspect}") unless closed?(found)
      found = attempt { peer.write(Text.lines(@id, 0, 100)) }
      wrong("the peer of what a thread waited for came to #{found.inspect}") unless found.is_a?(Errno::EPIPE)
      thread.join(Stint::PATIENCE)
    end

    # A child keeps all that is open.
    def forked
      ours, peer = @open.concat(UNIXSocket.pair)
      ours.wait_readable(0.0003) if @stint.random.rand(2).zero?
      waiter = Waiter.new(KINDS[:gets]) { ours.gets } if @stint.random.rand(2).zero?
      child = fork { Fiber.blocking { sleep } }
      ours.close
      closed(1)
      reader, writer = @open.concat(IO.pipe).last(2)
      peer.write(Text.lines(@id, 0, 10))
      wrong("an empty pipe is readable, which may have the number of what a child keeps") if reader.wait_readable(0.001)
      what, value = waiter&.outcome
      wrong("gets on what a child keeps came to #{what} #{value.inspect}") if waiter && !closed?(value)
      writer.write("mine\n")
      wrong("a pipe got what is not its own") unless reader.gets == "mine\n"
    ensure
      Process.kill(:KILL, child)
      Process.wait(child)
    end

    # One IO with two descriptors, and a process.
    def popen
      io = IO.popen("cat", "r+")
      @open << io
      waiter = Waiter.new(KINDS[:gets]) { io.gets }
      way = %i[close close_read close_write].sample(random: @stint.random)
      io.public_send(way)
      closed(1)
      what, value = waiter.outcome
      right = way == :close_write ? [what, value] == [:value, nil] : closed?(value)
      wrong("gets on popen after #{way} came to #{what} #{value.inspect}") unless right
    end

    # The end of the block closes.
    def block_form
      kinds = @lane.kinds.select { |kind| kind.places.include?(:pipe) }
      kind = kinds.sample(random: @stint.random) or return
      waiter = peer = nil
      IO.pipe do |reader, writer|
        peer = writer.dup
        @open << peer
        waiter = Waiter.new(kind) { kind.call(reader, @lane.ring, "", nil) }
        @lane.random_pause
      end
      closed(1)
      @lane.canaries.put(@id, "#{kind.name} on a pipe, closed by the end of a block")
      what, value = waiter.outcome
      wrong("#{kind.name} in the block of IO.pipe came to #{what} #{value.inspect}") unless closed?(value)
      found = attempt { peer.write_nonblock(Text.lines(@id, 0, 500)) }
      wrong("the peer of a block's pipe came to #{found.inspect}") unless found.is_a?(Errno::EPIPE)
    end

    private

    def closed(count) = @lane.count(:closes, count)

    def wrong(text) = @stint.violation("#{@name}: #{text}")

    def attempt
      yield
    rescue StandardError => error
      error
    end

    def closed?(error) = error.instance_of?(IOError) && Round::MESSAGE.match?(error.message)

    def blocked_call(how, io, ring)
      case how
      when :gets then io.gets
      when :recv then ring.recv(io, 8192)
      when :read_each then ring.read_each(io) { nil }
      when :poll then ring.poll(io, IO::READABLE)
      end
    end

    # In a method of its own, so that nothing is left of the IO.
    def forget(how)
      ours, peer = UNIXSocket.pair
      @open << peer
      number = ours.fileno
      ring = @lane.ring
      waiter = Waiter.new(KINDS[:"number_#{how}"]) do
        how == :poll ? ring.poll(number, IO::READABLE) : ring.recv(number, 8192)
      end
      [peer, waiter]
    end
  end
end

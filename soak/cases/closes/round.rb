# frozen_string_literal: true

require "timeout"
require_relative "kinds"

module Closes
  Interrupted = Class.new(StandardError)

  # A fiber that waits on an IO, and what came of it.
  class Waiter
    attr_reader :kind

    # @param ends_after [Float, nil] seconds
    def initialize(kind, ends_after = nil, &work)
      @kind = kind
      @outcome = Thread::Queue.new
      @fiber = Fiber.schedule do
        @outcome << begin
          [:value, ends_after ? Timeout.timeout(ends_after, Interrupted, &work) : work.call]
        rescue StandardError => error
          [:error, error]
        end
      end
    end

    def waits? = @outcome.empty?

    # Async has no fiber for a task that has ended, and would not come back from Fiber#raise.
    def interrupt
      return unless @fiber&.alive?
      return @fiber.raise(Interrupted) if Fiber.scheduler.is_a?(UringIO::Scheduler)

      Fiber.scheduler.fiber_interrupt(@fiber, Interrupted.new)
    end

    # :value or :error with it; :late when nothing comes.
    def outcome = @outcome.pop(timeout: Stint::PATIENCE) || [:late, nil]
  end

  # One IO, those who wait on it, and its end.
  class Round
    WAYS = %i[close close close close reopen reopen_path close_read close_write dup].freeze
    REOPENED = { reopen: %i[unix pipe blocking_pipe fifo pipe_end disk], reopen_path: %i[pipe blocking_pipe fifo disk] }
               .freeze
    HALF_CLOSED = { close_read: :read, close_write: :write }.freeze
    TAKERS = %i[stream stream quiet file connect].freeze
    MESSAGE = /closed/

    # @param lane [Lane] has what rounds share
    def initialize(lane, id)
      @lane = lane
      @id = id
      @open = []
      @random = lane.stint.random
    end

    def run
      choose or return
      @lane.note(title)
      start
      @lane.random_pause
      abandon if @abandoned
      number = @ours.fileno
      close
      taker = take(number) if @way == :close
      send_late
      taker&.call
      check_reopened
      @ended ? ended : deliver
      check_end
      @lane.count(:operations)
    rescue StandardError => error
      wrong("#{error.class}: #{error.message} at #{error.backtrace.first(3).join(' < ')}")
    ensure
      clean_up
    end

    # A title for messages and for the lane's text.
    def title
      more = { "kept by a #{@kept}" => @kept, "ended by #{@abandoned} before" => @abandoned,
               "data before" => @raced, "then #{@taker}" => @taker }.select { |_, so| so }.keys
      ["#{@kinds.map(&:name).join(' and ')} on #{@name}: #{@way} by #{@closer}", *more].join(", ")
    end

    private

    def one_in(count) = @random.rand(count).zero?

    def choose
      kind = @lane.kinds.sample(random: @random)
      @name = kind.places.select { |name| Closes.chosen("PLACES", name) }.sample(random: @random) or return
      @way = WAYS.select { |way| Closes.chosen("WAYS", way) && possible?(way, kind) }.sample(random: @random) or return
      @closer = @lane.closers.sample
      @ended = kind.direction == HALF_CLOSED.fetch(@way, kind.direction) && @way != :dup
      plain = @ended && @way == :close && kind.direction != :other && !%i[disk written].include?(@name)
      @kept = (@lane.alone? && one_in(10) ? :child : :dup) if plain && one_in(4)
      @abandoned = %i[raise time].sample(random: @random) if @ended && one_in(5)
      # IO.copy_stream has numbers of its own between its waits.
      @raced = plain && kind.direction == :read && !@kept && !@abandoned && kind.name != :copy_stream && one_in(4)
      # There Ruby's own close locks a Mutex that such a system call of another thread may have, which a trap handler
      # cannot (thread.c, rb_notify_fd_close_wait): with or without a scheduler.
      @raced = false if RUBY_VERSION < "4.0" && @closer == :trap && %i[recv recvmsg].include?(kind.name)
      # Ruby's own recvmsg looks at the descriptor again after its system call, for which it lets other threads run
      # without a note of who uses the descriptor (ancdata.c, rb_recvmsg).
      @raced = false if kind.name == :recvmsg && %i[thread other].include?(@closer)
      @kinds = [kind, *others(kind)]
      @taker = TAKERS.sample(random: @random) if @way == :close
      true
    end

    def possible?(way, kind)
      case way
      when :close then true
      when :dup then !kind.ends_only && kind.name != :file_write && @name != :connecting
      when :reopen, :reopen_path then REOPENED[way].include?(@name)
      when :close_read then Places::SOCKET.include?(@name) && !kind.ends_only
      # A socket keeps its descriptor, and the kernel wakes nobody who waits until there is room for more.
      else Places::SOCKET.include?(@name) && !kind.ends_only && kind.direction == :read
      end
    end

    # Several may wait at once where all are ended. A file has one place for all of them.
    def others(kind)
      return [] if !@ended || @raced || kind.lone || @name == :disk || one_in(2)

      same = @lane.kinds.select { |it| it.places.include?(@name) && !it.lone && it.direction == kind.direction }
      same.sample(@random.rand(1..2), random: @random)
    end

    def start
      @place = @lane.places.make(@name)
      @ours = @place.ours
      @peer = @place.peer
      @open.push(@ours, @peer)
      @filled = 0
      fill if writes? && @name != :written
      keep if @kept
      @text = Text.lines(@id, 0, @random.rand(1..60))
      @sent = ""
      ring = @lane.ring
      time = @random.rand * 0.001 if @abandoned == :time
      @waiters = @kinds.map do |kind|
        Waiter.new(kind, time) do
          # Where an operation has succeeded already, the exception comes at the next wait.
          kind.call(@ours, ring, @text, @lane.places.full).tap { sleep(0) if @abandoned }
        end
      end
      tell if @raced
    end

    def fill
      chunk = "f" * 65_536
      while (count = @ours.write_nonblock(chunk, exception: false)) != :wait_writable
        @filled += count
      end
    end

    def keep
      return @open << (@keeper = @ours.dup) if @kept == :dup

      # As its third, since Ruby clears O_NONBLOCK of what is standard input.
      @child = spawn("exec sleep 100", 3 => @ours)
    end

    def tell
      @sent = Text.lines(@id, 0, @random.rand(4..20))
      @peer.write_nonblock(@sent)
    end

    def abandon
      @waiters.each { |waiter| waiter.interrupt if @abandoned == :raise }
      @waiters.map { |waiter| [waiter.kind.name, *waiter.outcome] }.each do |name, what, value|
        next if value.is_a?(Interrupted) || (what == :value && %i[disk written terminal].include?(@name))

        wrong("#{name} was ended, and came to #{what} #{shown(value)}")
      end
      @lane.count(:faults)
    end

    def close
      act = method(:"by_#{@way}")
      error = @lane.closers.run(@closer, &act)
      @lane.canaries.put(@id, title)
      @lane.count(:closes)
      @lane.count(:faults)
      wrong("the closer came to #{error.inspect}") if error
    end

    def by_close = @ours.close
    def by_close_read = @ours.close_read
    def by_close_write = @ours.close_write
    def by_dup = @ours.dup.close
    def by_reopen_path = @ours.reopen(@lane.places.file("B"), "rb")

    def by_reopen
      @other = @lane.places.make(@name == :disk ? :disk : @name.to_s.sub("fifo", "pipe").to_sym)
      @open.push(@other.ours, @other.peer)
      @ours.reopen(@other.ours)
    end

    # The present owner of the number must get his own bytes, and no others.
    def take(number)
      case @taker
      when :file then file_taker
      when :connect then connecting_taker
      else stream_taker(number)
      end
    end

    def file_taker
      file = File.open(@lane.places.file("B"), "rb")
      @open << file
      lambda do
        at = @random.rand(1000) * 16
        file.seek(at)
        found = file.read(@random.rand(1..9000))
        expected("a file that took the number", found, Places::FILES["B"].byteslice(at, found.bytesize))
      end
    end

    def connecting_taker
      socket = Socket.new(:INET, :STREAM)
      @open << socket
      waiter = Waiter.new(KINDS[:connect]) { socket.connect(@lane.places.full) }
      lambda do
        @lane.random_pause
        wrong("connect(2) by who has the number came to #{waiter.outcome}") unless waiter.waits?
        socket.close
        what, error = waiter.outcome
        wrong("a connecting socket was closed and its fiber came to #{what} #{shown(error)}") unless closed?(error)
        @lane.count(:closes)
      end
    end

    def stream_taker(number)
      reader, writer = one_in(2) ? IO.pipe : UNIXSocket.pair
      reader, writer = writer, reader if writer.fileno == number && writer.is_a?(Socket)
      @open.push(reader, writer)
      reading = ->(waiter) { Waiter.new(waiter) { reader.each_line.to_a.join } }
      waiter = reading.call(KINDS[:each_line]) if @taker == :stream && one_in(2)
      lambda do
        wrong("an empty pipe or socket that has the number is readable") if !waiter && reader.wait_readable(0.0003)
        text = Text.lines(@id + 1, 0, @random.rand(1..60))
        waiter ||= reading.call(KINDS[:each_line])
        writer.write(text)
        writer.close
        what, found = waiter.outcome
        next expected("who has the number", found, text) if what == :value

        wrong("who has the number came to #{what} #{shown(found)}")
      end
    end

    def send_late
      return unless @peer && @ended && @kinds.first.direction == :read && HALF_CLOSED[@way].nil?

      @late = Text.lines(@id, 50_000, @lane.small?(@name) ? 100 : 500)
      @peer.write_nonblock(@late)
    rescue Errno::EPIPE, Errno::ECONNRESET, Errno::EIO
      nil
    end

    # A reader of the reopened IO gets the bytes of the new file.
    def check_reopened
      if @way == :reopen_path
        reopened(Places::FILES["B"].byteslice(0, 4000)) { @ours.read(4000) }
      elsif @way == :reopen && @name == :disk
        reopened(@other.content.byteslice(0, 16)) { @ours.read(16) }
      elsif @way == :reopen && @kinds.first.direction == :read
        @other.peer.write(@text)
        reopened(@text) { @ours.readpartial(10_000) }
      end
    end

    def reopened(due, &)
      what, found = Waiter.new(KINDS[:read], &).outcome
      return expected("who reads what is reopened", found, due) if what == :value

      wrong("reading what is reopened came to #{what} #{shown(found)}")
    end

    def ended
      return if @abandoned

      @waiters.each do |waiter|
        what, value = waiter.outcome
        next if what == :error ? closed?(value) || half_closed?(value) : due?(what, value)

        wrong("#{waiter.kind.name} came to #{what} #{shown(value)}")
        waiter.interrupt
      end
    end

    def closed?(error)
      error = error.cause if error.is_a?(UringIO::ChainError)
      error.instance_of?(IOError) && MESSAGE.match?(error.message)
    end

    def half_closed?(error) = @way == :close_read && error.is_a?(EOFError)

    # Whether it is something that came before the end.
    def due?(what, value)
      return false if what == :late
      # The terminal takes its bytes in the background, which makes room.
      return true if @name == :written || (@name == :terminal && writes?)
      return value.nil? || value == :ready || value.empty? if HALF_CLOSED.key?(@way)
      return value == :ready || beginning?(value, @place.content) if @name == :disk

      @raced && (value == :ready || beginning?(value, @sent))
    end

    def beginning?(value, due) = value.is_a?(String) && !value.empty? && due.start_with?(value)

    # A waiter that the close does not concern gets its own bytes.
    def deliver
      waiter = @waiters.first
      case waiter.kind.direction
      when :read then @place.content ? @sent = @place.content : tell
      when :write then drain { waiter.waits? }
      else connect_to_it
      end
      what, value = waiter.outcome
      return if what == :value && (value == :ready || beginning?(value, @sent))

      wrong("#{waiter.kind.name}, which was not concerned, came to #{what} #{shown(value)}")
      waiter.interrupt
    end

    def connect_to_it
      @open << (@place.path ? UNIXSocket.new(@place.path) : TCPSocket.new("127.0.0.1", @ours.local_address.ip_port))
    end

    # The kernel must have let go of the file.
    def check_end
      @ours.close
      check_kept if @kept
      expected_prefix("a file", File.binread(@place.path), @text * 2000) if @name == :written
      case @place.told_by
      when :write then until_told { @peer.write_nonblock("late", exception: false) }
      when :read then drain_to_the_end
      when :connect then until_told { UNIXSocket.new(@place.path).close }
      end
    end

    # The holder of the kept file gets everything that the peer sends.
    def check_kept
      if @late && @keeper
        found = "".b
        while found.bytesize < @late.bytesize && @keeper.wait_readable(Stint::PATIENCE)
          found << @keeper.readpartial(@late.bytesize - found.bytesize)
        end
        expected("who has kept the file", found, @late)
      end
      @peer.wait_readable(0.001) if @place.told_by == :read
      @child ? end_child : @keeper.close
    end

    def end_child
      Process.kill(:KILL, @child)
      Process.wait(@child)
      @child = nil
    end

    def until_told
      limit = @lane.stint.now + Stint::PATIENCE
      loop do
        yield
        return wrong("the peer is not told of the end") if @lane.stint.now > limit

        sleep(0.0005)
      end
    rescue Errno::EPIPE, Errno::ECONNRESET, Errno::EIO, Errno::ECONNREFUSED, EOFError
      nil
    end

    def drain_to_the_end
      done = false
      until_told do
        drain { true }
        done = true
        raise EOFError
      end
      expected_prefix("the peer", @drained, ("f" * @filled) + @text) if done && writes?
    end

    # Reads what the peer gets as long as the block wants.
    def drain
      @drained ||= "".b
      limit = @lane.stint.now + Stint::PATIENCE
      while yield
        found = @peer.read_nonblock(65_536, exception: false)
        break if found.nil?

        found == :wait_readable ? @peer.wait_readable(0.001) : @drained << found
        break wrong("the peer waits for ever") if @lane.stint.now > limit
      end
    end

    def writes? = @kinds.any? { |kind| kind.direction == :write }

    def expected(who, found, due)
      return if found == due

      at = (0...found.bytesize).find { |index| found.getbyte(index) != due.getbyte(index) } || found.bytesize
      wrong("#{who} got #{found.bytesize} bytes of #{due.bytesize}, from #{at} on " \
            "#{found.byteslice(at, 20).inspect} for #{due.byteslice(at, 20).inspect}")
    end

    def expected_prefix(who, found, due) = expected(who, found, due.byteslice(0, found.bytesize))

    def shown(value) = value.inspect.byteslice(0, 80)

    def wrong(text) = @lane.stint.violation("#{title}: #{text}")

    def clean_up
      end_child if @child
      @open.compact.each do |io|
        io.close
      rescue IOError, SystemCallError
        nil # was closed behind its back, or could not write
      end
      File.unlink(@place.path) if @place&.path
    end
  end
end

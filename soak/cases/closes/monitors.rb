# frozen_string_literal: true

require "uring_io/nio/selector"
require_relative "canaries"

module Closes
  # IOs that a UringIO::NIO::Selector watches are closed, and the next IO has the number: nothing may be told of it that
  # belongs to the former one, also where a copy keeps that one's file.
  class Monitors
    KEPT = 40

    def initialize(stint)
      @stint = stint
      @random = stint.random
      @selector = UringIO::NIO::Selector.new(backend: stint.backend)
      # By monitor.
      @peers = {}
      @kept = []
      @copies = 0
    end

    def run
      jobs = Thread::Queue.new
      @thread = Thread.new { jobs.pop.call until jobs.closed? && jobs.empty? }
      while @stint.more?
        watch while @peers.size < KEPT
        @stint.board.note(0, "monitors, #{@peers.size} of them")
        5.times { |number| end_one(jobs, number) }
        check(@peers.keys.sample(@random.rand(4), random: @random))
      end
      @selector.close
    end

    private

    def watch
      ours, peer = @random.rand(2).zero? ? UNIXSocket.pair : IO.pipe
      monitor = @selector.register(ours, :r)
      @peers[monitor] = peer
    end

    # Closes one that is watched. Its peer speaks to the copy that is left, and must not be heard here.
    def end_one(jobs, number)
      monitor, peer = @peers.to_a.sample(random: @random)
      return if monitor.nil?

      @selector.select(0) if @random.rand(2).zero?
      ours = monitor.io
      @kept << (copy = ours.dup) if @random.rand(3).zero?
      close(jobs, ours)
      @stint.board.count(number, :closes, 1)
      @selector.deregister(ours) if @random.rand(2).zero?
      @peers.delete(monitor)
      watch
      copy ? peer.write("for the copy") : check_end(peer)
      @kept << peer if copy
    end

    def close(jobs, ours)
      case @random.rand(3)
      when 0 then ours.close
      when 1
        done = Thread::Queue.new
        jobs << -> { done << ours.close }
        @stint.expect(done.pop(timeout: Stint::PATIENCE).nil?, "closing what is watched came to something")
      else while_selecting { ours.close }
      end
    end

    # Closes while a thread is in select.
    def while_selecting
      thread = Thread.new { @selector.select(0.5) }
      Thread.pass until thread.stop?
      yield
      @selector.wakeup
      ready = thread.value || []
      @stint.violation("select told of #{ready.size} monitors, none of which was ready") unless ready.empty?
    end

    def check_end(peer)
      limit = @stint.now + Stint::PATIENCE
      loop do
        peer.is_a?(BasicSocket) ? peer.read_nonblock(1) : peer.write_nonblock("late")
      rescue Errno::EAGAIN
        break @stint.violation("the peer of what a monitor watched is not told of the end") if @stint.now > limit

        sleep(0.001)
      rescue EOFError, Errno::EPIPE, Errno::ECONNRESET
        break
      end
      peer.close
    end

    # The selector reports the monitors that have input, and no others.
    def check(some)
      some.each { |monitor| @peers[monitor].write("here") }
      ready = []
      limit = @stint.now + Stint::PATIENCE
      until (some - ready).empty? || @stint.now > limit
        ready.concat(@selector.select(0.2) || [])
        ready.uniq!
      end
      ready.concat(@selector.select(0) || []).uniq!
      strangers = (ready - some).size
      silent = (some - ready).size
      text = "#{strangers} monitors were told of without reason, #{silent} of #{some.size} were not"
      @stint.expect(strangers.zero? && silent.zero?, text)
      some.each do |monitor|
        found = monitor.io.read_nonblock(100, exception: false)
        @stint.expect(found == "here", "who is watched got #{found.inspect}")
      end
      @stint.board.count(0, :operations, 1)
      drop_copies if @kept.size > 60
    end

    def drop_copies
      @kept.each(&:close)
      @kept.clear
    end
  end
end

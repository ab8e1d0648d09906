# frozen_string_literal: true

module Libraries
  # Proves without a clock that a number of parties wait at the same time: it holds each one until all are there. When
  # one does not come in time, because others keep it from coming, the gate breaks and from then on lets everybody pass.
  class Gate
    # A request with such a word waits for the others, once per word.
    WORD = /#{GATHER}-\d+/

    # The largest number of parties that have waited at the same time.
    attr_reader :most

    def initialize(parties, bound)
      @parties = parties
      @bound = bound
      @lock = Thread::Mutex.new
      @opened = Thread::ConditionVariable.new
      @passed = {}
      @turn = @present = @most = 0
      @broken = false
    end

    # Threads of the servers call this.
    def pass(word)
      @lock.synchronize do
        arrive unless @broken || @passed[word]
        @passed[word] = true
      end
    end

    def verdict
      return "nobody came" if @most.zero?
      return "yes" if @most == @parties && !@broken

      @most == 1 ? "no" : "#{@most} of #{@parties}"
    end

    private

    def arrive
      @present += 1
      @most = [@most, @present].max
      @present == @parties ? open : wait_for_the_others(@turn)
    end

    def open
      @turn += 1
      @present = 0
      @opened.broadcast
    end

    def wait_for_the_others(turn)
      deadline = now + @bound
      while turn == @turn && !@broken
        remaining = deadline - now
        if remaining.positive?
          @opened.wait(@lock, remaining)
        else
          @broken = true
          @opened.broadcast
        end
      end
    end

    def now
      Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end
  end
end

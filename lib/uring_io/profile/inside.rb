# frozen_string_literal: true

module UringIO
  class Profile
    # Adds the counts of a process's agent to the samples from outside. The sums stay the same: we subtract the garbage
    # collector's time from the computing time, and a thread's wait for the GVL from its time asleep.
    module Inside
      # The states that a wait for the GVL can look like from outside, the likeliest first.
      SEEN_AS = %w[gvl lock asleep other idle].freeze
      private_constant :SEEN_AS

      class << self
        # @param process [Hash] as of Account#to_h
        # @param counted [Hash, nil] as of {Agents#of}
        # @return [Hash]
        def put(process, counted)
          return process.merge(gc: 0.0, agent: nil) unless counted

          gc = collected(process, counted.dig(:gc, :seconds))
          exact = counted[:gvl].fetch(:threads)
          threads = process[:threads].map do |thread|
            exact.key?(thread[:id]) ? waiting_exactly(thread, exact[thread[:id]]) : thread
          end
          agent = { **counted, gvl: counted[:gvl].except(:threads) }
          process.merge(computing: process[:computing] - gc, gc:, threads:, agent:)
        end

        private

        # The agent times the collector by the clock, so a part of that time may have been without a processor.
        def collected(process, seconds)
          ran, runnable = process.values_at(:computing, :runnable)
          ran.positive? ? [seconds * ran / (ran + runnable), ran].min : 0.0
        end

        def waiting_exactly(thread, seconds)
          waits = thread[:waits].map(&:dup)
          missing = seconds
          SEEN_AS.each do |kind|
            waits.select { |wait| wait[:kind] == kind }.each do |wait|
              taken = [[missing, wait[:seconds]].min, 0.0].max
              missing -= taken
              wait[:seconds] -= taken
              # The rest of this wait was for a lock.
              wait[:kind] = "lock" if kind == "gvl"
            end
          end
          runnable = [[thread[:runnable], missing].min, 0.0].max
          exact = { kind: "gvl", peer: nil, seconds: seconds - missing + runnable }
          thread.merge(runnable: thread[:runnable] - runnable, waits: together([exact, *waits]))
        end

        def together(waits)
          groups = waits.group_by { |wait| wait.values_at(:kind, :peer) }
          waits = groups.map { |(kind, peer), group| { kind:, peer:, seconds: group.sum { |wait| wait[:seconds] } } }
          waits.reject { |wait| wait[:seconds] < 1e-9 }.sort_by { |wait| -wait[:seconds] }
        end
      end
    end
    private_constant :Inside
  end
end

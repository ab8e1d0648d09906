# frozen_string_literal: true

require "json"
require_relative "inside"
require_relative "sampler"
require_relative "watcher"

module UringIO
  class Profile
    # Makes recordings: the sums of a sampler, and facts about the machine.
    module Recording
      CALLS_FOR_COST = 20_000
      RATES = 1..1000
      private_constant :CALLS_FOR_COST, :RATES

      class << self
        # @param ended [Proc] is called after each look; true ends the recording
        # @param agents [Agents, nil] that count inside of the processes
        # @return [Hash]
        # @raise [Error]
        def of_pid(pid, seconds:, rate:, ended: -> { false }, agents: nil)
          check(seconds, rate)
          sampler = sampler(pid, rate)
          Watcher.say_ready
          sampler.run { |since| (seconds && since >= seconds) || ended.call }
          hash(sampler, rate, agents)
        ensure
          sampler&.close
        end

        # @return [Hash]
        def of_block(seconds:, rate:, &)
          check(seconds, rate)
          options = ["--json", "--pid", Process.pid.to_s, "--rate", rate.to_s]
          options.push("--seconds", seconds.to_s) if seconds
          watched(options, &)
        end

        # @raise [ArgumentError]
        def check(seconds, rate)
          raise ArgumentError, "the rate must be from 1 to 1000 samples a second, #{rate.inspect} given" unless
            rate.is_a?(Integer) && RATES.cover?(rate)
          return if seconds.nil? || (seconds.is_a?(Numeric) && seconds.positive?)

          raise ArgumentError, "the seconds must be a positive number, #{seconds.inspect} given"
        end

        private

        def sampler(pid, rate)
          Sampler.new(pid, rate:)
        rescue Errno::ENOENT, Errno::ESRCH
          raise Error, "there is no process #{pid}, or it has ended: nothing was recorded"
        rescue Errno::EACCES, Errno::EPERM
          raise Error, "process #{pid} belongs to somebody else: profile it as its user, or as root"
        end

        # Another process looks at this one, because a thread of this one would itself wait for the GVL.
        def watched(options)
          watcher = Watcher.new(options)
          begin
            yield
          ensure
            text = watcher.stop
          end
          read(text)
        end

        def read(text)
          JSON.parse(text.to_s, symbolize_names: true).except(:shares, :verdict)
        rescue JSON::ParserError
          raise Error, "the process that profiles this one ended without an answer: see standard error for its reason"
        end

        def hash(sampler, rate, agents)
          processes = sampler.accounts.map do |account|
            Inside.put(account.to_h, agents&.of(account.pid, sampler.started + account.until))
          end
          { version: VERSION, seconds: sampler.seconds, rate:, call_cost:, processes: }
        end

        # Seconds that the shortest system call takes on this machine, without Ruby's part of it.
        def call_cost
          with = timed { CALLS_FOR_COST.times { Process.ppid } }
          without = timed { CALLS_FOR_COST.times { Process.pid } }
          [with - without, 0.0].max / CALLS_FOR_COST
        end

        def timed
          start = Process.clock_gettime(Process::CLOCK_PROCESS_CPUTIME_ID)
          yield
          Process.clock_gettime(Process::CLOCK_PROCESS_CPUTIME_ID) - start
        end
      end
    end
  end
end

# frozen_string_literal: true

require_relative "agents"
require_relative "recording"

module UringIO
  class Profile
    # A command that is started to be profiled. It gets the terminal's signals itself, and others are passed on to it.
    class Launch
      PASSED_ON = %w[HUP TERM USR1 USR2].freeze
      private_constant :PASSED_ON

      # @return [Profile]
      attr_reader :profile

      # @return [Integer] the command's exit status, or 128 and the number of the signal that ended it
      attr_reader :status

      # @return [Array<Integer>] Rubies that the command has started, and that go on
      attr_reader :left

      # Runs the command, and returns when it has ended; the sampling stops after +seconds+.
      # @param command [Array<String>]
      # @param out [IO] for its standard output
      # @param inside [Boolean] whether an agent is to count inside of the Rubies that it starts
      def initialize(command, seconds:, rate:, out:, inside: true)
        Recording.check(seconds, rate)
        @ended = nil
        agents = new_agents if inside
        passing_signals_on do
          # Never by a shell: its words are whole.
          @pid = Process.spawn(agents&.environment || {}, [command.first, command.first], *command.drop(1), out:)
          pass_on(@early) if @early
          @profile = Profile.new(Recording.of_pid(@pid, seconds:, rate:, agents:, ended: method(:ended?)))
          yield self if block_given?
          @ended ||= Process.wait2(@pid).last
        end
        @left = agents ? agents.alive : []
        @status = @ended.exitstatus || (128 + @ended.termsig)
      ensure
        agents&.close
      end

      private

      # Without a folder for their files the agents do not count.
      def new_agents
        Agents.new
      rescue ArgumentError, SystemCallError
        nil
      end

      def ended?
        @ended ||= Process.wait2(@pid, Process::WNOHANG)&.last
      end

      # A terminal sends INT and QUIT to the command as well; without one they have come from elsewhere.
      def passing_signals_on
        before = PASSED_ON.to_h { |signal| [signal, trap(signal) { pass_on(signal) }] }
        terminal = terminal?
        before.update(%w[INT QUIT].to_h { |signal| [signal, trap(signal) { pass_on(signal) unless terminal }] })
        yield
      ensure
        before&.each { |signal, handler| trap(signal, handler || "DEFAULT") }
      end

      def terminal?
        File.open("/dev/tty").close
        true
      rescue SystemCallError
        false
      end

      def pass_on(signal)
        return @early = signal unless @pid

        Process.kill(signal, @pid)
      rescue Errno::ESRCH
        # It has just ended.
      end
    end
  end
end

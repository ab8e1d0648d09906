# frozen_string_literal: true

require_relative "agents"
require_relative "recording"

module UringIO
  class Profile
    # Starts a command and profiles it. The command gets the terminal's signals itself; this class passes others on.
    class Launch
      PASSED_ON = %w[HUP TERM USR1 USR2].freeze
      # Seconds between two looks whether the command has ended, after the sampling.
      LOOK = 0.02
      private_constant :PASSED_ON, :LOOK

      # @return [Profile]
      attr_reader :profile

      # @return [Integer] the command's exit status, or 128 and the number of the signal that ended it
      attr_reader :status

      # @return [Array<Integer>] pids of Rubies that the command has started and that still run
      attr_reader :left

      # Runs the command, and returns when it has ended. The sampling stops after +seconds+.
      # @param command [Array<String>]
      # @param out [IO] for its standard output
      # @param inside [Boolean] whether an agent counts inside of the Rubies that the command starts
      def initialize(command, seconds:, rate:, out:, inside: true)
        Recording.check(seconds, rate)
        @kept = []
        agents = new_agents if inside
        passing_signals_on do
          # This form of spawn never uses a shell, so no word of the command is split.
          pid = Process.spawn(agents&.environment || {}, [command.first, command.first], *command.drop(1), out:)
          pass_to(pid)
          @profile = Profile.new(Recording.of_pid(pid, seconds:, rate:, agents:, ended: method(:ended?)))
          yield self if block_given?
          sleep(LOOK) until ended?
        end
        @left = agents ? agents.alive : []
        @status = @ended.exitstatus || (128 + @ended.termsig)
      ensure
        agents&.close
      end

      private

      # Nil when we cannot make the folder for the agents' files: then there are no agents.
      def new_agents
        Agents.new
      rescue ArgumentError, SystemCallError
        nil
      end

      # Reaps the command if it has ended. From then on another process may have its pid, and must not get its signals.
      # A trap may run as soon as the kernel has reaped the command, before we know it.
      def ended?
        return true if @ended

        pid = @pid
        @pid = nil
        @ended = Process.wait2(pid, Process::WNOHANG)&.last
        pass_to(pid) unless @ended
        !@ended.nil?
      end

      # A terminal sends INT and QUIT to the command as well. Without a terminal only this process gets them.
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

      # From now on the command gets the signals, and first those that came while nobody knew its pid.
      def pass_to(pid)
        @pid = pid
        pass_on(@kept.shift) while @kept.any?
      end

      def pass_on(signal)
        @pid ? Process.kill(signal, @pid) : @kept << signal
      rescue Errno::ESRCH, Errno::EPERM
        # Somebody else has reaped the command, or it runs as another user by now.
      end
    end
  end
end

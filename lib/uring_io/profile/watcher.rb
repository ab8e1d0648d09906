# frozen_string_literal: true

require "rbconfig"
require "tempfile"

module UringIO
  class Profile
    # A child process that profiles this one: +uring_io profile --json --pid+.
    class Watcher
      # The variable with the number of a descriptor. The watcher closes that descriptor when it is ready to look.
      READY = "URING_IO_PROFILE_READY"

      # In a watcher, tells the parent that it is ready to look. Does nothing in other processes.
      def self.say_ready
        number = ENV.delete(READY) or return

        IO.new(Integer(number, 10), "w").close
      rescue ArgumentError, SystemCallError
        # The variable is not from a Watcher.
      end

      def initialize(options)
        program = File.expand_path("../../../exe/uring_io", __dir__)
        ready, told = IO.pipe
        # A file, because the profile would show a thread that waits for a pipe.
        @output = Tempfile.new("uring_io-profile")
        @pid = Process.spawn({ READY => told.fileno.to_s }, RbConfig.ruby, program, "profile", *options,
                             out: @output, told => told, in: File::NULL)
        told.close
        # Returns when the watcher is ready, or has ended. If it has ended, it has printed the reason on standard error.
        ready.read(1)
        ready.close
      end

      # @return [String] the output of the watcher
      def stop
        interrupt
        Process.wait(@pid)
        File.read(@output.path, encoding: Encoding::UTF_8)
      ensure
        @output.close!
      end

      private

      def interrupt
        Process.kill(:INT, @pid)
      rescue Errno::ESRCH
        # The watcher has already ended, for example after its --seconds.
      end
    end
  end
end

# frozen_string_literal: true

require "rbconfig"
require "tempfile"

module UringIO
  class Profile
    # A process beside this one that looks at it: +uring_io profile --json --pid+.
    class Watcher
      # The number of a descriptor on which it says that it looks.
      READY = "URING_IO_PROFILE_READY"

      # Tells whoever started this process, if it is such a one, that the looking begins.
      def self.say_ready
        number = ENV.delete(READY) or return

        IO.new(Integer(number, 10), "w").close
      rescue ArgumentError, SystemCallError
        # The variable has come from somewhere else.
      end

      def initialize(options)
        program = File.expand_path("../../../exe/uring_io", __dir__)
        ready, told = IO.pipe
        # A file, as a thread that reads a pipe would be seen waiting.
        @output = Tempfile.new("uring_io-profile")
        @pid = Process.spawn({ READY => told.fileno.to_s }, RbConfig.ruby, program, "profile", *options,
                             out: @output, told => told, in: File::NULL)
        told.close
        # Its end is as good: then it has said on its standard error what is wrong.
        ready.read(1)
        ready.close
      end

      # @return [String] what it has printed
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
        # It has ended before: after the seconds that were given.
      end
    end
  end
end

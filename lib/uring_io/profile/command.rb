# frozen_string_literal: true

require_relative "../command_line/subcommand"
require_relative "exact"
require_relative "launch"
require_relative "recording"

module UringIO
  class Profile
    # <tt>uring_io profile</tt>: its options, and what it prints.
    class Command < Subcommand
      BANNER = <<~TEXT
        Usage: uring_io profile [OPTION...] [--] COMMAND [ARGUMENT...]
               uring_io profile [OPTION...] --pid PID

        Tells where the time of a program goes, and how much io_uring or a fiber scheduler could help at most. It looks
        at any program, its threads and its children from outside. When it starts a Ruby, it also counts inside of it:
        garbage collection, waits for the GVL, and what fibers wait for.

      TEXT
      NOTE = <<~TEXT

        The profile goes to standard output when the program has ended, or at Ctrl-C. The exit status is the command's
        (128 + N when signal N ended it); with --pid it is 0, and 2 when that process cannot be profiled.
      TEXT
      Options = Struct.new(:seconds, :rate, :pid, :outside, :exact, :json, :html, :trace)
      private_constant :BANNER, :NOTE, :Options

      private

      def parser
        @options = Options.new(nil, RATE, nil, false, false, false, nil, nil)
        OptionParser.new do |parser|
          parser.banner = BANNER
          parser.on("--pid PID", Integer, "profiles a process that runs") { |pid| @options.pid = pid }
          parser.on("--seconds N", Float, "stops looking after N seconds") { |number| @options.seconds = number }
          parser.on("--rate HZ", Integer, "looks a second, from 1 to 1000 (default #{RATE})") do |number|
            @options.rate = number
          end
          parser.on("--outside", "looks only from outside, even at a Ruby") { @options.outside = true }
          parser.on("--exact", "counts system calls as well, by strace: runs the command a second time, or",
                    "looks at the process once more for as long") { @options.exact = true }
          parser.on("--json", "prints all numbers as JSON (docs/profile.md); what the command prints",
                    "then goes to standard error") { @options.json = true }
          parser.on("--html FILE", "writes a page there, too") { |file| @options.html = file }
          parser.on("--trace FILE", "writes a trace there, too: Perfetto and speedscope open it") do |file|
            @options.trace = file
          end
        end
      end

      def note = NOTE

      def perform(command)
        check(command)
        @options.pid ? of_pid : of_command(command)
      end

      def check(command)
        raise ArgumentError, "a command or --pid is missing" if command.empty? && @options.pid.nil?
        raise ArgumentError, "both a command and --pid are given" if command.any? && @options.pid

        Recording.check(@options.seconds, @options.rate)
        files.each { |option, file| check_file(option, file) }
      end

      def files = { html: @options.html, trace: @options.trace }.compact

      # Writes the files that were asked for.
      def text(profile)
        files.each { |content, file| save(file, profile.public_send(content)) }
        @options.json ? profile.to_json : profile.to_s(color: @color)
      end

      # Ctrl-C ends the sampling. This program goes on and prints the profile.
      def of_pid
        interrupted = false
        before = trap("INT") { interrupted = true }
        limits = { seconds: @options.seconds, rate: @options.rate, ended: -> { interrupted } }
        recording = Recording.of_pid(@options.pid, **limits)
        recording[:exact] = Exact.of_pid(@options.pid, recording[:seconds], ended: limits[:ended]) if @options.exact
        [0, text(Profile.new(recording))]
      ensure
        trap("INT", before || "DEFAULT")
      end

      def of_command(command)
        starting(command) do
          launch = Launch.new(command, seconds: @options.seconds, rate: @options.rate, inside: !@options.outside,
                                       out: @options.json ? @err : @out)
          launch.left.each { |pid| tell_of_left(pid) }
          [launch.status, text(@options.exact ? exact(command, launch.profile) : launch.profile)]
        end
      end

      def tell_of_left(pid)
        warn_of("process #{pid}, which the command has left behind, goes on and was not looked at any more: " \
                "`uring_io profile --pid #{pid}` looks at it")
      end

      def exact(command, profile)
        recording = profile.to_h.except(:shares, :verdict)
        Profile.new({ **recording, exact: Exact.of_command(command, recording[:seconds]) })
      end
    end
  end
end

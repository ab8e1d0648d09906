# frozen_string_literal: true

require "optparse"
require_relative "exact"
require_relative "launch"
require_relative "recording"

module UringIO
  class Profile
    # <tt>uring_io profile</tt>: its options, and what it prints.
    class Command
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
      # As a shell says.
      NOT_FOUND = 127
      NOT_EXECUTABLE = 126
      Options = Struct.new(:seconds, :rate, :pid, :outside, :exact, :json, :html, :trace)
      private_constant :BANNER, :NOTE, :NOT_FOUND, :NOT_EXECUTABLE, :Options

      def initialize(arguments, out:, err:, color:)
        @arguments = arguments
        @out = out
        @err = err
        @color = color
        @options = Options.new(nil, RATE, nil, false, false, false, nil, nil)
      end

      # @return [Array(Integer, String)] the exit status, and what is to be printed
      # @raise [ArgumentError] for arguments that are not in the usage
      def run
        parser = parser()
        command = parser.order(@arguments)
        return [0, parser.to_s + NOTE] if @help

        check(command)
        @options.pid ? of_pid : of_command(command)
      rescue OptionParser::ParseError => error
        raise ArgumentError, error.message
      end

      private

      def parser
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
          parser.on("-h", "--help", "prints this") { @help = true }
        end
      end

      def check(command)
        raise ArgumentError, "a command or --pid is missing" if command.empty? && @options.pid.nil?
        raise ArgumentError, "both a command and --pid are given" if command.any? && @options.pid

        Recording.check(@options.seconds, @options.rate)
        # Before the work, and not after it.
        files.each do |option, file|
          File.open(file, "a").close
        rescue SystemCallError => error
          raise Error, "--#{option}: #{file} cannot be written: #{error.class.new.message}"
        end
      end

      def files = { html: @options.html, trace: @options.trace }.compact

      # Writes the files that were asked for.
      def text(profile)
        files.each { |content, file| write(file, profile.public_send(content)) }
        @options.json ? profile.to_json : profile.to_s(color: @color)
      end

      # When it cannot write the file, the profile still goes to standard output.
      def write(file, content)
        File.write(file, content)
      rescue SystemCallError => error
        @err.puts("uring_io: #{file} cannot be written: #{error.class.new.message}")
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
        launch = Launch.new(command, seconds: @options.seconds, rate: @options.rate, inside: !@options.outside,
                                     out: @options.json ? @err : @out)
        launch.left.each do |pid|
          @err.puts("uring_io: process #{pid}, which the command has left behind, goes on and was not looked at any " \
                    "more: `uring_io profile --pid #{pid}` looks at it")
        end
        [launch.status, text(@options.exact ? exact(command, launch.profile) : launch.profile)]
      rescue Errno::ENOENT => error
        not_started(command, error, NOT_FOUND)
      rescue Errno::EACCES, Errno::ENOEXEC => error
        not_started(command, error, NOT_EXECUTABLE)
      end

      def exact(command, profile)
        recording = profile.to_h.except(:shares, :verdict)
        Profile.new({ **recording, exact: Exact.of_command(command, recording[:seconds]) })
      end

      def not_started(command, error, status)
        @err.puts("uring_io: #{command.first} cannot be started: #{error.message}")
        [status, ""]
      end
    end
  end
end

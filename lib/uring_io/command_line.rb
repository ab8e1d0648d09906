# frozen_string_literal: true

require_relative "errors"
require_relative "version"

module UringIO
  # The program +uring_io+: commands, options and exit statuses.
  class CommandLine
    # The text that help prints.
    USAGE = <<~TEXT
      Usage: uring_io COMMAND

        doctor [--json]  tells which backends work here, which one a program gets, and how to get the others
        profile ...      tells where a program's time goes, and what io_uring could give it (profile --help)
        fibers ...       tells what each fiber of a running program waits for (fibers --help)
        trace ...        runs a program and writes a trace of what its fibers do (trace --help)
        ladder ...       measures and explains the ways to serve many connections, up to io_uring (ladder --help)
        version          prints the version of the gem
        help             prints this

      The exit status of doctor is 0 when a program would run on io_uring, 1 when it would not, and 2 when doctor cannot
      tell, for example after wrong usage. The exit status of every command is 74 when it cannot write its output.
      doctor looks at URING_IO_BACKEND as programs do; NO_COLOR=1 turns colours off.
    TEXT

    # Exit status after wrong usage, and when the command cannot find an answer.
    TROUBLE = 2
    # Exit status when the program cannot write its output: EX_IOERR of sysexits.h.
    UNWRITTEN = 74

    # Arguments that are not in the usage.
    class WrongUsage < StandardError; end
    private_constant :WrongUsage

    # @param arguments [Array<String>] without the name of the program; left as they are
    # @param out [IO] for what was asked for
    # @param err [IO] for messages
    def initialize(arguments, out: $stdout, err: $stderr)
      @arguments = arguments.dup
      @out = out
      @err = err
    end

    # Does what the arguments say.
    # @return [Integer] the exit status
    def run
      status, text = answer(*@arguments)
      write(text) ? status : UNWRITTEN
    rescue WrongUsage => error
      complain(error.message, USAGE)
      TROUBLE
    rescue LoadError, SystemCallError, IOError => error
      complain(error.message)
      TROUBLE
    end

    private

    def answer(command = nil, *options)
      case command
      when "doctor" then doctor(options)
      when "profile", "fibers", "trace", "ladder" then subcommand(command, options)
      when "version", "--version", "-v" then [0, alone("#{VERSION}\n", options)]
      when "help", "--help", "-h" then [0, alone(USAGE, options)]
      when nil then raise WrongUsage, "a command is missing"
      else raise WrongUsage, "there is no command #{command.inspect}"
      end
    end

    def doctor(options)
      return [0, USAGE] if options.intersect?(%w[--help -h])

      alone(nil, options - ["--json"])
      require_relative "doctor"
      report = Doctor.examine
      [report.status, options.include?("--json") ? report.to_json : report.to_s(color: color?)]
    end

    def subcommand(name, options)
      result_of(name, options, out: @out, err: @err, color: color?)
    rescue ArgumentError => error
      raise WrongUsage, "#{name}: #{error.message}; see uring_io #{name} --help"
    rescue Error => error
      complain(error.message)
      [TROUBLE, ""]
    end

    # Each command loads only its own part of the gem.
    def result_of(name, options, **output)
      case name
      when "profile"
        require_relative "profile"
        Profile.command(options, **output)
      when "ladder"
        require_relative "ladder"
        Ladder.command(options, **output)
      when "fibers"
        require_relative "inspection/command"
        Inspection::Command.new(options, **output).run
      when "trace"
        require_relative "command_line/tracing"
        Tracing.new(options, **output).run
      end
    end

    def alone(text, options)
      return text if options.empty?

      raise WrongUsage, "unknown argument #{options.first.inspect}"
    end

    # See no-color.org: the variable counts when it is not empty.
    def color?
      @out.tty? && ENV["NO_COLOR"].to_s.empty? && ENV["TERM"] != "dumb"
    end

    # Where standard output was closed, Ruby has put a pipe without a reader.
    def write(text)
      @out.write(text)
      @out.flush
      true
    rescue SystemCallError, IOError => error
      complain("standard output cannot be written: #{error.message}")
      false
    end

    def complain(message, *more)
      @err.puts("uring_io: #{message}", *more)
    rescue SystemCallError, IOError
      # Then only the exit status tells the failure.
    end
  end
end

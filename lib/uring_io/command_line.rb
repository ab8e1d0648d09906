# frozen_string_literal: true

require "optparse"
require_relative "version"

module UringIO
  # The program +uring_io+: commands, options and exit statuses.
  class CommandLine
    USAGE = <<~TEXT
      Usage: uring_io COMMAND

        doctor [--json]  tells what this machine offers, what a program would get, and the cure for what is missing
        version          prints the version of the gem
        help             prints this

      Exit status of doctor: 0 when a program would run on io_uring, 1 when it would not, 2 when this cannot be told.
      Wrong usage: 2. URING_IO_BACKEND is respected as programs do. NO_COLOR=1 turns colours off.
    TEXT

    # Exit status for wrong usage, and when nothing could be found out.
    TROUBLE = 2

    # Arguments that are not in the usage.
    class WrongUsage < StandardError; end

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
      write(text)
      status
    rescue OptionParser::ParseError, WrongUsage => error
      @err.puts("uring_io: #{error.message}", USAGE)
      TROUBLE
    rescue LoadError, SystemCallError, IOError => error
      @err.puts("uring_io: #{error.message}")
      TROUBLE
    end

    private

    def answer(command = nil, *options)
      case command
      when "doctor" then doctor(options)
      when "version", "--version", "-v" then [0, text_without(options, "#{VERSION}\n")]
      when "help", "--help", "-h" then [0, text_without(options, USAGE)]
      when nil then raise WrongUsage, "a command is missing"
      else raise WrongUsage, "there is no command #{command.inspect}"
      end
    end

    def doctor(options)
      json = help = false
      parser = OptionParser.new
      parser.require_exact = true
      parser.on("--json") { json = true }
      parser.on("-h", "--help") { help = true }
      rest = parser.parse(options)
      return [0, text_without(rest, USAGE)] if help

      report = examine(rest)
      [report.status, json ? report.to_json : report.to_s(color: color?)]
    end

    def examine(rest)
      text_without(rest, nil)
      require_relative "doctor"
      Doctor.examine
    end

    def text_without(rest, text)
      return text if rest.empty?

      raise WrongUsage, "#{rest.first.inspect} is one argument too many"
    end

    # See no-color.org: the variable counts when it is not empty.
    def color?
      @out.tty? && ENV["NO_COLOR"].to_s.empty? && ENV["TERM"] != "dumb"
    end

    def write(text)
      @out.write(text)
      @out.flush
    rescue Errno::EPIPE
      # Whoever reads has seen enough.
    end
  end
end

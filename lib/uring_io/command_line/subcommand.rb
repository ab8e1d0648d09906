# frozen_string_literal: true

require "optparse"

module UringIO
  # The common parts of <tt>uring_io profile</tt>, +fibers+, +trace+ and +ladder+. A subclass has +parser+, which knows
  # its options, and +perform+, which gets the arguments after them.
  class Subcommand
    # The exit statuses of a shell that cannot start a program.
    NOT_FOUND = 127
    NOT_EXECUTABLE = 126
    private_constant :NOT_FOUND, :NOT_EXECUTABLE

    # @param arguments [Array<String>] those after the name of the command
    # @param out [IO] standard output
    # @param err [IO] for messages
    # @param color [Boolean] whether the output may have colours
    def initialize(arguments, out:, err:, color:)
      @arguments = arguments
      @out = out
      @err = err
      @color = color
    end

    # @return [Array(Integer, String)] the exit status, and the text for standard output
    # @raise [ArgumentError] for arguments that are not in the usage
    # @raise [Error] when the command cannot do its work
    def run
      is_help = false
      parser = parser()
      parser.on("-h", "--help", "prints this") { is_help = true }
      rest = parser.order(@arguments)
      is_help ? [0, parser.to_s + note] : perform(rest)
    rescue OptionParser::ParseError => error
      raise ArgumentError, error.message
    end

    private

    # The end of the help, after the options.
    def note = ""

    def no_more(rest)
      raise ArgumentError, "unknown argument #{rest.first.inspect}" if rest.any?
    end

    # Before a long work: its result would be lost. Leaves no new file behind.
    def check_file(option, file)
      is_new = !File.exist?(file) && !File.symlink?(file)
      File.open(file, "a").close
      File.unlink(file) if is_new
    rescue SystemCallError => error
      raise Error, "--#{option}: #{file} cannot be written: #{error.class.new.message}"
    end

    # When the file cannot be written, the command still prints its result.
    def save(file, content)
      File.write(file, content)
    rescue SystemCallError => error
      warn_of("#{file} cannot be written: #{error.class.new.message}")
    end

    # Yields to start the program.
    # @return [Object] the result of the block, or exit status and text when there is no such program
    def starting(command)
      yield
    rescue Errno::ENOENT => error
      not_started(command, error, NOT_FOUND)
    rescue Errno::EACCES, Errno::ENOEXEC, Errno::ENOTDIR, Errno::ELOOP, Errno::E2BIG, Errno::ENAMETOOLONG => error
      not_started(command, error, NOT_EXECUTABLE)
    end

    def not_started(command, error, status)
      warn_of("#{command.first} cannot be started: #{error.class.new.message}")
      [status, ""]
    end

    def warn_of(message) = @err.puts("uring_io: #{message}")
  end
  private_constant :Subcommand
end

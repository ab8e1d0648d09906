# frozen_string_literal: true

require "optparse"

module UringIO
  class CommandLine
    # <tt>uring_io trace</tt>: runs a program in place of this one, with URING_IO_TRACE.
    class Tracing
      BANNER = <<~TEXT
        Usage: uring_io trace [--output FILE | --html FILE] [--] COMMAND [ARGUMENT...]

        Runs a program that uses uring_io, and writes what its fibers did and when: Perfetto (ui.perfetto.dev) opens the
        file. FILE.html becomes a page for any browser, and FILE.svg a picture. The program must end by itself or by a
        signal that Ruby handles, and not by exit!. docs/trace.md and docs/visual.md tell more.

      TEXT
      # As a shell says.
      NOT_FOUND = 127
      NOT_EXECUTABLE = 126
      private_constant :BANNER, :NOT_FOUND, :NOT_EXECUTABLE

      def initialize(arguments, err:)
        @arguments = arguments
        @err = err
        @output = "trace.json"
      end

      # @return [Array(Integer, String)] the exit status, and what is to be printed, when no program was run
      # @raise [ArgumentError] for arguments that are not in the usage
      def run
        parser = parser()
        command = parser.order(@arguments)
        return [0, parser.to_s] if @help
        raise ArgumentError, "a command is missing" if command.empty?

        check
        start(command)
      rescue OptionParser::ParseError => error
        raise ArgumentError, error.message
      end

      private

      # Before the work, and not after it. A program that records nothing leaves no file.
      def check
        is_new = !File.exist?(@output)
        File.open(@output, "a").close
        File.unlink(@output) if is_new
      end

      def start(command)
        # Never by a shell: its words are whole.
        exec({ "URING_IO_TRACE" => File.expand_path(@output) }, [command.first, command.first], *command.drop(1))
      rescue Errno::ENOENT => error
        not_started(command, error, NOT_FOUND)
      rescue Errno::EACCES, Errno::ENOEXEC => error
        not_started(command, error, NOT_EXECUTABLE)
      end

      def page(file)
        return file if File.extname(file) == ".html"

        raise ArgumentError, "--html #{file}: the name of a page ends in .html"
      end

      def not_started(command, error, status)
        @err.puts("uring_io: #{command.first} cannot be started: #{error.message}")
        [status, ""]
      end

      def parser
        OptionParser.new do |parser|
          parser.banner = BANNER
          parser.on("-o", "--output FILE", "writes there (default trace.json)") { |file| @output = file }
          parser.on("--html FILE", "writes a page there") { |file| @output = page(file) }
          parser.on("-h", "--help", "prints this") { @help = true }
        end
      end
    end
    private_constant :Tracing
  end
end

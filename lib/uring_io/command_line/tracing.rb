# frozen_string_literal: true

require_relative "../errors"
require_relative "../trace/records"
require_relative "subcommand"

module UringIO
  class CommandLine
    # <tt>uring_io trace</tt>: runs a program in place of this one, with URING_IO_TRACE.
    class Tracing < Subcommand
      BANNER = <<~TEXT
        Usage: uring_io trace [--output FILE | --html FILE] [--records N] [--] COMMAND [ARGUMENT...]

        Runs a program that uses uring_io, and writes what its fibers did and when: Perfetto (ui.perfetto.dev) opens the
        file. FILE.html becomes a page for any browser, and FILE.svg a picture. The program must end by itself or by a
        signal that Ruby handles, and not by exit!. docs/trace.md and docs/visual.md tell more.

      TEXT
      private_constant :BANNER

      private

      def parser
        @option = :output
        @file = "trace.json"
        OptionParser.new do |parser|
          parser.banner = BANNER
          parser.on("-o", "--output FILE", "writes there (default #{@file})") { |file| @file = file }
          parser.on("--html FILE", "writes a page there") { |file| page(file) }
          parser.on("--records N", "keeps the latest N records of each scheduler (default #{Trace::RECORDS})") do |it|
            @records = Trace.check_records(it, "--records:")
          end
        end
      end

      def page(file)
        raise ArgumentError, "--html #{file}: the name of a page ends in .html" unless File.extname(file) == ".html"

        @option = :html
        @file = file
      end

      def perform(command)
        raise ArgumentError, "a command is missing" if command.empty?

        check_file(@option, @file)
        environment = { "URING_IO_TRACE" => File.expand_path(@file), "URING_IO_TRACE_RECORDS" => @records&.to_s }
        # As a list of words, so that no shell reads the command.
        starting(command) { exec(environment, [command.first, command.first], *command.drop(1)) }
      end
    end
    private_constant :Tracing
  end
end

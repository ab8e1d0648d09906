# frozen_string_literal: true

require "optparse"
require_relative "question"
require_relative "report"

module UringIO
  module Inspection
    # <tt>uring_io fibers</tt>: its options, and what it prints.
    class Command
      BANNER = <<~TEXT
        Usage: uring_io fibers [--json] --pid PID

        Tells what each fiber of a running program waits for, with its backtrace, and what its threads do. The program
        must have loaded uring_io, and have been started with URING_IO_INSPECT=1. It goes on running meanwhile.
        docs/stuck.md tells more.

      TEXT
      private_constant :BANNER

      def initialize(arguments)
        @arguments = arguments
      end

      # @return [Array(Integer, String)] the exit status, and what is to be printed
      # @raise [ArgumentError] for arguments that are not in the usage
      # @raise [Error] when there is no answer
      def run
        parser = parser()
        rest = parser.parse(@arguments)
        return [0, parser.to_s] if @help
        raise ArgumentError, "unknown argument #{rest.first.inspect}" if rest.any?
        raise ArgumentError, "--pid is missing" unless @pid

        answer = Question.new(@pid).answer
        [0, @json ? "#{JSON.pretty_generate(answer)}\n" : Report.new(answer).to_s]
      rescue OptionParser::ParseError => error
        raise ArgumentError, error.message
      end

      private

      def parser
        OptionParser.new do |parser|
          parser.banner = BANNER
          parser.on("--pid PID", Integer, "the number of the program's process") { |pid| @pid = pid }
          parser.on("--json", "prints all of it as JSON") { @json = true }
          parser.on("-h", "--help", "prints this") { @help = true }
        end
      end
    end
  end
end

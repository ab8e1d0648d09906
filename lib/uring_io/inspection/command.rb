# frozen_string_literal: true

require_relative "../command_line/subcommand"
require_relative "question"
require_relative "report"

module UringIO
  module Inspection
    # <tt>uring_io fibers</tt>: its options, and what it prints.
    class Command < Subcommand
      BANNER = <<~TEXT
        Usage: uring_io fibers [--json] --pid PID

        Tells what each fiber of a running program waits for, with its backtrace, and what its threads do. The program
        must have loaded uring_io, and have been started with URING_IO_INSPECT=1. It goes on running meanwhile.
        docs/stuck.md tells more.

      TEXT
      private_constant :BANNER

      private

      def parser
        OptionParser.new do |parser|
          parser.banner = BANNER
          parser.on("--pid PID", Integer, "the number of the program's process") { |pid| @pid = pid }
          parser.on("--json", "prints all of it as JSON") { @json = true }
        end
      end

      def perform(rest)
        no_more(rest)
        raise ArgumentError, "--pid is missing" unless @pid

        answer = Question.new(@pid).answer { |why| warn_of(why) }
        [0, @json ? "#{JSON.pretty_generate(answer)}\n" : Report.new(answer).to_s]
      end
    end
  end
end

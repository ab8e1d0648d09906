# frozen_string_literal: true

require "fileutils"
require_relative "../command_line/subcommand"

module UringIO
  class Ladder
    # <tt>uring_io ladder</tt>: its options, and what it prints.
    class Command < Subcommand
      BANNER = <<~TEXT
        Usage: uring_io ladder [OPTION...]

        Serves the same small exchange in six ways, from blocking threads to io_uring, with 10 to 10,000 connections of
        which one in a hundred is active. Tells the system calls, processor time, memory and time of an exchange, and
        what each step of the ladder is for. It takes about a minute; docs/ladder.md tells more.

      TEXT
      # As a shell says.
      INTERRUPTED = 128 + Signal.list.fetch("INT")
      private_constant :BANNER, :INTERRUPTED

      private

      def parser
        @connections = CONNECTIONS
        @seconds = SECONDS
        OptionParser.new do |parser|
          parser.banner = BANNER
          parser.on("--connections N,...", Array, "other numbers of connections") do |list|
            @connections = list.map { |number| Integer(number, 10) }
          end
          parser.on("--seconds N", Float, "measures each part for so long (default #{SECONDS})") do |number|
            @seconds = number
          end
          parser.on("--json", "prints all numbers as JSON (docs/ladder.md)") { @json = true }
          parser.on("--html FILE", "writes a page there, too, which explains each step by pictures") do |file|
            @html = file
          end
          parser.on("--svg DIR", "writes the pictures there, too") { |folder| @svg = folder }
        end
      end

      def perform(rest)
        no_more(rest)
        check_file(:html, @html) if @html
        make_folder if @svg
        ladder = climb
        save(@html, ladder.html) if @html
        ladder.pictures.each { |name, picture| save(File.join(@svg, "#{name}.svg"), picture) } if @svg
        [0, @json ? ladder.to_json : ladder.to_s(color: @color)]
      rescue Interrupt
        warn_of("the ladder was interrupted before all was measured")
        [INTERRUPTED, ""]
      end

      def make_folder
        FileUtils.mkdir_p(@svg)
      rescue SystemCallError => error
        raise Error, "--svg: #{@svg} cannot be made: #{error.class.new.message}"
      end

      def climb
        Ladder.climb(connections: @connections, seconds: @seconds) { |*part| progress(*part) }
      ensure
        @err.print("\r\e[K") if @err.tty?
      end

      def progress(rung, count, done, all)
        return unless @err.tty?

        @err.print("\r\e[K#{done + 1} of #{all}: #{rung}, #{Texts.count(count)} connections")
        @err.flush
      end
    end
  end
end

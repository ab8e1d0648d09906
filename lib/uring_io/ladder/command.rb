# frozen_string_literal: true

require "fileutils"
require "optparse"

module UringIO
  class Ladder
    # <tt>uring_io ladder</tt>: its options, and what it prints.
    class Command
      BANNER = <<~TEXT
        Usage: uring_io ladder [OPTION...]

        Serves the same small exchange in six ways, from blocking threads to io_uring, with 10 to 10,000 connections of
        which one in a hundred is active. Tells the system calls, processor time, memory and time of an exchange, and
        what each step of the ladder is for. It takes about a minute; docs/ladder.md tells more.

      TEXT
      # As a shell says.
      INTERRUPTED = 128 + Signal.list.fetch("INT")
      private_constant :BANNER, :INTERRUPTED

      def initialize(arguments, err:, color:)
        @arguments = arguments
        @err = err
        @color = color
        @connections = CONNECTIONS
        @seconds = SECONDS
      end

      # @return [Array(Integer, String)] the exit status, and what is to be printed
      # @raise [ArgumentError] for arguments that are not in the usage
      def run
        parser = parser()
        rest = parser.parse(@arguments)
        return [0, parser.to_s] if @help
        raise ArgumentError, "#{rest.first.inspect} is not known here" if rest.any?

        prepare
        ladder = climb
        save(@html, ladder.html) if @html
        ladder.pictures.each { |name, picture| save(File.join(@svg, "#{name}.svg"), picture) } if @svg
        [0, @json ? ladder.to_json : ladder.to_s(color: @color)]
      rescue OptionParser::ParseError => error
        raise ArgumentError, error.message
      rescue Interrupt
        @err.puts("uring_io: the ladder was interrupted before all was measured")
        [INTERRUPTED, ""]
      end

      private

      def parser
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
          parser.on("-h", "--help", "prints this") { @help = true }
        end
      end

      # Before the work, and not after it.
      def prepare
        File.open(@html, "a").close if @html
        FileUtils.mkdir_p(@svg) if @svg
      end

      # The command prints its figures all the same.
      def save(file, text)
        File.write(file, text)
      rescue SystemCallError => error
        @err.puts("uring_io: #{file} cannot be written: #{error.class.new.message}")
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

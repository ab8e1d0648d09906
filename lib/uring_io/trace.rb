# frozen_string_literal: true

require_relative "trace/reading"
require_relative "trace/snapshot"

# See scheduler.rb.
module UringIO
  # What the fibers of this process did, and when: UringIO.trace makes one.
  class Trace
    # With JSON and ERB, which most programs have no use for.
    autoload :Chrome, File.join(__dir__, "trace/chrome")
    autoload :Page, File.join(__dir__, "trace/page")
    autoload :Picture, File.join(__dir__, "trace/picture")
    autoload :Scene, File.join(__dir__, "trace/scene")

    # Records that are kept of each scheduler, selector and ring, 40 bytes each: the latest.
    MOST = 1 << 18
    private_constant :MOST, :Chrome, :Page, :Picture, :Reading, :Scene

    class << self
      # Begins to record.
      # @raise [Error] when that is being done already
      # @api private
      def begin(most = MOST)
        raise Error, "a trace is being recorded already: end that one first" unless begin_recording(most)
      end

      # Records until this process ends, and writes the file then. A forked child writes one of its own, with its number
      # in the name.
      # @api private
      def follow(path)
        self.begin
        path = File.expand_path(path)
        owner = Process.pid
        at_exit { finish(Process.pid == owner ? path : path.sub(/(\.\w+)?\z/) { "-#{Process.pid}#{_1}" }) }
      end

      # Ends that.
      # @return [Trace]
      # @api private
      def end = new(end_recording)

      private

      def finish(path)
        trace = self.end
        trace.write(path) if trace.engines.any?
      rescue SystemCallError => error
        warn("uring_io: URING_IO_TRACE: #{path} cannot be written: #{error.message}")
      end
    end

    # @param recordings [Array] of each engine the backend, the count of records that are gone, names and records
    # @api private
    def initialize(recordings)
      @engines = recordings.map { |recording| Reading.new(*recording) }.select(&:used?)
    end

    # @return [Array<Reading>] a scheduler, selector or ring each
    # @api private
    attr_reader :engines

    # @return [Integer] records that are missing at the beginning, as there was no room for them
    def gone = engines.sum(&:gone)

    # @return [String] Chrome's Trace Event JSON, for Perfetto: a track for each fiber and one for each ring, with flows
    #   from the begin of an operation to its end
    def to_json(*) = Chrome.json(self)

    # @return [String] one page that loads nothing: what kept others waiting, and lanes of fibers over time
    def html = Page.new(self).to_s

    # @return [String] a picture of the whole, as SVG
    def svg = Picture.new(Scene.new(self)).to_s

    # @param path [String] of a page when it ends in .html, of a picture when it ends in .svg, and of JSON otherwise
    # @return [Trace] itself
    def write(path)
      text = case File.extname(path)
             when ".html" then html
             when ".svg" then svg
             else to_json
             end
      File.write(path, text)
      self
    end

    # @return [String]
    def inspect
      "#<#{self.class} #{engines.sum { |engine| engine.fibers.size }} fibers, #{gone} records are gone>"
    end
  end

  # Records what the fibers of all schedulers, selectors and rings do while the block runs: when each waits, for what,
  # and when it runs; what goes down to the kernel and what comes back.
  #
  #   UringIO.trace("trace.json") { UringIO.run { work } }
  #
  # @param path [String, nil] of a file for Trace#write, written also when the block raises
  # @return [Trace]
  # @raise [Error] in a block of another trace, and with URING_IO_TRACE
  def self.trace(path = nil)
    raise ArgumentError, "UringIO.trace needs a block" unless block_given?

    Trace.begin
    begin
      yield
    ensure
      trace = Trace.end
      trace.write(path) if path
    end
    trace
  end
end

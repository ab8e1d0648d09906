# frozen_string_literal: true

require_relative "trace/reading"
require_relative "trace/records"
require_relative "trace/snapshot"

module UringIO
  # A record of what the fibers of this process did, and when. UringIO.trace makes one.
  class Trace
    # These are autoloaded because they need JSON and ERB, which most programs do not use.
    autoload :Chrome, File.join(__dir__, "trace/chrome")
    autoload :Page, File.join(__dir__, "trace/page")
    autoload :Picture, File.join(__dir__, "trace/picture")
    autoload :Scene, File.join(__dir__, "trace/scene")
    private_constant :Chrome, :Page, :Picture, :Reading, :Scene

    class << self
      # Begins to record.
      # @raise [Error] when another trace already records
      # @api private
      def begin(records = RECORDS)
        records = check_records(records)
        return if begin_recording(records)

        raise Error, "another trace records already: end it first, or unset URING_IO_TRACE"
      end

      # Records until this process ends, and then writes the file. A forked child writes a file of its own, with its pid
      # in the name.
      # @api private
      def follow(path, records = nil)
        self.begin(records.to_s.empty? ? RECORDS : check_records(records, "URING_IO_TRACE_RECORDS:"))
        path = File.expand_path(path)
        owner = Process.pid
        at_exit { finish(Process.pid == owner ? path : path.sub(/(\.\w+)?\z/) { "-#{Process.pid}#{_1}" }) }
      end

      # Ends the recording.
      # @return [Trace]
      # @api private
      def end = new(end_recording)

      private

      def finish(path)
        trace = self.end
        trace.write(path) if trace.engines.any?
      rescue StandardError => error
        warn("uring_io: URING_IO_TRACE: #{path} cannot be written: #{error.message}")
      end
    end

    # @param recordings [Array] for each engine: the backend, the number of dropped records, names, and records
    # @api private
    def initialize(recordings)
      @engines = recordings.map { |recording| Reading.new(*recording) }.select(&:used?)
    end

    # @return [Array<Reading>] one for each scheduler, selector and ring
    # @api private
    attr_reader :engines

    # @return [Integer] how many of the first records are missing, because later ones took their room
    def gone = engines.sum(&:gone)

    # @return [String] Chrome's Trace Event JSON, for Perfetto: a track for each fiber and each ring, with an arrow from
    #   the beginning of each operation to its end
    def to_json(*) = Chrome.json(self)

    # @return [String] one page that loads nothing: the runs that kept others waiting, and lanes of fibers over time
    def html = Page.new(self).to_s

    # @return [String] a picture of the whole trace, as SVG
    def svg = Picture.new(Scene.new(self)).to_s

    # @param path [String] of the file: a page if it ends in .html, a picture if it ends in .svg, otherwise JSON
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

  # Records all schedulers, selectors and rings while the block runs: when each fiber runs, when it waits and for what,
  # the operations that go to the kernel, and the completions that come back.
  #
  #   UringIO.trace("trace.json") { UringIO.run { work } }
  #
  # @param path [String, nil] of a file, which Trace#write writes at the end, also when the block raises
  # @param records [Integer] how many records the trace keeps of each scheduler, selector and ring: the latest ones. A
  #   record takes 40 bytes, and a wait makes three of them.
  # @return [Trace]
  # @raise [Error] when another trace already records, as it does with URING_IO_TRACE
  def self.trace(path = nil, records: Trace::RECORDS)
    raise ArgumentError, "UringIO.trace needs a block" unless block_given?

    Trace.begin(records)
    begin
      yield
    ensure
      trace = Trace.end
      trace.write(path) if path
    end
    trace
  end
end

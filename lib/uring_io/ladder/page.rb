# frozen_string_literal: true

require "erb"
require_relative "pictures"
require_relative "texts"

module UringIO
  class Ladder
    # The ladder as one HTML page that loads nothing. It has a section for each rung with a picture of one exchange,
    # then the curves over the number of connections, and all figures.
    class Page
      include ERB::Util

      # The columns of the table of figures.
      COLUMNS = {
        "connections" => ->(run) { Texts.count(run.connections) },
        "processor, µs" => ->(run) { Texts.figure(run.cpu) },
        "of it in the kernel" => ->(run) { Texts.figure(run.cpu_of(:system)) },
        "time, µs" => ->(run) { Texts.figure(run.time) },
        "calls" => ->(run) { Texts.figure(run.calls) },
        "calls, all at once" => ->(run) { Texts.figure(run.calls(:together)) },
        "memory" => ->(run) { Texts.bytes(run.memory) }
      }.freeze
      private_constant :COLUMNS

      def initialize(reading)
        @reading = reading
        @curves = Pictures.curves(reading)
      end

      # @return [String]
      def to_s
        template = File.read(File.expand_path("page.erb", __dir__), encoding: Encoding::UTF_8)
        ERB.new(template, trim_mode: "-").result(binding)
      end

      private

      def machine = @reading.machine

      def picture(drawn) = Pictures.within(drawn)

      # The runs whose exchanges the page shows for a rung: one, and a second one where many connections change the
      # exchange.
      def shown(rung) = [@reading.shown(rung.name), @reading.crowded(rung.name)].compact

      def lanes(run) = Lanes.new(run.exchange)

      # The calls of one exchange in words.
      def calls(run)
        names = run.exchange[:calls]
        return "no system call" if names.empty?

        "#{names.size} system call#{'s' if names.size != 1}: #{names.sort_by { |name| order(name) }.join(', ')}"
      end

      def connections(run) = "#{Texts.count(run.connections)} connection#{'s' if run.connections != 1}"

      def order(name) = %w[recv send].index(name) || -1

      def limits_of(rung) = @reading.limits.select { |sentence| sentence.start_with?("#{rung.name}:") }

      def capital(sentence) = sentence.sub(/\A[^:]+: /, "").then { |words| words[0].upcase + words[1..] }
    end
  end
end

# frozen_string_literal: true

require_relative "../html"
require_relative "columns"
require_relative "lists"
require_relative "picture"
require_relative "scene"
require_relative "words"

module UringIO
  class Trace
    # A trace as one HTML page that loads nothing. It has sentences about the runs that kept others waiting, and a
    # picture to zoom into, which page.js draws. Without JavaScript it has the lists and a picture of the whole trace.
    class Page
      include HTML

      # The browser loads nothing from elsewhere, whatever names are in the trace.
      POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
      # Entries of the legend: a class of the style sheet, and its meaning.
      RUNNING = [:running, "runs: it has the thread, and no other fiber of this thread can run"].freeze
      KERNEL = [[:system, "in the kernel: one call, which hands submissions over, waits, and brings completions"],
                [:gvl, "waits for Ruby's lock, which another thread has"]].freeze
      KEYS = { "+" => "look closer", "-" => "see more", "0" => "see all", "← →" => "go along",
               "↑ ↓" => "choose a fiber", "n p" => "next, previous event of the fiber", "/" => "search",
               "Esc" => "end the search" }.freeze
      private_constant :POLICY, :RUNNING, :KERNEL, :KEYS

      # @param trace [Trace]
      def initialize(trace)
        @trace = trace
        @scene = Scene.new(trace)
        @lists = Lists.new(@scene.orders)
      end

      # @return [String]
      def to_s = render(file("page.erb"), binding)

      private

      def file(name) = File.expand_path(name, __dir__)

      def title = File.basename($PROGRAM_NAME.dup.force_encoding(Encoding::UTF_8).scrub)

      def summary
        enters = @scene.readings.flat_map(&:enters)
        counts = [%i[fiber fibers], %i[operation operations]].map do |one, all|
          Words.counted(@scene.readings.sum { |reading| reading.public_send(all).size }, one)
        end
        [Words.duration(@scene.length), *counts, "#{Words.counted(enters.size, 'call')} into the kernel with " \
                                                 "#{Words.counted(enters.sum(&:submissions), 'submission')}"].join(", ")
      end

      # @return [Array<Array(String, String, Array<Lists::Row>)>]
      def lists
        [["Longest runs without a pause", "While one of these ran, no other fiber of its thread could.", @lists.runs],
         ["Longest waits", "What a fiber asked for, when the kernel had it, and when the fiber ran again.",
          @lists.waits],
         ["Ready, but not running", "What they waited for was there, but they had to wait for their turn.",
          @lists.delays]]
      end

      # When it was, by the time of the picture, and on which engine if there are several. Then how many like it there
      # were, and how long they took in all.
      def about(row)
        on = ", on #{engines[row.engine]}" if engines.size > 1
        ["At #{Words.duration(row.from - @scene.start)}#{on}", row.alike].compact.join(". ")
      end

      def engines
        @scene.readings.each_with_index.map { |reading, index| "#{reading.backend} #{index + 1}" }
      end

      def legend
        kinds = @scene.orders.flat_map { |order| order.waits.map { |_, wait| Words.kind(wait) }.uniq }.uniq
        kinds |= [:runnable]
        waits = Words::KINDS.slice(*kinds).except(:idle)
        collected = @scene.orders.any? { |order| order.collections.any? }
        [RUNNING, *waits, *KERNEL, *([[:gc, "Ruby collects garbage: nobody runs"]] if collected)]
      end
    end
    private_constant :Page
  end
end

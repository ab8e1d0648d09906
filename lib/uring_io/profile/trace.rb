# frozen_string_literal: true

require "json"
require_relative "shares"

module UringIO
  class Profile
    # A recording as Chrome's Trace Event JSON, which Perfetto and speedscope open. Each thread has a track, with a
    # begin and an end for each of its spans.
    module Trace
      # @return [String]
      def self.of(recording)
        events = recording.fetch(:processes).flat_map { |process| process_events(process) }
        JSON.generate(traceEvents: events, displayTimeUnit: "ms")
      end

      class << self
        private

        def process_events(process)
          name = { name: "process_name", ph: "M", pid: process[:pid], tid: process[:pid],
                   args: { name: process[:command] } }
          [name, *process[:threads].flat_map { |thread| thread_events(process[:pid], thread) }]
        end

        def thread_events(pid, thread)
          track = { pid:, tid: thread[:id] }
          name = { name: "thread_name", ph: "M", **track, args: { name: "#{thread[:name]} #{thread[:id]}" } }
          [name, *thread[:timeline].flat_map { |span| span_events(track, *span) }]
        end

        def span_events(track, from, to, kind, peer)
          event = { name: Shares.words(kind.to_sym, peer), cat: kind, **track }
          [{ **event, ph: "B", ts: (from * 1e6).round }, { **event, ph: "E", ts: (to * 1e6).round }]
        end
      end
    end
  end
end

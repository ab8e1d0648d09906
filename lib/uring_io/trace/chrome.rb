# frozen_string_literal: true

require "json"

module UringIO
  class Trace
    # A trace as Chrome's Trace Event JSON. Each engine is a process there. It has a track for each fiber, and track 0
    # for the ring.
    module Chrome
      # Nanoseconds. A wait for Ruby's lock that is not longer gets no slice.
      SHORT = 5_000
      PURPOSES = { "block" => "waits to be unblocked", "sleep" => "sleeps", "turn" => "lets others run",
                   "run" => "runs the others" }.freeze
      private_constant :PURPOSES, :SHORT

      class << self
        # @param trace [Trace]
        # @return [String]
        def json(trace)
          events = trace.engines.each_with_index.flat_map { |engine, index| engine_events(engine, index) }
          JSON.generate(traceEvents: events, displayTimeUnit: "ms",
                        otherData: { gone: trace.gone, ruby: RUBY_VERSION, uring_io: UringIO::VERSION })
        end

        private

        def engine_events(engine, index)
          pid = index + 1
          head = [named("process_name", pid, 0, "#{engine.backend} #{pid} of process #{Process.pid}"),
                  named("thread_name", pid, 0, "ring")]
          head + engine.fibers.flat_map { |fiber| fiber_events(pid, fiber) } + ring_events(pid, engine)
        end

        def named(what, pid, tid, name) = { name: what, ph: "M", pid:, tid:, args: { name: } }

        def slice(track, name, from, to, args = {})
          { name:, ph: "X", **track, ts: from / 1e3, dur: (to - from) / 1e3, args: }
        end

        def fiber_events(pid, fiber)
          track = { pid:, tid: fiber.number }
          title = ["fiber #{fiber.number}", fiber.name].reject(&:empty?).join(" ")
          [named("thread_name", pid, fiber.number, title),
           *fiber.runs.map { |from, to| slice(track, "runs", from, to) },
           *fiber.collections.map { |from, to| slice(track, "collects garbage", from, to) },
           *fiber.waits.map { |wait| slice(track, words_of(wait), wait.from, wait.to, args_of(wait)) },
           *fiber.marks.map { |at, what| mark(track, at, what) }]
        end

        def mark(track, at, what)
          name, args = what.is_a?(String) ? [what, {}] : [words(what), { result: what.result }]
          { name:, ph: "i", s: "t", **track, ts: at / 1e3, args: }
        end

        def words_of(wait)
          return wait.operations.map { |operation| words(operation) }.join(", ") if wait.operations.any?

          PURPOSES.fetch(wait.purpose, "waits")
        end

        def words(operation)
          about = [operation.peer, ("descriptor #{operation.descriptor}" if operation.descriptor)]
          [operation.name, about.find { |it| it && !it.empty? }].compact.join(" ")
        end

        def args_of(wait)
          { operations: wait.operations.map { |operation| operation.to_h.slice(:name, :descriptor, :bytes, :result) },
            woken: wait.woken && (wait.woken / 1e3), still: wait.open || nil }.compact.reject { |_, it| it == [] }
        end

        def ring_events(pid, engine)
          track = { pid:, tid: 0 }
          enters = engine.enters.flat_map do |enter|
            [slice(track, "in the kernel", enter.from, enter.to, enter.to_h.slice(:submissions, :completions)),
             (slice(track, "waits for Ruby's lock", enter.to, enter.to + enter.locked) if enter.locked > SHORT)].compact
          end
          collections = engine.collections - engine.fibers.flat_map(&:collections)
          enters + collections.map { |from, to| slice(track, "collects garbage", from, to) } +
            engine.operations.each_with_index.flat_map { |it, index| flow(pid, it, index) }
        end

        # An arrow from the fiber, where the operation begins, to the ring, where its completion is.
        def flow(pid, operation, index)
          return [] unless operation.to && operation.fiber

          arrow = { name: operation.name, cat: "operation", id: (pid * 10_000_000) + index, pid: }
          [{ **arrow, ph: "s", tid: operation.fiber.number, ts: operation.from / 1e3 },
           { **arrow, ph: "f", bp: "e", tid: 0, ts: operation.to / 1e3 },
           slice({ pid:, tid: 0 }, "#{words(operation)} is over", operation.to, operation.to,
                 { result: operation.result })]
        end
      end
    end
  end
end

# frozen_string_literal: true

module UringIO
  module Inspection
    # The answer of the socket: what the threads and fibers of this process do now.
    module Snapshot
      # The version of the answer's format.
      VERSION = 1

      class << self
        # @param without [Thread] the thread that answers, which is not part of the answer
        # @return [Hash] for JSON
        def take(without:)
          owners = [Scheduler, Selector].flat_map { |type| ObjectSpace.each_object(type).reject(&:closed?) }
          waits = owners.map { |owner| owner.__send__(:waits).map { |row| Wait.new(row) } }
          { version: VERSION, pid: Process.pid, program: text($PROGRAM_NAME), ruby: RUBY_VERSION,
            uring_io: UringIO::VERSION, threads: (Thread.list - [without]).map { |thread| thread(thread) },
            loops: owners.zip(waits).map { |owner, list| loop_of(owner, list) },
            others: others(waits.flatten.map(&:fiber)) }
        end

        private

        # A string of the program may have bytes that are valid in no encoding, so we replace them.
        def text(string) = string.dup.force_encoding(Encoding::UTF_8).scrub

        def lines(backtrace) = (backtrace || []).map { |line| text(line) }

        def thread(thread)
          { name: text(thread.name || (thread == Thread.main ? "main" : Wait.name_of(thread))),
            status: text(thread.status.to_s), backtrace: lines(thread.backtrace) }
        end

        def loop_of(owner, waits)
          { name: Wait.name_of(owner), backend: owner.backend,
            waits: waits.reject(&:runs?).map { |wait| wait(wait) } }
        end

        def wait(wait)
          { fiber: Wait.name_of(wait.fiber), text: text(wait.to_s), hook: wait.hook, calls: wait.calls,
            descriptors: wait.descriptors.transform_values { |words| words && text(words) },
            blocker: wait.blocker && Wait.name_of(wait.blocker), seconds: wait.seconds,
            seconds_left: wait.seconds_left, ready: wait.ready?, backtrace: lines(wait.backtrace) }
        end

        # Fibers that have begun, are suspended, and do not wait in this gem.
        def others(known)
          known = known.to_h { |fiber| [fiber, true] }.compare_by_identity
          suspended = ObjectSpace.each_object(Fiber).reject { |fiber| known[fiber] || !suspended?(fiber) }
          suspended.map { |fiber| { fiber: Wait.name_of(fiber), backtrace: lines(fiber.backtrace) } }
                   .reject { |fiber| fiber[:backtrace].empty? }
        end

        # Ruby has no method that tells this, except inspect.
        def suspended?(fiber)
          Fiber.instance_method(:inspect).bind_call(fiber).end_with?("(suspended)>")
        end
      end
    end
  end
end

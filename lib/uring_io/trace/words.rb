# frozen_string_literal: true

module UringIO
  class Trace
    # Plain words for the parts of a trace. The lists, the picture and the page use the same words.
    module Words
      # The kinds of waits, with their words in a legend. Columns numbers the kinds in this order.
      KINDS = { other: "waits for something else", socket: "waits for the network", pipe: "waits for a pipe",
                file: "waits for a file", child: "waits for a child process", asleep: "sleeps",
                lock: "waits for a lock, a queue or a thread", runnable: "is ready, but another one runs",
                idle: "runs the others" }.freeze
      PURPOSES = { "block" => :lock, "sleep" => :asleep, "turn" => :runnable, "run" => :idle }.freeze
      # Words for a wait without an operation, by its purpose.
      ACTS = { "block" => "waits for a lock, a queue or a thread", "sleep" => "sleeps", "turn" => "lets others run",
               "run" => "runs the others" }.freeze
      READS = %w[read recv recvmsg pread readv splice].freeze
      WRITES = %w[write send sendmsg pwrite writev].freeze
      UNITS = [[1_000, 1, "ns"], [1_000_000, 1_000, "µs"], [1_000_000_000, 1_000_000, "ms"]].freeze
      private_constant :PURPOSES, :ACTS, :READS, :WRITES, :UNITS

      class << self
        # @param nanoseconds [Integer]
        # @return [String] with about three digits
        def duration(nanoseconds)
          _, unit, name = UNITS.find { |limit, *| nanoseconds < limit } || [nil, 1_000_000_000, "s"]
          value = nanoseconds.fdiv(unit)
          return "#{value.round} #{name}" if unit == 1 || value >= 100

          "#{format('%.*f', value >= 10 ? 1 : 2, value).sub(/\.?0+\z/, '')} #{name}"
        end

        def count(number) = number.to_s.gsub(/(\d)(?=(\d{3})+\z)/, '\1,')

        def counted(number, one, many = "#{one}s") = "#{count(number)} #{number == 1 ? one : many}"

        # @param fiber [Reading::Fiber]
        # @return [String] where the fiber's block is; "main" for the main flow, which has no block
        def place(fiber)
          return "the loop" if fiber.outside?
          return File.basename(fiber.name) unless fiber.name.empty?

          fiber.waits.any? { |wait| wait.purpose == "run" } ? "main" : ""
        end

        def fiber(fiber)
          return fiber.name if fiber.outside?

          place = place(fiber)
          place.empty? ? "fiber #{fiber.number}" : "fiber #{fiber.number} (#{place})"
        end

        # @return [Symbol] one of KINDS
        def kind(wait)
          operation = wait.operations.first or return PURPOSES.fetch(wait.purpose, :other)
          return :child if operation.name == "waitid"

          case operation.peer.to_s
          when /\Asocket\b/ then :socket
          when "pipe" then :pipe
          when %r{\A/} then :file
          else :other
          end
        end

        # @return [String] the operation and its peer, in short
        def operation(operation) = [operation.name, peer(operation)].compact.join(" ")

        # @return [String] the operations or the purpose, in short
        def wait(wait)
          return ACTS.fetch(wait.purpose, "waits") if wait.operations.empty?

          wait.operations.map { |operation| operation(operation) }.tally
              .map { |words, times| times == 1 ? words : "#{times} × #{words}" }.join(", ")
        end

        # The predicate of a sentence that says what the fiber asked for.
        def request(wait)
          return "asked for #{wait(wait)}" if wait.operations.size > 1

          operation = wait.operations.first or return purpose(wait)
          peer = peer(operation) || "something"
          case operation.name
          when *READS then "asked for #{counted(operation.bytes, 'byte')} from #{peer}"
          when *WRITES then "sent #{counted(operation.bytes, 'byte')} to #{peer}"
          when "poll" then "waited until #{peer} was ready"
          when "accept" then "waited for a connection to #{peer}"
          when "connect" then "asked for a connection"
          when "waitid" then "waited for a child process"
          else "asked for #{operation(operation)}"
          end
        end

        # A clause that says how an operation ended, without the time.
        def outcome(operation)
          result = operation.result
          # The trace has no end of this operation, because its party left the wait before.
          return "it was called off" unless result
          return failure(result) if result.negative?

          case operation.name
          when *READS then result.zero? ? "the end of the input came" : "the kernel had #{part(operation)}"
          when *WRITES then "the kernel took #{part(operation)}"
          when "poll" then "it was"
          when "accept" then "one came"
          when "waitid" then "one had ended"
          else "the kernel had done it"
          end
        end

        def peer(operation)
          peer = operation.peer.to_s.sub(/\Asocket (?=.)/, "")
          return peer.sub(/\A(socket|pipe)\z/, 'a \1') unless peer.empty?

          operation.descriptor && "descriptor #{operation.descriptor}"
        end

        private

        def purpose(wait)
          case wait.purpose
          when "sleep" then "slept"
          when "block" then "waited for a lock, a queue or a thread"
          when "turn" then "let others run"
          else "waited"
          end
        end

        def part(operation)
          return "them" if operation.result == operation.bytes

          "#{count(operation.result)} of them"
        end

        def failure(result)
          return "it was called off" if -result == Errno::ECANCELED::Errno

          "the kernel refused it (#{SystemCallError.new(nil, -result).class.name.delete_prefix('Errno::')})"
        end
      end
    end
    private_constant :Words
  end
end

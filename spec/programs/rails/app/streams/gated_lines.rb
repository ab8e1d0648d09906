# frozen_string_literal: true

# Lines of a stream. After the first one it waits until the client has opened its gate, a file: so the client knows
# that the first has come by itself.
class GatedLines
  # A client that forgets the gate gets the rest after so many seconds.
  LONGEST = 10

  def initialize(gate)
    @gate = Rails.root.join("tmp", File.basename(gate))
  end

  def each
    yield "the first line\n"
    deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + LONGEST
    sleep(0.01) until @gate.exist? || Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline
    Account.order(:id).limit(5).each { |account| yield "#{account.name}\n" }
    yield "#{'x' * 100_000}\nthe last line\n"
  end
end

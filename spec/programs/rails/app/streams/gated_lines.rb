# frozen_string_literal: true

# The lines of a stream. After the first line it waits until the client has opened its gate, a file. So the client knows
# that the first line came by itself.
class GatedLines
  # Without an opened gate, the client gets the rest after this many seconds.
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

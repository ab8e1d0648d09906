# frozen_string_literal: true

# Marks the measured part of an example by a getpriority(2) before it and one after it. Nothing else here makes that
# call, so the part is easy to find in the output of strace:
#
#   strace -f -o trace ruby -Ilib examples/ring/batch.rb
#   sed -n '/getpriority/,/getpriority/p' trace
module Section
  class << self
    # @param source [UringIO::Ring, UringIO::Scheduler] the object that makes the system calls
    # @return [String] how much its statistics grew during the block
    def measure(source)
      before = source.stats.to_h
      mark
      yield
      mark
      counts = source.stats.to_h.slice(:enters, :submissions, :completions)
      counts.map { |name, count| "#{count - before[name]} #{name}" }.join(", ")
    end

    private

    def mark = Process.getpriority(Process::PRIO_PROCESS, 0)
  end
end

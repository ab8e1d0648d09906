# frozen_string_literal: true

# The part of an example that is measured: between two getpriority(2), which nothing else here calls, so that it can be
# found in what strace writes:
#
#   strace -f -o trace ruby -Ilib examples/ring/batch.rb
#   sed -n '/getpriority/,/getpriority/p' trace
module Section
  class << self
    # @param source [UringIO::Ring, UringIO::Scheduler] what makes the system calls
    # @return [String] what its statistics say of the block
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

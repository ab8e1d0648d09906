# frozen_string_literal: true

require "open3"
require "tempfile"

# Counts system calls with strace(1), which may be missing or forbidden.
module SystemCalls
  # A program makes this call before and after the counted part, and nowhere else.
  MARKER = "getpriority"
  # Ruby calls these when it needs memory, names it (from 3.4 on), or looks at the clock for a garbage collection.
  MEMORY = %w[brk mmap munmap madvise mprotect mremap prctl clock_gettime].freeze
  # A system call only in emulated machines.
  CLOCK = %w[clock_gettime].freeze

  class << self
    # The reason why counting does not work here, or nil when it does.
    def missing
      return @missing if defined?(@missing)

      output, status = Open3.capture2e("strace", "-f", "-o", File::NULL, "true")
      @missing = status.success? ? nil : "strace does not work here: #{output.lines.first&.chomp}"
    rescue Errno::ENOENT
      @missing = "strace is not installed"
    end

    # Runs a script as ChildProgram does. Returns its result, and the names of the system calls of all its threads
    # between the markers, in order.
    def between_markers(script, *arguments, **)
      Tempfile.create("uring_io-spec-strace") do |trace|
        command = ["strace", "-f", "-o", trace.path]
        result = ChildProgram.run(script, *arguments, command:, **)
        # Each line begins with the thread's number. The second line of an interrupted call says "<... read resumed>".
        names = trace.each_line.filter_map { |line| line[/\A\d+ +(\w+)\(/, 1] }
        first, last = names.each_index.select { |index| names[index] == MARKER }
        raise "no two #{MARKER} in the trace\n#{result}" unless last

        [result, names[first + 1...last]]
      end
    end
  end
end

# frozen_string_literal: true

require "open3"
require "tempfile"

# Counts system calls with strace(1), which may not be there or not be allowed.
module SystemCalls
  # A program makes this call before and after the part that counts, and nowhere else.
  MARKER = "getpriority"
  # Ruby asks for memory when it needs it, names it (3.4 up), and looks at the clock when it collects garbage.
  MEMORY = %w[brk mmap munmap madvise mprotect mremap prctl clock_gettime].freeze
  # Takes system calls in emulated machines only.
  CLOCK = %w[clock_gettime].freeze

  class << self
    # Why they cannot be counted here; nil when they can.
    def missing
      return @missing if defined?(@missing)

      output, status = Open3.capture2e("strace", "-f", "-o", File::NULL, "true")
      @missing = status.success? ? nil : "strace does not work here: #{output.lines.first&.chomp}"
    rescue Errno::ENOENT
      @missing = "strace is not installed"
    end

    # Runs a script as ChildProgram does. Its result, and the names of the system calls between the markers, of all
    # its threads, in their order.
    def between_markers(script, *arguments, **)
      Tempfile.create("uring_io-spec-strace") do |trace|
        command = ["strace", "-f", "-o", trace.path]
        result = ChildProgram.run(script, *arguments, command:, **)
        # Each line begins with the thread's number; the second line of a call says "<... read resumed>".
        names = trace.each_line.filter_map { |line| line[/\A\d+ +(\w+)\(/, 1] }
        first, last = names.each_index.select { |index| names[index] == MARKER }
        raise "no two #{MARKER} in the trace\n#{result}" unless last

        [result, names[first + 1...last]]
      end
    end
  end
end

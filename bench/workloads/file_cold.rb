# frozen_string_literal: true

require_relative "../support/files"

# The kernel forgets what is going to be read, and all of the file once: it does not forget a part of what it keeps as a
# whole, as it does after the file was written.
File.open(ENV.fetch("BENCH_FILE")) { |file| file.advise(:dontneed) }
Files.run { |file, offset| file.advise(:dontneed, offset, Files::SIZE) }

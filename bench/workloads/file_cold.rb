# frozen_string_literal: true

require_relative "../support/files"

# Before each read we ask the kernel to drop the read's pages from its cache. Before all of them we ask it to drop the
# whole file: after the write its cache has large pieces, and the kernel does not drop a part of a piece.
File.open(ENV.fetch("BENCH_FILE")) { |file| file.advise(:dontneed) }
Files.run { |file, offset| file.advise(:dontneed, offset, Files::SIZE) }

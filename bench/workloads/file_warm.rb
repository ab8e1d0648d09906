# frozen_string_literal: true

require_relative "../support/files"

File.open(ENV.fetch("BENCH_FILE")) { |file| IO.copy_stream(file, File::NULL) }
Files.run { nil }

# frozen_string_literal: true

# Reads 1,000 pages of a file in batches of 100: one system call submits a batch and waits for all of it.
#
#   ruby -Ilib examples/ring/batch.rb [--backend io_uring|epoll|poll|select]

require "optparse"
require "tempfile"
require "uring_io"
require_relative "section"

SIZE = 4096
READS = 1000
BATCH = 100

backend = nil
OptionParser.new { |parser| parser.on("--backend NAME") { |name| backend = name } }.parse!

begin
  ring = UringIO::Ring.new(backend:)
  Tempfile.create("batch") do |file|
    READS.times { |page| file.write([page].pack("N") * (SIZE / 4)) }
    file.flush

    # The first call asks the kernel which operations it knows.
    ring.nop
    pages = []
    section = Section.measure(ring) do
      (0...READS).each_slice(BATCH) do |numbers|
        pages.concat(ring.batch! { |b| numbers.each { |number| b.read(file, SIZE, offset: number * SIZE) } })
      end
    end
    right = pages.each_with_index.count { |page, number| page.bytesize == SIZE && page.unpack1("N") == number }
    puts "#{READS} reads in batches of #{BATCH} on #{ring.backend}, #{right} pages are right"
    puts section
  end
rescue UringIO::Error, ArgumentError, SystemCallError => error
  abort "batch: #{error.message}"
ensure
  ring&.close
end

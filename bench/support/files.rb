# frozen_string_literal: true

require_relative "../program"

# Reads at random places of a file.
module Files
  SIZE = 16 * 1024
  FIBERS = 8

  # Yields the file and the offset before each read, within the operation.
  def self.run
    Bench.program do |b|
      pages = File.size(ENV.fetch("BENCH_FILE")) / SIZE
      FIBERS.times do |number|
        b.spawn do
          random = Random.new(number)
          File.open(ENV.fetch("BENCH_FILE")) do |file|
            file.advise(:random)
            loop do
              offset = random.rand(pages) * SIZE
              b.op do
                yield file, offset
                raise "a read is short" unless file.pread(SIZE, offset).bytesize == SIZE
              end
            end
          end
        end
      end
    end
  end
end

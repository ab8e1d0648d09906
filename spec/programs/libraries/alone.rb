# frozen_string_literal: true

require "tmpdir"

# Libraries that need no server. +inside+ counts the fibers that are in the library at the same time.

Libraries.row "Timeout", gem: nil do
  require "timeout"
  late = Thread::Queue.new

  each_fiber do |index|
    word = Timeout.timeout(10) do
      inside do
        Libraries::FIBERS.times { |number| late << number } if present == Libraries::FIBERS
        late.pop
      end
    end
    same(Integer, word.class)
    message = "fiber #{index}"
    Timeout.timeout(0.01, RuntimeError, message) { sleep }
  rescue RuntimeError => error
    same(message, error.message)
  end
end

Libraries.row "Logger", gem: nil do
  require "logger"
  reader, writer = IO.pipe
  logger = Logger.new(writer, formatter: ->(_, _, _, message) { "#{message}\n" })
  lines = Array.new(Libraries::FIBERS) { |index| Array.new(10) { |number| "#{index}-#{number} #{'x' * 10_000}" } }
  written = Thread.new { everybody_inside && reader.readlines(chomp: true) }

  # The pipe is soon full, and nobody reads before all fibers have begun to write.
  each_fiber { |index| inside { lines[index].each { |line| logger.info(line) } } }
  writer.close
  same(lines.flatten.sort, written.value.sort)
end

# Opens FIFOs for reading, each by a call of the block.
open_fifos = lambda do |work, &open|
  Dir.mktmpdir do |folder|
    paths = Array.new(Libraries::FIBERS) { |index| File.join(folder, index.to_s).tap { |path| File.mkfifo(path) } }
    # Opening a FIFO waits for its other end.
    writers = Thread.new { work.everybody_inside && paths.each { |path| File.write(path, path) } }
    work.each_fiber do |index|
      file = work.inside { open.call(paths[index]) }
      work.same(paths[index], file.read)
    ensure
      file&.close
    end
    writers.join
  end
end

Libraries.row "opening a FIFO", gem: nil do
  open_fifos.call(self) { |path| File.open(path) }
end

Libraries.row "opening a FIFO, in `Thread.new { … }.value`", gem: nil do
  open_fifos.call(self) { |path| Thread.new { File.open(path) }.value }
end

Libraries.row "opening a FIFO, `Ring#open`", gem: nil do
  ring = UringIO::Ring.new(backend:)
  open_fifos.call(self) { |path| File.for_fd(ring.open(path)) }
  ring.close
end

Libraries.row "Zlib", gem: nil do
  require "zlib"

  each_fiber do |index|
    text = "word #{index} " * 100_000
    same(text, inside { Zlib.inflate(Zlib.deflate(text)) })
  end
end

Libraries.row "OpenSSL::KDF", gem: nil do
  require "openssl"
  options = { salt: "salt", length: 16, N: 1024, r: 8, p: 1 }

  each_fiber do |index|
    key = inside { OpenSSL::KDF.scrypt("word #{index}", **options) }
    same(OpenSSL::KDF.scrypt("word #{index}", **options), key)
  end
end

Libraries.row "ERB", gem: nil do
  require "erb"

  each_fiber do |index|
    page = inside { ERB.new("<% 20_000.times do |number| %><%= index + number %> <% end %>").result(binding) }
    same(Array.new(20_000) { |number| "#{index + number} " }.join, page)
  end
end

Libraries.row "JSON", gem: nil do
  require "json"

  each_fiber do |index|
    numbers = Array.new(20_000) { |number| { "word" => index + number } }
    same(numbers, inside { JSON.parse(JSON.generate(numbers)) })
  end
end

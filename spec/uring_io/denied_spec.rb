# frozen_string_literal: true

require "json"

# From Linux 7.0 on, a process can run under a filter that denies its rings single operations (task restrictions).
# `crates/uring_io_core/src/uring/trial.rs` tries all operations on every kernel.
RSpec.describe UringIO, "where a filter denies operations of a ring" do
  # The operations that a scheduler submits, with the kernel's numbers.
  operations = { nop: 0, poll_add: 6, async_cancel: 14, read: 22, write: 23, send: 26, recv: 27, waitid: 50 }

  # The first lines of a script, which deny it these operations.
  define_method(:filter_of) do |*denied|
    <<~RUBY
      allowed = #{operations.except(*denied).values.inspect}
      rules = allowed.map { |number| [1, number, 0, 0, 0, 0].pack("SCCL3") }
      filter = [0, rules.size, 0, 0, 0].pack("SSL3") + rules.join
      require "fiddle"
      native = Fiddle::Function.new(Fiddle::Handle::DEFAULT["syscall"], [Fiddle::TYPE_LONG] * 5, Fiddle::TYPE_LONG)
      # io_uring_register(-1, IORING_REGISTER_RESTRICTIONS, filter, 1)
      if native.call(427, -1, 11, Fiddle::Pointer[filter].to_i, 1) < 0
        puts "no filters"
        exit
      end
    RUBY
  end

  # The output of a script, parsed as JSON, under a filter that denies these operations.
  def denied(*operations, script)
    result = child("#{filter_of(*operations)}\nrequire 'json'\n#{script}", env: { "URING_IO_BACKEND" => nil })
    expect(result.stderr).to eq("")
    skip "this kernel has no filters of operations (Linux 7.0)" if result.stdout == "no filters\n"

    JSON.parse(result.stdout, symbolize_names: true)
  end

  work = <<~RUBY
    require "socket"
    require "timeout"
    def work
      reader, writer = IO.pipe
      server = TCPServer.new("127.0.0.1", 0)
      Fiber.schedule { server.accept.then { |socket| socket.write(socket.readpartial(9).upcase * 50_000).then { socket.close } } }
      client = TCPSocket.new("127.0.0.1", server.local_address.ip_port)
      client.write("abc")
      Fiber.schedule { sleep(0.01).then { writer.write("line") } }
      limited = Timeout.timeout(0.01) { server.accept } rescue $!.class.name
      slow, = UNIXSocket.pair
      slow.timeout = 0.01
      timed_out = slow.read(1) rescue $!.class.name
      path = "/tmp/uring_io-denied-\#{$$}"
      File.open(path, File::RDWR | File::CREAT) { |file| file.write("x" * 100_000).then { file.fsync } }
      read = File.binread(path).bytesize
      File.delete(path)
      [client.read.bytesize, reader.readpartial(9), limited, timed_out, read, Process.wait2(spawn("exit 3")).last.exitstatus]
    end
  RUBY
  worked = [150_000, "line", "Timeout::Error", "IO::TimeoutError", 100_000, 3]

  each_backend(only: %i[io_uring]) do
    (operations.keys - %i[poll_add async_cancel read]).each do |operation|
      it "runs on io_uring without #{operation}" do
        found = denied(operation, <<~RUBY)
          #{work}
          backend = nil
          result = UringIO.run { |scheduler| backend = Fiber.scheduler.backend; work }
          puts JSON.generate([backend, UringIO.support.denied, result])
        RUBY
        expect(found).to eq(["io_uring", [operation.to_s], worked])
      end
    end

    it "runs on io_uring without all the operations that it can replace" do
      found = denied(:nop, :write, :send, :recv, :waitid, <<~RUBY)
        #{work}
        puts JSON.generate(UringIO.run(backend: :io_uring) { work })
      RUBY
      expect(found).to eq(worked)
    end

    %i[poll_add async_cancel read].each do |operation|
      it "falls back to epoll without #{operation}, and says why" do
        found = denied(operation, <<~RUBY)
          #{work}
          backend = nil
          result = UringIO.run { backend = Fiber.scheduler.backend; work }
          error = UringIO::Scheduler.new(backend: :io_uring) rescue $!
          puts JSON.generate([backend, UringIO.support.reason(:io_uring), result, error.class.name, error.message])
        RUBY
        expect(found).to match(["epoll", "filter", worked, "UringIO::UnsupportedError", /filter.*#{operation}/])
      end
    end

    it "raises for a ring's denied call, and makes the other calls" do
      found = denied(:recv, <<~RUBY)
        require "socket"
        ring = UringIO::Ring.new
        here, there = UNIXSocket.pair
        there.write("xyz")
        error = ring.recv(here, 3) rescue $!
        batch = ring.batch { |calls| calls.read(here, 3).then { calls.recv(here, 3) } }
        puts JSON.generate([error.class.name, error.message, batch.first, batch.last.class.name])
      RUBY
      refused = "UringIO::UnsupportedError"
      expect(found).to match([refused, /recv is denied.*filter/, "xyz", refused])
    end

    it "reports denied operations in the doctor" do
      found = denied(:send, :recv, <<~RUBY)
        require "uring_io/doctor"
        doctor = UringIO::Doctor.examine
        puts JSON.generate([doctor.io_uring?, doctor.to_h[:denied], doctor.to_s])
      RUBY
      expect(found).to match([true, %w[send recv], /^  denied +send, recv$/])
      found = denied(:read, <<~RUBY)
        require "uring_io/doctor"
        puts JSON.generate([UringIO::Doctor.examine.verdict, UringIO::Doctor.examine.to_s])
      RUBY
      expect(found).to match([/epoll.*\(filter\)/, /denies its rings the operation read/])
    end
  end
end

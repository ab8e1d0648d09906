# frozen_string_literal: true

require "io/console"
require "io/nonblock"
require "pty"

# Ruby's pipes and sockets have O_NONBLOCK. A ring's calls wait for them all the same. io_uring waits by itself, with
# one exception: when a call writes to a full socket whose peer has stopped sending, the socket wakes it so often that
# it gives up with EAGAIN.
RSpec.describe UringIO::Ring, "with descriptors that have O_NONBLOCK" do
  # A descriptor without input, and the other end, which can write to it.
  def self.inputs
    { "a pipe" => -> { pipe }, "a terminal" => -> { terminal } }
  end

  def terminal
    master, slave = PTY.open.each { |io| closing(io) }
    slave.raw!
    slave.nonblock = true
    [slave, master]
  end

  # An IO. When the ring writes a byte to it, the block runs in a thread.
  def cue(&block)
    cued, cue = pipe
    thread = Thread.new { cued.read(1) && block.call }
    @threads = [*@threads, thread]
    cue
  end

  after { @threads&.each(&:join) }

  each_backend do
    inputs.each do |name, ends|
      describe "of #{name}" do
        it "waits in a batch, and makes the other calls meanwhile" do
          everywhere do |ring|
            input, output = instance_exec(&ends)
            other, = unix_pair
            start = cue { output.syswrite("late") }
            results = ring.batch do |calls|
              calls.read(input, 9)
              calls.readv(other, [IO::Buffer.new(1)], timeout: 0.05)
              calls.write(start, "x")
            end
            expect([results[0], results[1].class, results[2]]).to eq(["late", IO::TimeoutError, 1])
          end
        end

        it "waits in several calls of a batch, and each gets a part of the input" do
          everywhere do |ring|
            input, output = instance_exec(&ends)
            start = cue { "abcdef".each_char { |char| output.syswrite(char) } }
            results = ring.batch do |calls|
              6.times { calls.read(input, 1) }
              calls.write(start, "x")
            end
            expect(results.first(6).sort.join).to eq("abcdef")
          end
        end

        it "waits in a batch until a timeout passes or it is interrupted, and then takes no input" do
          everywhere do |ring|
            input, output = instance_exec(&ends)
            expect(ring.batch { |calls| calls.read(input, 9, timeout: 0.02) }).to match([be_a(IO::TimeoutError)])
            expect(ended { ring.batch { |calls| calls.read(input, 9) } }).to be_a(IndexError)
            output.syswrite("x")
            expect(ring.read(input, 9)).to eq("x")
          end
        end

        it "waits in each step of a chain, and makes the next steps afterwards" do
          [false, true].each do |hardlink|
            everywhere do |ring|
              input, output = instance_exec(&ends)
              answers, answer = pipe
              start = cue do
                output.syswrite("one")
                answers.read(1)
                output.syswrite("two")
              end
              results = ring.chain(hardlink:) do |steps|
                steps.write(start, "x")
                steps.read(input, 3)
                steps.write(answer, "1")
                steps.readv(input, [memory = IO::Buffer.new(3)])
                steps.write(answer, memory)
              end
              expect(results).to eq([1, "one", 1, 3, 3])
              expect(answers.readpartial(9)).to eq("two")
            end
          end
        end

        it "waits in a chain until its timeout passes or it is interrupted, and then takes no input" do
          everywhere do |ring|
            input, output = instance_exec(&ends)
            error = raised { ring.chain(timeout: 0.02) { |steps| steps.nop.then { steps.read(input, 1) } } }
            expect([error.class, error.cause.class]).to eq([UringIO::ChainError, IO::TimeoutError])
            expect(ended { ring.chain { |steps| steps.read(input, 1) } }).to be_a(IndexError)
            output.syswrite("x")
            expect(ring.chain { |steps| steps.read(input, 1) }).to eq(["x"])
          end
        end
      end
    end

    it "waits for room in a batch and in a chain" do
      [->(ring, &block) { ring.batch(&block) }, ->(ring, &block) { ring.chain(&block) }].each do |way|
        everywhere do |ring|
          input, output = pipe
          room = output.write_nonblock("." * (1 << 20))
          start = cue { expect(input.read(room)).to eq("." * room) }
          expect(way.call(ring) { |calls| calls.write(start, "x").then { calls.write(output, "more") } }).to eq([1, 4])
          expect(input.readpartial(9)).to eq("more")
        end
      end
    end

    it "waits in a batch for room on a full socket whose peer has stopped sending" do
      everywhere do |ring|
        input, output = unix_pair
        room = 0
        while (written = output.write_nonblock("." * 65_536, exception: false)) != :wait_writable
          room += written
        end
        input.shutdown(:WR)
        expect(ring.batch { |calls| calls.write(output, "x", timeout: 0.02) }).to match([be_a(IO::TimeoutError)])
        expect(ended { ring.batch { |calls| calls.write(output, "x") } }).to be_a(IndexError)
        start = cue { expect(input.read(room).bytesize).to eq(room) }
        results = ring.batch { |calls| 2.times { calls.write(output, "more") }.then { calls.write(start, "x") } }
        expect([results, input.read(8)]).to eq([[4, 4, 1], "moremore"])
      end
    end

    it "waits for a connection" do
      everywhere do |ring|
        server = tcp_server.tap { |socket| socket.nonblock = true }
        clients = []
        start = cue { 2.times { clients << closing(TCPSocket.new("127.0.0.1", server.local_address.ip_port)) } }
        results = ring.batch { |calls| calls.accept(server).then { calls.write(start, "x") } }
        expect(adopted(results.first, Socket).remote_address).to be_ip
        expect(adopted(ring.accept(server), Socket).remote_address).to be_ip
      end
    end
  end
end

# frozen_string_literal: true

require_relative "async_helper"
require "open3"

RSpec.describe "IO in Async tasks:" do
  each_reactor do |reactor_name|
    it "a pipe carries 2 MB between tasks, byte for byte" do
      data = pattern(2_000_000)
      received = reactor do |task|
        reader, writer = pipe
        task.async do
          (0...data.bytesize).step(70_001) { |start| writer.write(data.byteslice(start, 70_001)) }
          writer.close
        end
        reader.binmode.read
      end
      expect(received == data).to be(true)
    end

    it "sysread waits for a terminal and for a FIFO, as without a scheduler", if: reactor_name != :io_event do
      require "pty"
      File.mkfifo(path = free_path)
      fifo = closing(File.open(path, "r+"))
      master, terminal = PTY.open.each { |io| closing(io) }
      texts = reactor do |task|
        reading = [fifo, terminal].map { |io| task.async { io.sysread(9) } }
        task.yield
        fifo.syswrite("x\n")
        master.syswrite("y\n")
        reading.map(&:wait)
      end
      expect(texts).to eq(%W[x\n y\n])
      expect(reactor { raised { terminal.read_nonblock(9) } }).to be_a(IO::WaitReadable)
    end

    it "a pipeline of 20 tasks passes 200 lines on, in order" do
      lines = reactor do |task|
        first, *rest = Array.new(21) { pipe }
        rest.inject(first) do |(input, _), (output, writer)|
          task.async do
            while (line = input.gets)
              writer.puts(line.chomp.succ)
            end
            writer.close
          end
          [output, writer]
        end
        task.async do
          200.times { |number| first.last.puts(format("%05d", number)) }
          first.last.close
        end
        rest.last.first.readlines(chomp: true)
      end
      expect(lines).to eq(Array.new(200) { |number| format("%05d", number + 20) })
    end

    it "one socket carries 3 MB in both directions at once, read and written by four tasks" do
      sent = [pattern(3_000_000, 1), pattern(3_000_000, 2)]
      received = reactor do |task|
        ends = tcp_pair
        writing = ends.zip(sent).map do |socket, data|
          task.async { socket.write(data) && socket.close_write }
        end
        reading = ends.map { |socket| task.async { socket.binmode.read } }
        writing.each(&:wait)
        reading.map(&:wait)
      end
      expect(received == sent.reverse).to be(true)
    end

    it "100 clients are served by tasks at the same time" do
      present = 0
      answers = reactor do |task|
        server = tcp_server
        accepting = task.async do
          loop do
            client = server.accept
            task.async do
              present += 1 if client.gets
              eventually { present == 100 }
              client.puts(client.gets.upcase)
              client.close
            end
          end
        end
        clients = Array.new(100) do |index|
          task.async do
            socket = TCPSocket.new("127.0.0.1", server.local_address.ip_port)
            socket.puts("here", "client #{index}")
            socket.read.tap { socket.close }
          end
        end
        clients.map(&:wait).tap { accepting.stop }
      end
      expect(answers).to eq(Array.new(100) { |index| "CLIENT #{index}\n" })
    end

    it "10 tasks that wait for one descriptor all wake, readers and writers each by their own events" do
      woken = []
      reactor do |task|
        near, far = unix_pair
        fill(near)
        readers = Array.new(5) { task.async { woken << :reader if near.wait_readable } }
        writers = Array.new(5) { task.async { woken << :writer if near.wait_writable } }
        far.write("x")
        readers.each(&:wait)
        expect(woken).to eq([:reader] * 5)
        drain(far)
        writers.each(&:wait)
      end
      expect(woken.tally).to eq({ reader: 5, writer: 5 })
    end

    it "the end of the peer's data wakes a reader, and a reset raises its error" do
      reactor do |task|
        near, far = tcp_pair
        reading = task.async { near.read }
        far.close
        expect(reading.wait).to eq("")

        near, far = tcp_pair
        reading = task.async(finished: false) { near.readpartial(1) }
        far.setsockopt(Socket::Option.linger(true, 0))
        far.close
        expect { reading.wait }.to raise_error(Errno::ECONNRESET)

        reader, writer = pipe
        reader.close
        expect { writer.write("x") }.to raise_error(Errno::EPIPE)
      end
    end

    it "a writer that waits at a full pipe goes on when the reader closes" do
      skip "io-event's EPoll does not map EPOLLERR to writers, and spins" if selector == :io_event
      reactor do |task|
        reader, writer = pipe
        fill(writer)
        writing = task.async(finished: false) { writer.write("x") }
        reader.close
        expect { writing.wait }.to raise_error(Errno::EPIPE)
      end
    end

    it "read_nonblock and write_nonblock never wait" do
      reactor do
        [pipe, unix_pair].each do |reader, writer|
          expect(reader.read_nonblock(1, exception: false)).to eq(:wait_readable)
          fill(writer)
          expect(writer.write_nonblock("x", exception: false)).to eq(:wait_writable)
        end
      end
    end

    it "datagrams, recvmsg and flags of sockets work" do
      reactor do |task|
        first = closing(UDPSocket.new)
        first.bind("127.0.0.1", 0)
        second = closing(UDPSocket.new)
        receiving = task.async { first.recvfrom(100).first }
        second.send("datagram", 0, "127.0.0.1", first.local_address.ip_port)
        expect(receiving.wait).to eq("datagram")
        near, far = unix_pair
        receiving = task.async { near.recvmsg.first }
        far.sendmsg("message")
        expect(receiving.wait).to eq("message")
      end
    end

    it "files are read, written, appended to and copied" do
      data = pattern(300_000)
      reactor do |task|
        path = free_path
        File.binwrite(path, data)
        copy = free_path
        IO.copy_stream(path, copy)
        expect(File.binread(copy) == data).to be(true)
        lines = Array.new(5) { |index| task.async { File.write(copy, "line #{index}\n", mode: "a") } }
        lines.each(&:wait)
        expect(File.binread(copy).byteslice(data.bytesize..).lines.sort).to eq(Array.new(5) { |i| "line #{i}\n" })
        File.open(path, "rb") do |file|
          file.seek(100_000)
          expect(file.read(50) == data[100_000, 50]).to be(true)
          expect(file.pread(50, 7) == data[7, 50]).to be(true)
          expect(file.wait_readable).to be_truthy
        end
      end
    end

    it "IO.select returns the ready IOs, or nil at its timeout" do
      reactor do |task|
        reader, writer = pipe
        other, = pipe
        selecting = task.async { IO.select([reader, other], [writer], [], 5) }
        expect(selecting.wait).to eq([[], [writer], []])
        expect(IO.select([reader, other], nil, nil, 0.01)).to be_nil
      end
    end

    it "closing an IO after the last wait frees its descriptor for other IOs" do
      reactor do
        200.times do |index|
          near, far = UNIXSocket.pair
          far.write(index.to_s)
          expect(near.readpartial(10)).to eq(index.to_s)
          expect(near.wait_readable(0)).to be_nil
          [near, far].each(&:close)
        end
      end
    end

    it "an IO that one task closes while another waits for it raises IOError in the latter" do
      skip "Ruby tells a scheduler from 4.0 on" if RUBY_VERSION < "4.0" && selector == AsyncPrograms::IO_EVENT
      reactor do |task|
        reader, = pipe
        reading = task.async(finished: false) { reader.readpartial(1) }
        reader.close
        expect { reading.wait }.to raise_error(IOError)
      end
    end

    it "host names resolve while other tasks go on" do
      reactor do |task|
        ticks = 0
        ticking = task.async { loop { ticks += 1 if sleep(0.001) } }
        resolve = ->(name) { Addrinfo.getaddrinfo(name, 80, nil, :STREAM).map(&:ip_address) }
        expect(resolve.call("localhost")).to include("127.0.0.1").or include("::1")
        expect(resolve.call("127.0.0.1")).to eq(["127.0.0.1"])
        expect { Addrinfo.getaddrinfo("no.such.host.invalid", 80) }.to raise_error(SocketError)
        server = tcp_server
        socket = TCPSocket.new("localhost", server.local_address.ip_port, fast_fallback: false) if RUBY_VERSION >= "3.4"
        socket ||= TCPSocket.new("localhost", server.local_address.ip_port)
        expect(socket.remote_address.ip_port).to eq(server.local_address.ip_port)
        socket.close
        eventually { ticks.positive? }
        ticking.stop
      end
    end
  end
end

RSpec.describe "Child processes of Async tasks:" do
  each_reactor do
    it "system, backticks, IO.popen and Open3 give output and status" do
      reactor do
        expect(system("exit 3")).to be(false)
        expect($?.exitstatus).to eq(3)
        expect(`echo here`).to eq("here\n")
        expect($?).to be_success
        answer = IO.popen(%w[tr a-z A-Z], "r+") do |io|
          io.puts("up")
          io.close_write
          io.read
        end
        expect(answer).to eq("UP\n")
        expect(Open3.capture2("cat", stdin_data: "data").first).to eq("data")
      end
    end

    it "20 tasks wait for a child each at the same time" do
      statuses = reactor do |task|
        reader, writer = pipe
        tasks = Array.new(20) do |index|
          task.async do
            pid = Process.spawn("read line; exit #{index}", in: reader)
            Process.wait2(pid).last.exitstatus
          end
        end
        sleep(0.01)
        expect(tasks).to all(be_running)
        writer.write("go\n" * 20)
        tasks.map(&:wait)
      end
      expect(statuses).to eq(Array.new(20) { |index| index })
    end

    it "one may have ended before the wait, or end by a signal" do
      reactor do
        reader, writer = IO.pipe
        pid = Process.spawn("exit 4", out: writer)
        writer.close
        reader.read
        reader.close
        expect(Process.wait2(pid).last.exitstatus).to eq(4)

        pid = Process.spawn("exec sleep 60")
        Process.kill(:TERM, pid)
        expect(Process.wait2(pid).last.termsig).to eq(Signal.list["TERM"])
      end
    end

    it "a task can wait for any of them, for all of them, for a group, and for none" do
      result = async_child(<<~RUBY)
        Sync do |task|
          pids = Array.new(2) { |index| spawn("exit \#{index}") }
          p Array.new(2) { Process.wait }.sort == pids
          pids = Array.new(3) { |index| spawn("exit \#{index}") }
          p Process.waitall.map { |pid, status| [pids.index(pid), status.exitstatus] }.sort
          p Process.waitall
          group = spawn("exit 6", pgroup: true)
          p Process.wait(-group) == group
          running = spawn("exec sleep 60")
          p Process.wait(-1, Process::WNOHANG)
          Process.kill(:KILL, running)
          Process.wait(running)
          begin
            Process.wait
          rescue Errno::ECHILD => error
            p error.class
          end
        end
      RUBY
      expect(result.stderr).to eq("")
      expect(result.stdout).to eq("true\n[[0, 0], [1, 1], [2, 2]]\n[]\ntrue\nnil\nErrno::ECHILD\n")
    end

    it "other tasks go on during a wait" do
      reactor do |task|
        ticks = 0
        ticking = task.async { loop { ticks += 1 if sleep(0.001) } }
        reader, writer = pipe
        waiting = task.async { system("read line; true", in: reader) }
        eventually { ticks > 5 }
        writer.puts("go")
        expect(waiting.wait).to be(true)
        ticking.stop
      end
    end

    it "a forked child has no reactor and may make its own, and the parent's reactor goes on" do
      result = async_child(<<~RUBY)
        Sync do |task|
          reader, writer = IO.pipe
          waiting = task.async { reader.gets }
          pid = fork do
            print "scheduler in the child: \#{Fiber.scheduler.inspect}\n"
            # A fiber that belongs to no task.
            Fiber.new(blocking: true) do
              Sync { |inner| inner.async { sleep(0.01) && writer.puts("from the child") }.wait }
            end.resume
            exit!(9)
          end
          print waiting.wait
          Process.wait(pid)
          print "status \#{$?.exitstatus}\n"
          sleep(0.001)
        end
      RUBY
      expect(result.stderr).to eq("")
      expect(result.stdout).to eq("scheduler in the child: nil\nfrom the child\nstatus 9\n")
    end
  end
end

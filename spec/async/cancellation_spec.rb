# frozen_string_literal: true

require_relative "async_helper"

RSpec.describe "An Async task that is stopped" do
  each_reactor do
    it "while it sleeps ends at once, and runs its ensure blocks first" do
      log = []
      start = monotonic
      reactor do
        stopped_task do
          sleep
        ensure
          log << :ensured
        end
        stopped_task { sleep(10) }
      end
      expect(log).to eq([:ensured])
      expect(monotonic - start).to be < 5
    end

    it "may wait in its ensure blocks, and stop does not wait for that" do
      log = []
      reactor do |task|
        stopped = task.async do
          sleep
        ensure
          sleep(0.01)
          log << :ensured
        end
        stopped.stop
        log << :stopped
        stopped.wait
      end
      expect(log).to eq(%i[stopped ensured])
    end

    it "while it reads takes no bytes: the next reader gets all of them" do
      reactor do
        [pipe, unix_pair, tcp_pair].each do |reader, writer|
          stopped_task { reader.readpartial(10) }
          stopped_task { reader.read(10) }
          stopped_task { reader.gets }
          writer.write("0123456789\n")
          expect(reader.gets).to eq("0123456789\n")
          stopped_task { reader.wait_readable }
          writer.write("more")
          expect(reader.readpartial(10)).to eq("more")
        end
      end
    end

    it "in the middle of a read loses none of the later bytes" do
      reactor do
        near, far = unix_pair
        far.write("12345")
        stopped_task { near.read(10) }
        far.write("67890")
        rest = near.readpartial(10)
        expect("1234567890").to end_with(rest) # the first part may be in the IO's buffer, or lost with the read
        expect(rest).to end_with("67890")
      end
    end

    it "while it writes has written a whole beginning of its bytes, in order" do
      data = pattern(16_000_000) # beyond what a socket holds
      [-> { pipe }, -> { unix_pair.reverse }, -> { tcp_pair.reverse }].each do |make|
        received = reactor do |task|
          reader, writer = make.call
          writer.sync = true
          stopped_task { writer.write(data) }
          reading = task.async { reader.read }
          writer.close
          reading.wait
        end
        expect(received.bytesize).to be_between(1, data.bytesize - 1)
        expect(data.start_with?(received.b)).to be(true)
      end
    end

    it "while it accepts takes no connection: the next accept gets it" do
      reactor do |task|
        server = tcp_server
        3.times { stopped_task { server.accept } }
        accepting = task.async { closing(server.accept) }
        client = closing(TCPSocket.new("127.0.0.1", server.local_address.ip_port))
        client.puts("hello")
        expect(accepting.wait.gets).to eq("hello\n")
      end
    end

    it "while it connects leaves a socket that can be closed" do
      reactor do
        # Nobody accepts, so the third connection stays half open.
        server = closing(Socket.new(:INET, :STREAM))
        server.bind(Addrinfo.tcp("127.0.0.1", 0))
        server.listen(1)
        sockets = Array.new(8) { closing(Socket.new(:INET, :STREAM)) }
        connecting = sockets.map do |socket|
          Async::Task.current.async(finished: false) { socket.connect(server.local_address) }
        end
        # No expectation in between: the first one makes RSpec load files, and other tasks would run meanwhile.
        waiting = connecting.select(&:running?)
        waiting.each(&:stop)
        expect(waiting).not_to be_empty
        expect(waiting.map(&:status)).to all(eq(:cancelled))
        sockets.each(&:close)
        expect(sleep(0.01)).to be_a(Integer)
      end
    end

    it "while it waits for a child process leaves the child to the next waiter" do
      skip "io-event 1.22's EPoll does not watch a pidfd whose number it has watched before" if selector == :io_event
      reactor do
        reader, writer = pipe
        pid = Process.spawn("read line; exit 7", in: reader)
        2.times { stopped_task { Process.wait(pid) } }
        writer.puts("go")
        expect(Process.wait(pid)).to eq(pid)
        expect($?.exitstatus).to eq(7)
      end
    end

    it "while it waits for a thread, a queue, a mutex or another task leaves these unchanged" do
      reactor do |task|
        gate = Thread::Queue.new
        thread = Thread.new { gate.pop }
        stopped_task { thread.join }
        stopped_task { gate.pop }
        mutex = Mutex.new
        mutex.synchronize { stopped_task { mutex.synchronize { nil } } }
        expect(mutex.try_lock).to be(true)
        mutex.unlock
        sleeping = task.async { sleep(0.01) && :slept }
        stopped_task { sleeping.wait }
        gate << :item
        expect(thread.value).to eq(:item)
        expect(sleeping.wait).to eq(:slept)
      end
    end

    it "while it waits in IO.select does not hide events from later waiters" do
      reactor do
        reader, writer = pipe
        other, = pipe
        stopped_task { IO.select([reader, other]) }
        writer.write("x")
        expect(IO.select([reader, other], nil, nil, 5)).to eq([[reader], [], []])
      end
    end

    it "also stops the tasks that it has started" do
      waiting = 0
      ended = []
      reactor do |task|
        parent = task.async do |inner|
          3.times do |index|
            inner.async do
              waiting += 1
              sleep
            ensure
              ended << index
            end
          end
          sleep
        end
        eventually { waiting == 3 }
        parent.stop
        eventually { ended.size == 3 }
      end
      expect(ended).to contain_exactly(0, 1, 2)
    end

    it "by itself does not go on after the stop" do
      log = []
      reactor do |task|
        itself = task.async do |inner|
          log << :before
          inner.stop
          log << :after
        ensure
          log << :ensured
        end
        itself.wait
        expect(itself).to be_cancelled
      end
      expect(log).to eq(%i[before ensured])
    end

    it "before its first turn or after its end does no harm" do
      reactor do |task|
        ended = task.async { :value }
        ended.stop
        expect(ended.wait).to eq(:value)
        never = Async::Task.new(task) { raise "must not run" }
        never.stop
        expect(never).to be_cancelled
      end
    end

    it "by another task that the same event wakes ends once, and so do all of them" do
      ended = []
      reactor do |task|
        reader, writer = pipe
        tasks = Array.new(5) do |index|
          task.async do
            reader.wait_readable
            tasks.each_with_index { |other, number| other.stop unless number == index }
          ensure
            ended << index
          end
        end
        writer.write("x")
        tasks.each(&:wait)
        expect(reader.readpartial(5)).to eq("x")
      end
      expect(ended).to contain_exactly(0, 1, 2, 3, 4)
    end

    it "1,000 times, with reads in between, leaves no watch on the descriptor" do
      reactor do |task|
        near, far = unix_pair
        1_000.times do |index|
          waiting = task.async { near.wait_readable }
          waiting.stop
          far.write([index].pack("N"))
          expect(near.read(4).unpack1("N")).to eq(index)
        end
      end
    end

    it "frees the descriptor's number for another IO, which gets only its own events" do
      reactor do |task|
        100.times do
          reader, writer = IO.pipe
          waiting = task.async { reader.wait_readable }
          waiting.stop
          [reader, writer].each(&:close)
          reader, writer = IO.pipe
          reading = task.async { reader.gets }
          writer.puts("own")
          expect(reading.wait).to eq("own\n")
          [reader, writer].each(&:close)
        end
      end
    end

    it "by the end of the reactor ends its wait, whatever it waits for: 500 tasks" do
      ended = 0
      reactor do |task|
        near, = unix_pair
        server = tcp_server
        queue = Thread::Queue.new
        ways = [-> { sleep }, -> { sleep(60) }, -> { near.readpartial(1) }, -> { server.accept }, -> { queue.pop }]
        500.times do |index|
          task.async(transient: true) do
            ways[index % ways.size].call
          ensure
            ended += 1
          end
        end
      end
      expect(ended).to eq(500)
    end
  end
end

# frozen_string_literal: true

require "expect"
require "io/console"
require "monitor"
require "net/http"
require "openssl"
require "pty"
require "stringio"
require "zlib"

# Shows which Ruby methods call which hooks, in which order. The file of each hook shows what the hook does.
RSpec.describe UringIO::Scheduler, "by its callers:" do
  # From Ruby 4.0 on, Ruby flushes buffers and closes IOs through hooks.
  flushes_by_hook = closes_by_hook = RUBY_VERSION >= "4.0"
  offers_blocking_operations = RUBY_VERSION >= "3.4"

  # The hooks that Ruby calls while a fiber runs +call+. +meanwhile+ runs once that fiber waits. io_close counts only on
  # demand, because the garbage collector may call it at any time.
  def calls_of(call, meanwhile: nil, but: [:io_close], **options)
    scheduler = recorded(**options) do
      Fiber.schedule(&call)
      meanwhile&.call
    end
    but += %i[fiber scheduler_close close]
    scheduler.calls.reject { |made| but.include?(made.hook) }
  end

  def hooks_of(call, **)
    calls_of(call, **).map(&:hook)
  end

  def with_arguments(calls)
    calls.map { |call| [call.hook, *call.arguments] }
  end

  # A socket pair; the first socket has no room left to write.
  def full_pair
    unix_pair.tap { |socket, _| fill(socket) }
  end

  each_backend do |backend|
    describe "reading" do
      {
        "read(n)" => ->(io) { io.read(2) },
        "gets" => ->(io) { io.gets },
        "each_line" => ->(io) { io.each_line.first },
        "getc" => ->(io) { io.getc },
        "getbyte" => ->(io) { io.getbyte },
        "eof?" => ->(io) { io.eof? },
        "readpartial" => ->(io) { io.readpartial(2) }
      }.each do |name, read|
        it "IO##{name} calls io_read; for an empty pipe io_wait(READABLE) and io_read again" do
          reader, writer = pipe
          calls = calls_of(-> { read.call(reader) }, meanwhile: -> { writer.write_nonblock("a\n") })
          expect(calls.map(&:hook)).to eq(%i[io_read io_wait io_read])
          expect(calls[1].arguments).to eq([reader, IO::READABLE, nil])
        end

        it "BasicSocket##{name} calls io_read, which waits" do
          input, output = unix_pair
          hooks = hooks_of(-> { read.call(input) }, meanwhile: -> { output.write_nonblock("a\n") })
          expect(hooks).to eq([:io_read])
        end
      end

      it "IO#sysread calls io_read once: an empty pipe is Errno::EAGAIN" do
        reader, = pipe
        error = nil
        expect(hooks_of(-> { error = raised { reader.sysread(1) } })).to eq([:io_read])
        expect(error).to be_a(Errno::EAGAIN)
      end

      it "IO#read_nonblock on a pipe, a terminal or a file calls io_read, which does not wait" do
        terminal, = PTY.open.each { |io| closing(io) }
        file = closing(File.open(file_with("content")))
        results = nil
        calls = calls_of(lambda do
          results = [pipe.first, terminal, file].map { |io| io.read_nonblock(7, exception: false) }
        end)
        expect(results).to eq([:wait_readable, :wait_readable, "content"])
        expect(calls.map(&:hook)).to eq(%i[io_read] * 3)
      end

      it "BasicSocket#read_nonblock and #recv_nonblock call no hook" do
        socket, = unix_pair
        hooks = hooks_of(lambda do
          socket.read_nonblock(1, exception: false)
          socket.recv_nonblock(1, exception: false)
        end)
        expect(hooks).to be_empty
      end

      it "File.read calls io_read for the content and for the end of the file" do
        path = file_with("content")
        calls = calls_of(-> { File.read(path) })
        expect(calls.map(&:hook).uniq).to eq([:io_read])
        expect(calls.map(&:result).first(2)).to eq([7, 0]).or eq([7])
      end

      it "IO.readlines calls io_read" do
        path = file_with("one\ntwo\n")
        expect(hooks_of(-> { File.readlines(path) }).uniq).to eq([:io_read])
      end

      # Prism, the default parser from Ruby 3.4 on, reads files without an IO.
      it "require and load call io_read for the source, up to Ruby 3.3" do
        path = "#{file_with('')}.rb"
        File.write(path, "# empty")
        hooks = hooks_of(-> { load(path) && require(path) })
        expect(hooks.uniq).to eq(RUBY_VERSION < "3.4" ? [:io_read] : [])
      ensure
        $LOADED_FEATURES.delete(path)
      end

      it "IO#pread calls io_pread with the position" do
        file = closing(File.open(file_with("0123456789")))
        calls = calls_of(-> { file.pread(2, 3) })
        expect(calls.map { |call| [call.hook, call.arguments[2]] }).to eq([[:io_pread, 3]])
      end

      it "IO#getch of io/console calls io_read and io_wait(READABLE)" do
        keyboard, terminal = PTY.open.each { |io| closing(io) }
        key = nil
        calls = calls_of(-> { key = terminal.getch }, meanwhile: -> { keyboard.write_nonblock("x") })
        expect(key).to eq("x")
        expect(calls.map(&:hook)).to eq(%i[io_read io_wait io_read])
        expect(calls[1].arguments[1]).to eq(IO::READABLE)
      end
    end

    describe "writing" do
      it "IO#write, #print and #<< of a synced IO call io_write once for each String" do
        _, writer = pipe
        writer.sync = true
        calls = calls_of(lambda do
          writer.write("a")
          writer.print("bc", "def")
          writer << "ghij"
        end)
        expect(calls.map { |call| [call.hook, call.result] }).to eq([1, 2, 3, 4].map { |size| [:io_write, size] })
      end

      it "IO#write calls io_write when the IO's buffer is full, not before" do
        _, writer = pipe
        writer.sync = false
        expect(hooks_of(-> { writer.write("x") })).to be_empty
        expect(hooks_of(-> { writer.write("x" * 60_000) }).uniq).to eq([:io_write])
      end

      it "BasicSocket#write calls io_write, which waits for room" do
        socket, peer = full_pair
        hooks = hooks_of(-> { socket.write("x") }, meanwhile: -> { drain(peer) })
        expect(hooks).to eq([:io_write])
      end

      it "IO#puts and IO#write of several Strings call io_write once for each part" do
        _, writer = pipe
        writer.sync = true
        calls = calls_of(lambda do
          writer.puts("abc")
          writer.write("ab", "cdef")
        end)
        expect(calls.map { |call| [call.hook, call.result] }).to eq([3, 1, 2, 4].map { |size| [:io_write, size] })
      end

      it "IO#syswrite calls io_write once, which waits for room" do
        socket, peer = full_pair
        expect(hooks_of(-> { socket.syswrite("x") }, meanwhile: -> { drain(peer) })).to eq([:io_write])
      end

      it "IO#write_nonblock calls no hook, but flushes the buffer first: by io_write from Ruby 4.0 on" do
        _, writer = pipe
        writer.sync = false
        expect(hooks_of(-> { writer.write_nonblock("x") })).to be_empty
        hooks = hooks_of(lambda do
          writer.write("x")
          writer.write_nonblock("y")
        end)
        expect(hooks).to eq(flushes_by_hook ? [:io_write] : [])
      end

      %i[flush close fsync].each do |method|
        it "IO##{method} with a filled buffer calls io_write from Ruby 4.0 on, else no hook" do
          path = free_path
          file = closing(File.open(path, "w"))
          hooks = hooks_of(lambda do
            file.write("buffered")
            file.public_send(method)
          end)
          expect(hooks).to eq(flushes_by_hook ? [:io_write] : [])
          expect(File.read(path)).to eq("buffered")
        end
      end

      it "IO#flush without room in the socket calls io_write from Ruby 4.0 on, else io_wait(WRITABLE)" do
        socket, peer = full_pair
        socket.sync = false
        flush = lambda do
          socket.write("x")
          socket.flush
        end
        calls = calls_of(flush, meanwhile: -> { drain(peer) })
        expect(calls.map(&:hook)).to eq(flushes_by_hook ? [:io_write] : [:io_wait])
        expect(calls.first.arguments[1]).to eq(IO::WRITABLE) unless flushes_by_hook
      end

      it "spawn and fork flush STDOUT first, by io_write from Ruby 4.0 on" do
        result = child(<<~RUBY, backend)
          $stdout.sync = false
          written = nil
          recorder = Class.new(UringIO::Scheduler) do
            define_method(:io_write) { |io, *rest| super(io, *rest).tap { written << io.fileno } }
          end
          Fiber.set_scheduler(recorder.new(backend: ARGV[0].to_sym))
          Fiber.schedule do
            seen = [-> { spawn("true") }, -> { fork { exit!(true) } }].map do |start|
              written = []
              print "x"
              pid = start.call
              before = written
              written = []
              Process.wait(pid)
              before
            end
            puts seen.inspect
          end
        RUBY
        expect([result.stderr, result.stdout]).to eq(["", "xx#{flushes_by_hook ? [[1], [1]] : [[], []]}\n"])
      end

      it "File.write calls io_write from Ruby 4.0 on, else no hook" do
        path = free_path
        expect(hooks_of(-> { File.write(path, "content") })).to eq(flushes_by_hook ? [:io_write] : [])
        expect(File.read(path)).to eq("content")
      end

      it "IO#pwrite calls io_pwrite with the position where the scheduler has that hook: from Ruby 4.0 on" do
        file = closing(File.open(file_with("0123456789"), "r+"))
        calls = calls_of(-> { file.pwrite("ab", 3) })
        expected = described_class.method_defined?(:io_pwrite) ? [[:io_pwrite, 3]] : []
        expect(calls.map { |call| [call.hook, call.arguments[2]] }).to eq(expected)
        expect(File.read(file.path)).to eq("012ab56789")
      end
    end

    describe "IO::Buffer" do
      {
        read: [[], [2, 1]], write: [[], [2, 1]], pread: [[5], [5, 2, 1]], pwrite: [[5], [5, 2, 1]]
      }.each do |method, arguments|
        it "##{method} calls io_#{method} with the program's own buffer, length and offset" do
          file = closing(File.open(file_with("0123456789"), "r+"))
          buffer = IO::Buffer.new(4)
          calls = calls_of(-> { arguments.each { |given| buffer.public_send(method, file, *given) } })
          hook = :"io_#{method}"
          expect(calls.map(&:hook)).to eq(described_class.method_defined?(hook) ? [hook, hook] : [])
          expect(calls.map { |call| call.arguments[1] }).to all(equal(buffer))
          positions = method.start_with?("p") ? [5] : []
          expected = described_class.method_defined?(hook) ? [[4, 0], [2, 1]].map { |span| positions + span } : []
          expect(calls.map { |call| call.arguments[2..] }).to eq(expected)
        end
      end
    end

    describe "sockets" do
      {
        "recv" => ->(socket) { socket.recv(1) },
        "recvfrom" => ->(socket) { socket.recvfrom(1) },
        "recvmsg" => ->(socket) { socket.recvmsg(1) }
      }.each do |name, receive|
        it "BasicSocket##{name} calls io_wait(READABLE) when there is no input, else no hook" do
          socket, peer = unix_pair
          calls = calls_of(-> { receive.call(socket) }, meanwhile: -> { peer.write_nonblock("x") })
          expect(calls.map { |call| [call.hook, call.arguments[1]] }).to eq([[:io_wait, IO::READABLE]])
          peer.write_nonblock("x")
          expect(hooks_of(-> { receive.call(socket) })).to be_empty
        end
      end

      {
        "send" => ->(socket) { socket.send("x", 0) },
        "sendmsg" => ->(socket) { socket.sendmsg("x") }
      }.each do |name, send|
        it "BasicSocket##{name} calls io_wait(WRITABLE) when there is no room, else no hook" do
          socket, peer = full_pair
          calls = calls_of(-> { send.call(socket) }, meanwhile: -> { drain(peer) })
          expect(calls.map { |call| [call.hook, call.arguments[1]] }).to eq([[:io_wait, IO::WRITABLE]])
          expect(hooks_of(-> { send.call(socket) })).to be_empty
        end
      end

      it "TCPServer#accept calls io_wait(READABLE) when nobody has connected, else no hook" do
        server = tcp_server
        connect = -> { closing(Socket.new(:INET, :STREAM)).connect_nonblock(server.local_address, exception: false) }
        calls = calls_of(-> { closing(server.accept) }, meanwhile: connect)
        expect(with_arguments(calls)).to eq([[:io_wait, server, IO::READABLE, nil]])
        connect.call
        server.wait_readable
        expect(hooks_of(-> { closing(server.accept) })).to be_empty
      end

      it "Socket#connect and TCPSocket.new call io_wait(READABLE | WRITABLE) with connect_timeout" do
        server = tcp_server
        port = server.local_address.ip_port
        calls = calls_of(lambda do
          closing(Socket.new(:INET, :STREAM)).connect(server.local_address)
          closing(TCPSocket.new("127.0.0.1", port))
          closing(TCPSocket.new("127.0.0.1", port, connect_timeout: 5))
        end)
        expected = [nil, nil, 5].map { |timeout| [:io_wait, IO::READABLE | IO::WRITABLE, timeout] }
        expect(calls.map { |call| [call.hook, *call.arguments[1..]] }).to eq(expected)
      end

      it "UNIXSocket.new calls no hook: it is connected at once" do
        path = free_path
        closing(UNIXServer.new(path))
        expect(hooks_of(-> { closing(UNIXSocket.new(path)) })).to be_empty
      end

      it "SSLSocket#connect, #accept, #gets and #write call io_wait only" do
        context = lambda do
          OpenSSL::SSL::SSLContext.new.tap do |made|
            made.max_version = :TLS1_2
            made.ciphers = "AECDH:@SECLEVEL=0" # without a certificate
          end
        end
        server, client = unix_pair.map { |socket| OpenSSL::SSL::SSLSocket.new(socket, context.call) }
        line = nil
        serve = lambda do
          server.accept
          server.write(server.gets)
        end
        exchange = lambda do
          client.connect
          client.write("line\n")
          line = client.gets
        end
        expect(hooks_of(serve, meanwhile: exchange).uniq).to eq([:io_wait])
        expect(line).to eq("line\n")
      end
    end

    describe "waiting for an IO" do
      {
        "wait_readable" => [->(io) { io.wait_readable(0) }, IO::READABLE, 0],
        "wait_writable" => [->(io) { io.wait_writable(1) }, IO::WRITABLE, 1],
        "wait_priority" => [->(io) { io.wait_priority(0) }, IO::PRIORITY, 0],
        "wait(timeout)" => [->(io) { io.wait(0) }, IO::READABLE, 0],
        "wait(events, timeout)" => [->(io) { io.wait(IO::READABLE | IO::WRITABLE, nil) },
                                    IO::READABLE | IO::WRITABLE, nil]
      }.each do |name, (wait, events, timeout)|
        it "IO##{name} calls io_wait with the events and the timeout" do
          socket, = unix_pair
          calls = calls_of(-> { wait.call(socket) })
          expect(with_arguments(calls)).to eq([[:io_wait, socket, events, timeout]])
        end
      end

      it "IO.select calls io_select with the caller's own arguments" do
        reader, = pipe
        arguments = [[[reader], nil, nil, 0], [[reader], [], [], 0.001], [[], nil, nil, 0]]
        calls = calls_of(-> { arguments.each { |given| IO.select(*given) } })
        expect(calls.map(&:hook)).to eq(%i[io_select] * 3)
        expect(calls.map(&:arguments)).to eq(arguments)
      end

      it "IO#expect calls io_select, and io_read when there is input" do
        reader, writer = pipe
        hooks = hooks_of(-> { reader.expect("b", 10) }, meanwhile: -> { writer.write_nonblock("ab") })
        expect(hooks.first(2)).to eq(%i[io_select io_read])
        expect(hooks.uniq).to eq(%i[io_select io_read])
      end

      it "Socket.tcp by name calls io_select from Ruby 3.4 on; before that address_resolve" do
        server = tcp_server
        hooks = hooks_of(-> { Socket.tcp("localhost", server.local_address.ip_port, &:itself) })
        expect(hooks.first).to eq(RUBY_VERSION < "3.4" ? :address_resolve : :io_select)
        expect(hooks.last).to eq(:io_wait)
      end
    end

    describe "IO.copy_stream" do
      it "between descriptors calls io_wait only" do
        reader, writer = pipe
        sink, = pipe.reverse
        calls = calls_of(-> { IO.copy_stream(reader, sink, 1) }, meanwhile: -> { writer.write_nonblock("x") })
        expect(calls.map { |call| [call.hook, call.arguments[1]] }).to eq([[:io_wait, IO::READABLE]])
      end

      it "to or from an object without a descriptor calls io_write or io_read" do
        input, output = unix_pair
        copied = StringIO.new
        expect(hooks_of(-> { IO.copy_stream(StringIO.new("text"), output) })).to eq([:io_write])
        expect(hooks_of(-> { IO.copy_stream(input, copied, 4) })).to eq([:io_read])
        expect(copied.string).to eq("text")
      end
    end

    describe "sleeping and locking" do
      it "sleep calls kernel_sleep with its argument, which may be nil or missing" do
        arguments = [[], [nil], [0], [0.001]]
        scheduler = recorded do |running|
          sleepers = arguments.map { |given| Fiber.schedule { sleep(*given) } }
          sleepers.first(2).each { |fiber| running.unblock(:label, fiber) }
        end
        expect(scheduler.called(:kernel_sleep).map(&:arguments)).to eq(arguments)
      end

      { "Thread::Mutex#lock" => Thread::Mutex, "Monitor#enter" => Monitor }.each do |name, lock|
        it "#{name} calls block(mutex, nil), and the fiber that unlocks it calls unblock" do
          shared = lock.new
          held = nil
          scheduler = recorded do
            gate = Thread::Queue.new
            Fiber.schedule { shared.synchronize { gate.pop } }
            Fiber.schedule { shared.synchronize { held = true } }
            gate << :go
          end
          expect(held).to be(true)
          waits = scheduler.called(:block).map(&:arguments).select { |blocker, _| blocker.is_a?(Thread::Mutex) }
          expect(waits).to contain_exactly([an_instance_of(Thread::Mutex), nil])
          expect(scheduler.called(:unblock).map { |call| call.arguments.first }).to include(waits.first.first)
        end
      end

      it "IO#write calls block for the IO's lock while another fiber writes out the IO's buffer" do
        reader, writer = pipe
        writer.sync = false
        scheduler = recorded do
          2.times { Fiber.schedule { writer.write("x" * 200_000) } }
          reader.read(400_000)
        end
        expect(scheduler.called(:block).map(&:arguments)).to include([an_instance_of(Thread::Mutex), nil])
      end

      it "Thread::Mutex#sleep and ConditionVariable#wait call kernel_sleep with the timeout" do
        mutex = Thread::Mutex.new
        waits = [-> { mutex.sleep(0.001) }, -> { Thread::ConditionVariable.new.wait(mutex, 0.002) }]
        calls = calls_of(-> { waits.each { |wait| mutex.synchronize(&wait) } })
        expect(with_arguments(calls)).to eq([[:kernel_sleep, 0.001], [:kernel_sleep, 0.002]])
      end

      it "ConditionVariable#wait without a timeout calls kernel_sleep(nil), and #signal unblock(mutex, fiber)" do
        mutex = Thread::Mutex.new
        condition = Thread::ConditionVariable.new
        calls = calls_of(-> { mutex.synchronize { condition.wait(mutex) } },
                         meanwhile: -> { mutex.synchronize { condition.signal } })
        expect(with_arguments(calls)).to match([[:kernel_sleep, nil], [:unblock, mutex, an_instance_of(Fiber)]])
      end

      it "Thread::Queue#pop and SizedQueue#pop and #push call block(queue, timeout)" do
        queue = Thread::Queue.new
        sized = Thread::SizedQueue.new(1)
        calls = calls_of(lambda do
          queue.pop(timeout: 0.001)
          sized.pop(timeout: 0.002)
          sized.push(1)
          sized.push(2, timeout: 0.003)
        end)
        expect(with_arguments(calls))
          .to eq([[:block, queue, 0.001], [:block, sized, 0.002], [:block, sized, 0.003]])
      end

      it "Thread::Queue#pop without a timeout calls block(queue, nil), and #push unblock" do
        queue = Thread::Queue.new
        calls = calls_of(-> { queue.pop }, meanwhile: -> { queue << 1 })
        expect(with_arguments(calls)).to match([[:block, queue, nil], [:unblock, queue, an_instance_of(Fiber)]])
      end

      it "Thread#join and #value call block with the thread and the timeout; the end of the thread calls unblock" do
        gate = Thread::Queue.new
        thread = nil
        scheduler = recorded do
          thread = Thread.new { gate.pop }
          thread.join(0.001)
          Fiber.schedule { thread.join }
          Fiber.schedule { thread.value }
          gate << :end
        end
        waits = scheduler.called(:block).map(&:arguments)
        expect(waits).to match([[thread, be_between(0, 0.001)], [thread, nil], [thread, nil]])
        wakes = scheduler.called(:unblock).map(&:arguments)
        expect(wakes).to match([[an_instance_of(Thread), an_instance_of(Fiber)]] * 2)
      end

      it "Timeout.timeout calls timeout_after, without a thread of its own" do
        threads = nil
        scheduler = recorded do
          before = Thread.list
          Timeout.timeout(1) { sleep(0) }
          threads = Thread.list - before
        end
        expect(scheduler.called(:timeout_after).size).to eq(1)
        expect(threads).to be_empty
      end

      # From Ruby 4.0 on, the socket's connect has its own timeout.
      it "Net::HTTP's open_timeout calls timeout_after, or gives io_wait its timeout" do
        port = tcp_server.local_address.ip_port
        calls = calls_of(-> { Net::HTTP.start("127.0.0.1", port, nil, open_timeout: 60) { nil } })
        outermost = calls.first
        seconds = outermost.arguments[outermost.hook == :timeout_after ? 0 : 2]
        expect(%i[timeout_after io_wait]).to include(outermost.hook)
        expect(seconds).to be_between(0, 60)
      end
    end

    describe "child processes" do
      # The arguments of process_wait. :pid stands for the child and :group for its process group.
      {
        "Process.wait" => [-> { Process.wait(spawn("true")) }, [[:pid, 0]]],
        "Process.wait2" => [-> { Process.wait2(spawn("true")) }, [[:pid, 0]]],
        "Process.waitpid" => [-> { Process.waitpid(spawn("true"), Process::WUNTRACED) }, [[:pid, Process::WUNTRACED]]],
        "Process.wait for any child" => [-> { spawn("true") && Process.wait }, [[-1, 0]]],
        "Process.wait for a child of the own group" => [-> { spawn("true") && Process.wait(0) }, [[0, 0]]],
        "Process.wait for a group" => [-> { Process.wait(-spawn("true", pgroup: true)) }, [[:group, 0]]],
        "system" => [-> { system("true") }, [[:pid, 0]]],
        "backticks" => [-> { `true` }, [[:pid, 0]]],
        "IO.popen" => [-> { IO.popen("true", &:read) }, [[:pid, 0]]]
      }.each do |name, (wait, expected)|
        it "#{name} calls process_wait(pid, flags)" do
          scheduler = recorded { wait.call }
          calls = scheduler.called(:process_wait)
          child = calls.first.result.pid
          names = { child => :pid, -child => :group }
          named = calls.map(&:arguments).map { |pid, flags| [names.fetch(pid, pid), flags] }
          expect(named).to eq(expected)
        end
      end

      # Runs in a program of its own, which has no other children.
      it "Process.waitall calls process_wait(-1, 0) for each child, and once more" do
        result = child(<<~RUBY, backend)
          calls = []
          recorder = Class.new(UringIO::Scheduler) do
            define_method(:process_wait) { |pid, flags| super(pid, flags).tap { calls << [pid, flags] } }
          end
          Fiber.set_scheduler(recorder.new(backend: ARGV[0].to_sym))
          Fiber.schedule do
            2.times { spawn("true") }
            Process.waitall
            puts calls.inspect
          end
        RUBY
        expect([result.stderr, result.stdout]).to eq(["", "#{[[-1, 0]] * 3}\n"])
      end

      it "backticks and IO.popen call io_read for the output first" do
        [-> { `echo output` }, -> { IO.popen("echo output", &:read) }].each do |run|
          hooks = hooks_of(run)
          expect(hooks).to include(:io_read)
          expect(hooks.last).to eq(:process_wait)
        end
      end

      it "Process.wait with WNOHANG does not call process_wait" do
        reader, writer = pipe
        pid = Process.spawn("head -c 1 >/dev/null", in: reader)
        expect(hooks_of(-> { Process.wait(pid, Process::WNOHANG) })).not_to include(:process_wait)
        writer.write("x")
        Process.wait(pid)
      end

      it "Process.detach does not call process_wait: its thread waits, and joining that thread calls block" do
        calls = calls_of(-> { Process.detach(spawn("true")).join })
        expect(calls.map(&:hook)).not_to include(:process_wait)
        expect(calls.map { |call| call.arguments.first }).to include(an_instance_of(Process::Waiter)).or be_empty
      end
    end

    describe "names" do
      {
        "Addrinfo.tcp" => -> { Addrinfo.tcp("localhost", 80) },
        "Addrinfo.udp" => -> { Addrinfo.udp("localhost", 80) },
        "Addrinfo.ip" => -> { Addrinfo.ip("localhost") },
        "Addrinfo.getaddrinfo" => -> { Addrinfo.getaddrinfo("localhost", 80) },
        "UDPSocket#bind" => -> { UDPSocket.new.tap { |socket| socket.bind("localhost", 0) }.close },
        "UDPSocket#connect" => -> { UDPSocket.new.tap { |socket| socket.connect("localhost", 9) }.close },
        "UDPSocket#send" => -> { UDPSocket.new.tap { |socket| socket.send("", 0, "localhost", 9) }.close },
        "TCPServer.new" => -> { TCPServer.new("localhost", 0).close }
      }.each do |name, resolve|
        it "#{name} calls address_resolve" do
          calls = calls_of(resolve)
          expect(with_arguments(calls)).to eq([[:address_resolve, "localhost"]])
        end
      end

      it "TCPSocket.new without fast_fallback calls address_resolve, as it always does up to Ruby 3.3" do
        port = tcp_server.local_address.ip_port
        options = RUBY_VERSION < "3.4" ? {} : { fast_fallback: false }
        hooks = hooks_of(-> { closing(TCPSocket.new("localhost", port, **options)) })
        expect(hooks.first).to eq(:address_resolve)
      end

      it "a numeric address does not call address_resolve" do
        hooks = hooks_of(lambda do
          Addrinfo.tcp("127.0.0.1", 80)
          Addrinfo.ip("::1")
          TCPServer.new("127.0.0.1", 0).close
        end)
        expect(hooks).to be_empty
      end
    end

    describe "closing" do
      it "IO#close calls io_close with the descriptor's number from Ruby 4.0 on, else no hook" do
        reader, = pipe
        number = reader.fileno
        calls = calls_of(-> { reader.close }, but: [])
        expect(with_arguments(calls)).to include([:io_close, number]) if closes_by_hook
        expect(calls).to be_empty unless closes_by_hook
        expect { IO.for_fd(number) }.to raise_error(Errno::EBADF)
      end

      it "IO#close calls fiber_interrupt for each fiber that waits for it, kernel_sleep, unblock and io_close, " \
         "from Ruby 4.0 on, else no hook" do
        socket, = unix_pair
        errors = []
        hooks = hooks_of(lambda do
          readers = Array.new(2) { Fiber.schedule { errors << raised { socket.readpartial(1) } } }
          socket.close
          readers.each(&:kill) unless closes_by_hook
        end, but: [])
        closes = %i[fiber_interrupt kernel_sleep unblock io_close]
        expect(hooks.count(:fiber_interrupt)).to be(2) if closes_by_hook
        expect(hooks.uniq - [:io_read]).to eq(closes_by_hook ? closes : [])
        expect(errors).to all(be_an(IOError)).and have_attributes(size: 2) if closes_by_hook
      end

      it "IO#close in another thread calls fiber_interrupt from there, from Ruby 4.0 on, else no hook" do
        reader, = pipe
        error = nil
        scheduler = recorded do
          waiter = Fiber.schedule { error = raised { reader.wait_readable } }
          Thread.new { reader.close }.join
          waiter.kill unless closes_by_hook
        end
        expect(scheduler.called(:fiber_interrupt).size).to be(closes_by_hook ? 1 : 0)
        expect(error).to be_an(IOError) if closes_by_hook
      end

      it "the garbage collector calls io_close for IOs that nobody closed, from Ruby 4.0 on" do
        calls = calls_of(lambda do
          50.times { IO.pipe }
          GC.start
        end, but: [])
        expect(calls.map(&:hook).uniq).to eq(closes_by_hook ? [:io_close] : [])
      end
    end

    describe "blocking work" do
      {
        "File.open" => ->(path) { File.open(path, &:itself) },
        "File.stat, .exist? and .size" => ->(path) { [File.stat(path), File.exist?(path), File.size(path)] },
        "File.chmod, .rename and .unlink" => lambda do |path|
          File.chmod(0o600, path)
          File.rename(path, "#{path}2")
          File.unlink("#{path}2")
        end,
        "Dir.mkdir and Dir.children" => ->(path) { Dir.mkdir("#{path}.d") && Dir.children("#{path}.d") },
        "Zlib.gzip and .gunzip" => ->(_) { Zlib.gunzip(Zlib.gzip("x" * 10_000)) },
        "IO::Buffer#copy of 1 MiB" => ->(_) { IO::Buffer.new(2**20).copy(IO::Buffer.new(2**20)) },
        "IO.copy_stream" => ->(path) { IO.copy_stream(path, "#{path}.copy") }
      }.each do |name, work|
        it "#{name} calls blocking_operation_wait of a scheduler with workers, from Ruby 3.4 on" do
          path = file_with("content")
          hooks = hooks_of(-> { work.call(path) }, workers: 2)
          expect(hooks.include?(:blocking_operation_wait)).to be(offers_blocking_operations)
        end
      end
    end

    it "a trap handler that runs while Ruby blocks outside of any hook makes Ruby call yield, from Ruby 4.0 on" do
      result = child(<<~RUBY, backend, free_path("fifo"))
        File.mkfifo(ARGV[1])
        trapped = yields = false
        trap("USR1") { trapped = true }
        recorder = Class.new(UringIO::Scheduler) do
          define_method(:yield) do
            yields = true
            super()
          end
        end
        Fiber.set_scheduler(recorder.new(backend: ARGV[0].to_sym))
        main = Thread.current
        Thread.new do
          Thread.pass until main.stop?
          Process.kill("USR1", Process.pid)
          Thread.pass until trapped
          File.open(ARGV[1], "w").close
        end
        Fiber.schedule do
          puts "\#{File.read(ARGV[1]).inspect}, \#{yields}"
        rescue Errno::EINTR
          retry # Ruby 3.3 leaves the retry to the program
        end
      RUBY
      expect([result.stderr, result.stdout]).to eq(["", "\"\", #{closes_by_hook}\n"])
    end
  end
end

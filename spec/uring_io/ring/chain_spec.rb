# frozen_string_literal: true

RSpec.describe UringIO::Ring do
  each_backend do |backend|
    describe "#chain" do
      # The outcomes of a failed chain's steps. For an exception, its class.
      def outcomes(error)
        error.outcomes.map { |outcome| outcome.is_a?(Exception) ? outcome.class : outcome }
      end

      it "opens, reads, sends and closes", needs: :direct_descriptors do
        everywhere do |ring|
          path = file_with("content")
          receiver, sender = unix_pair
          before = descriptors
          results = ring.chain do |steps|
            file = steps.open(path)
            bytes = steps.read(file, 7)
            steps.send(sender, bytes)
            steps.close(file)
          end
          expect(results).to eq([0, "content", 7, nil])
          expect([receiver.recv(99), descriptors]).to eq(["content", before])
        end
      end

      it "makes a socket, connects, sends and closes", needs: :direct_descriptors do
        everywhere do |ring|
          server = tcp_server
          results = ring.chain do |steps|
            socket = steps.socket(:INET)
            steps.connect(socket, server.local_address)
            steps.send(socket, "hello")
            steps.close(socket)
          end
          expect(results).to eq([0, nil, 5, nil])
          expect(closing(server.accept).read).to eq("hello")
        end
      end

      it "accepts, and answers on the accepted socket", needs: :direct_descriptors do
        everywhere do |ring|
          server = tcp_server
          client = closing(TCPSocket.new("127.0.0.1", server.local_address.ip_port))
          client.write("question")
          results = ring.chain do |steps|
            connection = steps.accept(server)
            question = steps.recv(connection, 8)
            steps.send(connection, question)
            steps.shutdown(connection, :WR)
          end
          expect(results).to eq([0, "question", 8, nil])
          expect(client.read).to eq("question")
        end
      end

      it "installs a direct descriptor in the process on demand", needs: :install do
        everywhere do |ring|
          path = file_with("content")
          before = descriptors
          *, given = ring.chain do |steps|
            file = steps.open(path)
            steps.read(file, 3)
            steps.install(file)
          end
          expect(descriptors).to eq(before + 1)
          file = adopted(given)
          expect([file.close_on_exec?, file.read]).to eq([true, "tent"])
        end
      end

      it "splices from and to files that it has opened", needs: :direct_descriptors do
        everywhere do |ring|
          path = file_with("0123456789")
          target = free_path
          reader, writer = pipe
          results = ring.chain do |steps|
            from = steps.open(path)
            steps.splice(from, writer, 4, from_offset: 3)
            to = steps.open(target, "w")
            steps.splice(reader, to, 4)
          end
          expect(results).to eq([0, 4, 0, 4])
          expect(File.read(target)).to eq("3456")
        end
      end

      it "copies between two files that it has opened, and syncs the copy", needs: :direct_descriptors do
        everywhere do |ring|
          path = file_with("content")
          target = free_path
          results = ring.chain do |steps|
            from = steps.open(path)
            to = steps.open(target, "w", 0o600)
            steps.write(to, steps.read(from, 7))
            steps.fsync(to)
            steps.fdatasync(to)
            [from, to].each { |file| steps.close(file) }
            steps.rename(target, "#{target}-renamed")
          end
          expect(results).to eq([0, 0, "content", 7, nil, nil, nil, nil, nil])
          expect(File.read("#{target}-renamed")).to eq("content")
        end
      end

      it "uses every kind of step that takes memory or a path", needs: %i[mkdirat ftruncate] do
        everywhere do |ring|
          file = closing(File.open(file_with("0123456789"), "r+"))
          buffer = IO::Buffer.new(4)
          directory = free_path
          results = ring.chain do |steps|
            steps.read(file, buffer, offset: 2)
            steps.write(file, buffer_of("ab"), offset: 0)
            steps.readv(file, [IO::Buffer.new(3)], offset: 0)
            steps.writev(file, %w[c d], offset: 8)
            steps.mkdir(directory)
            steps.stat(directory)
            steps.rmdir(directory)
            steps.ftruncate(file, 5)
            steps.nop
            steps.timeout(0.001)
            steps.stat(file)
          end
          results[5] = results[5].directory?
          results[10] = results[10].size
          expect(results).to eq([4, 2, 3, 2, nil, true, nil, nil, nil, nil, 5])
          expect([buffer.get_string, buffer.locked?]).to eq(["2345", false])
        end
      end

      it "refuses attributes of a file that it has opened: the kernel takes no direct descriptor there" do
        everywhere do |ring|
          path = file_with("x")
          error = raised { ring.chain { |steps| steps.setxattr(steps.open(path), "user.one", "x") } }
          expect(error).to be_a(TypeError).or be_a(ArgumentError)
          error = raised { ring.chain { |steps| steps.stat(steps.open(path)) } }
          expect(error).to be_a(TypeError).or be_a(ArgumentError)
        end
      end

      it "makes one step after the other", needs: :mkdirat do
        everywhere do |ring|
          path = free_path
          ring.chain { |steps| 20.times { |number| steps.mkdir(path + ("/inside" * number)) } }
          expect(File.directory?(path + ("/inside" * 19))).to be(true)
        end
      end

      it "breaks at a step that fails" do
        everywhere do |ring|
          made = free_path
          error = raised do
            ring.chain do |steps|
              steps.nop
              steps.rmdir("/missing")
              steps.mkdir(made)
              steps.nop
            end
          end
          expect(error).to be_a(UringIO::ChainError)
          expect([error.step.name, error.step.index, error.cause.class]).to eq([:rmdir, 1, Errno::ENOENT])
          expect(outcomes(error)).to eq([nil, Errno::ENOENT, Errno::ECANCELED, Errno::ECANCELED])
          expect(error.message).to match(/rmdir/).and match(/No such file/)
          expect(File.exist?(made)).to be(false)
        end
      end

      it "breaks at any failed step, even where the kernel itself would go on", needs: :mkdirat do
        everywhere do |ring|
          missing = free_path
          reader, writer = pipe
          made = free_path
          # No page begins at this address, wherever the buffer is.
          odd = Hash.ruby2_keywords_hash({ at: 1 })
          steps_that_fail = {
            rename: [missing, "#{missing}-2"], link: [missing, "#{missing}-2"], symlink: ["x", "/"], mkdir: ["/"],
            unlink: [missing], rmdir: [missing], stat: [missing], getxattr: [missing, "user.x"],
            setxattr: [missing, "user.x", ""], fsync: [writer], fdatasync: [writer], sync_file_range: [writer],
            fallocate: [writer, 1], ftruncate: [writer, 1], fadvise: [writer, :normal],
            madvise: [IO::Buffer.new(2), :normal, odd], read: [writer, 1],
            write: [reader, "x"], readv: [writer, [IO::Buffer.new(1)]], writev: [reader, ["x"]], recv: [reader, 1],
            send: [reader, "x"], recvmsg: [reader, 1], sendmsg: [reader, "x"], open: [missing], pipe: [1],
            close_descriptor: [9999], socket: [:INET, :STREAM, 255], bind: [reader, Addrinfo.tcp("127.0.0.1", 0)],
            listen: [reader], accept: [reader], connect: [reader, Addrinfo.tcp("127.0.0.1", 1)], shutdown: [reader],
            setsockopt: [reader, :SOCKET, :REUSEADDR, true],
            splice: [writer, writer, 1], tee: [writer, writer, 1], poll: [9999, IO::READABLE],
            waitid: [:pid, Process.ppid]
          }
          younger = %i[getxattr setxattr ftruncate pipe socket bind listen setsockopt waitid]
          lacking = younger.select { |name| backend == :io_uring && KernelNeeds.missing(name) }
          steps_that_fail.except(*lacking).each do |name, arguments|
            error = raised do
              ring.chain do |steps|
                steps.public_send(name, *arguments)
                steps.mkdir(made)
                steps.nop
              end
            end
            expect([name, error.class, File.exist?(made)]).to eq([name, UringIO::ChainError, false])
            expect([error.step.name, outcomes(error).last(2)]).to eq([name, [Errno::ECANCELED] * 2])
          end
        end
      end

      it "breaks at the very first step", needs: :direct_descriptors do
        everywhere do |ring|
          before = descriptors
          error = raised do
            ring.chain do |steps|
              file = steps.open("/missing")
              steps.send(unix_pair.last, steps.read(file, 9))
              steps.close(file)
            end
          end
          expect([error.step.name, error.cause.class]).to eq([:open, Errno::ENOENT])
          expect(outcomes(error)).to eq([Errno::ENOENT] + ([Errno::ECANCELED] * 3))
          expect(descriptors).to eq(before + 2)
        end
      end

      it "breaks at a step that transfers less than it should, and reports how much that was",
         needs: :direct_descriptors do
        everywhere do |ring|
          path = file_with("short")
          receiver, sender = unix_pair
          before = descriptors
          error = raised do
            ring.chain do |steps|
              file = steps.open(path)
              steps.send(sender, steps.read(file, 100))
              steps.close(file)
            end
          end
          expect([error.step.name, error.cause.class, error.cause.message]).to match([:read, UringIO::Error, /fewer/])
          expect(outcomes(error)).to eq([0, "short", Errno::ECANCELED, Errno::ECANCELED])
          expect([receiver.recv_nonblock(9, exception: false), descriptors]).to eq([:wait_readable, before])
        end
      end

      it "goes on after a short transfer with hardlink, and sends the full length", needs: :direct_descriptors do
        everywhere do |ring|
          path = file_with("short")
          receiver, sender = unix_pair
          results = ring.chain(hardlink: true) do |steps|
            file = steps.open(path)
            steps.send(sender, steps.read(file, 8))
            steps.close(file)
          end
          expect(results).to eq([0, "short", 8, nil])
          expect(receiver.recv(99)).to eq("short\0\0\0")
        end
      end

      it "goes on after a failure with hardlink, and raises when all steps have ended", needs: :mkdirat do
        everywhere do |ring|
          made = free_path
          error = raised do
            ring.chain(hardlink: true) do |steps|
              steps.rmdir("/missing")
              steps.mkdir(made)
              steps.rmdir("/missing as well")
            end
          end
          expect([error.step.index, error.cause.class, File.directory?(made)]).to eq([0, Errno::ENOENT, true])
          expect(outcomes(error)).to eq([Errno::ENOENT, nil, Errno::ENOENT])
        end
      end

      it "closes a step's file when a later step fails, also with hardlink", needs: :direct_descriptors do
        everywhere do |ring|
          path = file_with("x")
          before = descriptors
          [false, true].each do |hardlink|
            error = raised do
              ring.chain(hardlink:) do |steps|
                file = steps.open(path)
                steps.rmdir("/missing")
                steps.close(file)
              end
            end
            expect([error.step.name, descriptors]).to eq([:rmdir, before])
          end
        end
      end

      it "goes on when the block rescues the error of an invalid step", needs: :direct_descriptors do
        everywhere do |ring|
          path = file_with("")
          results = ring.chain do |steps|
            socket = steps.socket(:INET, :STREAM)
            expect { steps.connect(socket, 80) }.to raise_error(TypeError)
            file = steps.open(path, File::WRONLY)
            expect { steps.write(file, 1) }.to raise_error(TypeError)
            steps.write(file, "x")
            steps.stat(path)
          end
          expect([results[2], results[3].size]).to eq([1, 1])
        end
      end

      it "ends when its timeout passes", needs: :direct_descriptors do
        everywhere do |ring|
          receiver, sender = unix_pair
          buffer = IO::Buffer.new(4)
          before = descriptors
          made = free_path
          # Tries longer timeouts until the machine is fast enough to open something in that time.
          error = (1..).lazy.filter_map do |tries|
            error = raised do
              ring.chain(timeout: 0.01 * tries) do |steps|
                steps.open("/")
                steps.recv(receiver, buffer)
                steps.mkdir(made)
              end
            end
            error unless error.is_a?(UringIO::ChainError) && error.step.name == :open
          end.first
          expect(error).to be_a(UringIO::ChainError)
          expect([error.step.name, error.cause.class]).to eq([:recv, IO::TimeoutError])
          expect([File.exist?(made), buffer.locked?, descriptors]).to eq([false, false, before])
          sender.write("x")
          expect(ring.chain(timeout: 10) { |steps| steps.recv(receiver, 9) }).to eq(["x"])
        end
      end

      it "ends when somebody interrupts it, in any way", hurried: true, needs: :install do
        everywhere do |ring|
          receiver, sender = unix_pair
          path = file_with("x")
          buffer = IO::Buffer.new(4)
          before = descriptors
          made = free_path
          [false, true].product(endings).each do |hardlink, way|
            error = ended_by(way) do
              ring.chain(hardlink:) do |steps|
                file = steps.open(path)
                steps.install(file)
                steps.recv(receiver, buffer)
                steps.recv(receiver, 1)
                steps.mkdir(made) unless hardlink
              end
            end
            expect(error).to be_a(IndexError).or be_nil
            expect([way, buffer.locked?, descriptors, File.exist?(made)]).to eq([way, false, before, false])
          end
          sender.write("left")
          expect(ring.recv(receiver, 9)).to eq("left")
        end
      end

      it "leaves the process's own descriptors alone when it is interrupted", needs: :direct_descriptors do
        receiver, = unix_pair
        everywhere do |ring|
          # A step's descriptor does not belong to the process, whatever its number.
          before = Leaks::State.open_descriptors.slice("0", "1", "2")
          ended do
            ring.chain do |steps|
              file = steps.open("/")
              steps.socket(:INET)
              steps.close(file)
              steps.recv(receiver, 1)
            end
          end
          expect(Leaks::State.open_descriptors.slice("0", "1", "2")).to eq(before)
        end
      end

      it "does not confuse its descriptors with those of the process when a cancel names one of these",
         needs: :direct_descriptors do
        scheduled do
          with_ring do |ring|
            server = tcp_server
            error = nil
            waiting = Fiber.schedule do
              error = raised { ring.chain { |steps| steps.recv(steps.accept(server), 1) } }
            end
            closing(TCPSocket.new("127.0.0.1", server.local_address.ip_port))
            # On io_uring, the first of the chain's own descriptors has the number 0.
            expect(10.times.sum { ring.nop || ring.cancel(0) }).to eq(0)
            waiting.kill
            eventually { !waiting.alive? }
            expect(error).to be_nil
          end
        end
      end

      it "closes an installed descriptor when it is interrupted afterwards", needs: :install do
        receiver, = unix_pair
        everywhere do |ring|
          before = descriptors
          endings.each do |way|
            ended_by(way) do
              ring.chain do |steps|
                steps.install(steps.open("/"))
                steps.stat("/")
                steps.recv(receiver, 1)
              end
            end
            expect([way, descriptors]).to eq([way, before])
          end
        end
      end

      it "leaks neither the process's nor direct descriptors when chains break", needs: :direct_descriptors do
        path = file_with("x")
        everywhere do |ring|
          before = descriptors
          errors = Array.new(backend == :io_uring ? 5000 : 200) do
            raised do
              ring.chain do |steps|
                file = steps.open(path)
                steps.read(file, 5)
                steps.close(file)
              end
            end
          end
          expect(errors.map { |error| error.step.name }.uniq).to eq([:read])
          expect(descriptors).to eq(before)
          expect(ring.chain { |steps| steps.read(steps.open(path), 1) }).to eq([0, "x"])
        end
      end

      it "leaks no descriptors when chains are interrupted or leave files open", needs: :direct_descriptors do
        path = file_with("x")
        receiver, = unix_pair
        everywhere do |ring|
          before = descriptors
          200.times { ring.chain { |steps| 3.times { steps.open(path) } } }
          20.times do
            raised { ring.chain(timeout: 0.0005) { |steps| steps.open(path).then { steps.recv(receiver, 1) } } }
          end
          expect(descriptors).to eq(before)
        end
      end

      it "makes no call when there are more steps than the ring has entries" do
        path = free_path
        before = descriptors
        with_ring(entries: 4) do |ring|
          buffer = IO::Buffer.new(4)
          long = lambda do
            ring.chain do |steps|
              steps.mkdir(path)
              steps.read(pipe.first, buffer, timeout: nil)
              10.times { steps.nop }
              steps.rmdir(path)
            end
          end
          error = raised(&long)
          expect([error.class, error.message]).to match([ArgumentError, /at most 4 steps.*this one has 13/])
          expect([File.exist?(path), buffer.locked?]).to eq([false, false])
          expect(ring.chain { |steps| 4.times { steps.nop } }).to eq([nil] * 4)
        end
        expect(descriptors).to be >= before
      end

      it "returns an empty Array without steps" do
        everywhere { |ring| expect([ring.chain { nil }, ring.chain(timeout: 1) { |steps| steps }]).to eq([[], []]) }
      end

      it "refuses steps of other chains, steps that open nothing, and other objects", needs: :direct_descriptors do
        everywhere do |ring|
          path = file_with("x")
          other = nil
          ring.chain { |steps| other = steps.open(path) }
          {
            ArgumentError => [->(steps) { steps.read(steps.nop, 1) },
                              ->(steps) { steps.open(path).then { steps.read(other, 1) } },
                              ->(steps) { steps.read(other, 1) },
                              ->(steps) { steps.write($stdout, steps.nop) },
                              ->(steps) { steps.nop(timeout: 1) }],
            TypeError => [->(steps) { steps.close(5) }, ->(steps) { steps.close(steps.nop) },
                          ->(steps) { steps.install($stdin) }, ->(steps) { steps.close($stdin) },
                          ->(steps) { steps.open("x", dir: steps.open("/")) },
                          ->(steps) { steps.read("path", 1) }]
          }.each do |expected, cases|
            cases.each { |block| expect(raised { ring.chain(&block) }).to be_a(expected) }
          end
          expect(ring.chain { |steps| steps.read(steps.open(path), 1) }.last).to eq("x")
        end
      end

      it "refuses to close or install the file of another chain", needs: :direct_descriptors do
        everywhere do |ring|
          other = nil
          ring.chain { |steps| other = steps.open("/") }
          %i[close install].each do |name|
            expect(raised { ring.chain { |steps| steps.public_send(name, other) } }).to be_a(ArgumentError)
            expect(raised { ring.chain { |steps| steps.open("/").then { steps.public_send(name, other) } } })
              .to be_a(ArgumentError)
          end
        end
      end

      it "fails at a step on a file that an earlier step has closed", needs: :direct_descriptors do
        everywhere do |ring|
          path = file_with("x")
          error = raised do
            ring.chain do |steps|
              file = steps.open(path)
              steps.close(file)
              steps.read(file, 1)
            end
          end
          expect([error.step.name, error.cause.class]).to eq([:read, Errno::EBADF])
        end
      end

      it "makes no call when its block raises, and unlocks the buffers of its steps" do
        everywhere do |ring|
          path = free_path
          buffer = IO::Buffer.new(4)
          error = raised do
            ring.chain { |steps| [steps.mkdir(path), steps.read(pipe.first, buffer), raise(IndexError)] }
          end
          expect([error.class, File.exist?(path), buffer.locked?]).to eq([IndexError, false, false])
        end
      end

      it "works in many fibers at once, each with its own descriptors", needs: :direct_descriptors do
        paths = Array.new(50) { |number| file_with(format("%02d", number)) }
        scheduled do
          with_ring do |ring|
            read = {}
            paths.each_with_index do |path, number|
              Fiber.schedule do
                3.times do
                  _, bytes, = ring.chain do |steps|
                    file = steps.open(path)
                    steps.read(file, 2)
                    steps.timeout(0.0001 * (number % 5))
                    steps.close(file)
                  end
                  (read[number] ||= []) << bytes
                end
              end
            end
            eventually { read.values.sum(&:size) == 150 }
            expect(read.sort.map(&:last)).to eq(Array.new(50) { |number| [format("%02d", number)] * 3 })
          end
        end
      end

      it "works while another chain waits for it" do
        scheduled do
          with_ring do |ring|
            receiver, sender = unix_pair
            received = nil
            Fiber.schedule { received = ring.chain { |steps| steps.send(sender, steps.recv(receiver, 3)) } }
            ring.chain { |steps| steps.send(sender, "abc").then { steps.nop } }
            eventually { received }
            expect(received).to eq(["abc", 3])
          rescue UringIO::ChainError => error
            raise error.cause
          end
        end
      end

      it "raises an error that names the step in its message and in its inspect" do
        with_ring do |ring|
          error = raised { ring.chain { |steps| steps.unlink("/missing") } }
          expect(error.step.inspect).to match(/0: unlink/)
          expect(error.full_message(highlight: false)).to match(/unlink/)
        end
      end
    end
  end

  each_backend(only: [:io_uring]) do
    def calls_of(ring)
      before = ring.stats.system_calls
      yield
      ring.stats.system_calls - before
    end

    # The first completion may end a wait: before Linux 6.12 at any time, since then after 10 ms. So a chain takes one
    # system call at best, and a slow machine needs some tries.
    def made_by_one_call?(ring, &)
      (1..100).any? { calls_of(ring, &) == 1 }
    end

    it "makes a chain with one system call", needs: :direct_descriptors do
      path = file_with("content")
      _receiver, sender = unix_pair
      with_ring do |ring|
        chain = lambda do
          ring.chain do |steps|
            file = steps.open(path)
            steps.send(sender, steps.read(file, 7))
            steps.close(file)
          end
        end
        chain.call
        before = ring.stats.submissions
        expect(chain.call).to eq([0, "content", 7, nil])
        expect(ring.stats.submissions - before).to be_between(4, 5)
        expect(made_by_one_call?(ring, &chain)).to be(true)
      end
    end

    it "waits in between for steps whose failure the kernel would not notice" do
      file = closing(File.open(free_path, "w+"))
      with_ring do |ring|
        save = lambda do |hardlink|
          ring.chain(hardlink:) do |steps|
            steps.write(file, "content", offset: 0)
            steps.fsync(file)
            steps.nop
          end
        end
        expect([true, false].map { |hardlink| save.call(hardlink) }).to eq([[7, nil, nil]] * 2)
        expect(made_by_one_call?(ring) { save.call(true) }).to be(true)
        expect(Array.new(5) { calls_of(ring) { save.call(false) } }).to all(be > 1)
      end
    end

    it "fails when all direct descriptors of the ring are in use, and works afterwards", needs: :direct_descriptors do
      with_ring(entries: 4096) do |ring|
        error = raised { ring.chain { |steps| 4097.times { steps.open("/") } } }
        expect(error).to be_a(ArgumentError).or be_a(Errno::ENFILE)
        expect(ring.chain { |steps| steps.open("/") }).to eq([0])
      end
    end
  end
end

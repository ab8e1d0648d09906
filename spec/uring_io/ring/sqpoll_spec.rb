# frozen_string_literal: true

RSpec.describe UringIO::Ring do
  each_backend(only: [:io_uring]) do
    # A ring with a polling kernel thread. It warns on machines with few CPUs, where that thread takes one of them.
    def polled_ring(**)
      ring = described_class.new(backend:, sqpoll: true, **)
      $stderr.string.clear if $stderr.string.match?(/sqpoll/i)
      yield ring
    ensure
      ring&.close
    end

    describe "sqpoll: true" do
      it "refuses calls that the polling thread would make as the process's former user",
         needs: :setsockopt do
        skip "only root may become somebody else" unless Process.euid.zero?

        result = child(<<~RUBY, file_with("secret").tap { |path| File.chmod(0o600, path) })
          $VERBOSE = nil # there may be few CPUs
          path = ARGV[0]
          polled, plain = UringIO::Ring.new(sqpoll: true), UringIO::Ring.new(backend: :io_uring)
          opened, socket = polled.open(path), UDPSocket.new
          Process::UID.change_privilege(65_534)
          puts polled.read(opened, 6)
          attempts = [-> { polled.open(path) }, -> { polled.batch! { |b| b.open(path) } },
                      -> { polled.chain { |c| c.open(path) } }, -> { plain.open(path) },
                      -> { polled.setsockopt(socket, :SOCKET, :MARK, 1) },
                      -> { plain.setsockopt(socket, :SOCKET, :MARK, 1) }]
          attempts.each do |attempt|
            attempt.call
            puts "done"
          rescue SystemCallError, UringIO::Error => error
            puts error.message
          end
        RUBY
        expect(result.stderr).to eq("")
        refused = [/openat would run as the user .*sqpoll/] * 3
        options = [/setsockopt would run as the user .*sqpoll/, /Operation not permitted/]
        expect(result.stdout.lines(chomp: true)).to match(["secret", *refused, /Permission denied/, *options])
      end

      it "warns on machines with two CPUs or fewer" do
        described_class.new(backend:, sqpoll: true).close
        if Etc.nprocessors <= 2
          expect($stderr.string).to match(/CPU/)
          $stderr.string.clear
        else
          expect($stderr.string).to eq("")
        end
      end

      it "makes calls, batches, chains and streams like any other ring", needs: :direct_descriptors do
        path = file_with("0123456789")
        polled_ring(sqpoll_idle: 0.05) do |ring|
          file = closing(File.open(path))
          receiver, sender = unix_pair
          expect(ring.read(file, 4, offset: 2)).to eq("2345")
          expect(ring.batch { |calls| 20.times { |at| calls.read(file, 1, offset: at % 10) } }.join)
            .to eq("01234567890123456789")
          results = ring.chain do |steps|
            opened = steps.open(path)
            steps.send(sender, steps.read(opened, 10))
            steps.close(opened)
          end
          expect(results).to eq([0, "0123456789", 10, nil])
          expect(ring.recv_each(receiver).first).to eq("0123456789")
          expect(raised { ring.recv(receiver, 1, timeout: 0.01) }).to be_a(IO::TimeoutError)
          expect(ended { ring.recv(receiver, 1) }).to be_a(IndexError)
          expect(raised { ring.stat("/missing") }).to be_a(Errno::ENOENT)
        end
      end

      it "wakes its kernel thread when that has gone to sleep" do
        polled_ring(sqpoll_idle: 0.001) do |ring|
          results = Array.new(5) do
            ring.timeout(0.005)
            ring.nop
          end
          expect(results).to eq([nil] * 5)
        end
      end

      it "makes next to no system calls for steady work" do
        file = closing(File.open(file_with("x" * 4096)))
        polled_ring(sqpoll_idle: 2) do |ring|
          20.times { ring.read(file, 64, offset: 0) }
          calls = Array.new(5) do
            before = ring.stats
            50.times { ring.read(file, 64, offset: 0) }
            after = ring.stats
            expect(after.submissions - before.submissions).to be >= 50
            after.system_calls - before.system_calls
          end
          # At times the kernel's thread gets no CPU, because other programs run as well.
          expect(calls.min).to be <= 10
        end
      end

      it "does not poll in the fibers of a scheduler without sqpoll, which use the scheduler's ring" do
        scheduled do
          polled_ring { |ring| expect(ring.nop).to be_nil }
        end
      end

      it "refuses invalid times and CPUs" do
        senseless = [{ sqpoll_idle: -1 }, { sqpoll_cpu: -1 }, { sqpoll_cpu: 100_000 }, { sqpoll_idle: Float::NAN }]
        senseless.each do |options|
          error = raised { described_class.new(backend:, sqpoll: true, **options).close }
          expect(error).to be_a(ArgumentError).or be_a(RangeError).or be_a(SystemCallError)
            .or be_a(UringIO::UnsupportedError)
        end
        expect(raised { described_class.new(backend:, sqpoll: true, sqpoll_idle: "x") }).to be_a(TypeError)
        $stderr.string.clear
      end
    end
  end

  each_backend(only: %i[epoll poll select]) do
    it "has no polling kernel thread, and gives the reason" do
      error = raised { described_class.new(backend:, sqpoll: true) }
      expect([error.class, error.message]).to match([UringIO::UnsupportedError, /sqpoll/i])
    end
  end
end

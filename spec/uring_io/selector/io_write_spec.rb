# frozen_string_literal: true

RSpec.describe "UringIO::Selector#io_write" do
  again = -Errno::EAGAIN::Errno
  invalid = -Errno::EINVAL::Errno

  # A background thread that reads all bytes of the IO until its end.
  def received_from(io)
    in_background { io.read.b }
  end

  each_selector do
    it "writes the buffer's content, and returns the number of bytes" do
      selecting do |selector, _|
        [pipe, unix_pair, tcp_pair].each do |input, output|
          buffer = IO::Buffer.for("abcdef")
          expect(served(selector) { write_from(selector, output, buffer, 6) }).to eq(6)
          expect(input.readpartial(10)).to eq("abcdef")
        end
      end
    end

    it "begins at the offset" do
      selecting do |selector, _|
        reader, writer = pipe
        expect(served(selector) { write_from(selector, writer, IO::Buffer.for("abcdef"), 4, 2) }).to eq(4)
        expect(reader.read_nonblock(10)).to eq("cdef")
      end
    end

    it "writes a file from its position on, advances the position, and appends with O_APPEND" do
      selecting do |selector, _|
        path = file_with("0123456789")
        file = closing(File.open(path, "r+"))
        file.sysseek(2)
        2.times { expect(served(selector) { write_from(selector, file, IO::Buffer.for("ab"), 2) }).to eq(2) }
        expect(File.binread(path)).to eq("01abab6789")
        file = closing(File.open(path, "a"))
        served(selector) { write_from(selector, file, IO::Buffer.for("end"), 3) }
        expect(File.binread(path)).to eq("01abab6789end")
      end
    end

    it "returns 0 for an offset at the buffer's end, and -EINVAL for an offset beyond it" do
      selecting do |selector, _|
        reader, writer = pipe
        buffer = IO::Buffer.for("abcd")
        results = [4, 5, 2**30].map { |offset| served(selector) { write_from(selector, writer, buffer, 0, offset) } }
        expect(results).to eq([0, invalid, invalid])
        expect(served(selector) { write_from(selector, writer, IO::Buffer.new(0), 0) }).to eq(0)
        expect(reader.read_nonblock(1, exception: false)).to eq(:wait_readable)
      end
    end

    it "returns the negative errno for an IO that cannot be written" do
      selecting do |selector, _|
        reader, = pipe
        buffer = IO::Buffer.for("abc")
        expect(served(selector) { write_from(selector, reader, buffer, 3) }).to eq(-Errno::EBADF::Errno)
        reader, writer = pipe
        reader.close
        expect(served(selector) { write_from(selector, writer, buffer, 3) }).to eq(-Errno::EPIPE::Errno)
        socket, peer = unix_pair
        peer.close
        expect(served(selector) { write_from(selector, socket, buffer, 3) }).to eq(-Errno::EPIPE::Errno)
        full = closing(File.open("/dev/full", "w"))
        expect(served(selector) { write_from(selector, full, buffer, 3) }).to eq(-Errno::ENOSPC::Errno)
      end
    end

    it "returns -EBADF for an open IO whose descriptor is closed" do
      selecting do |selector, _|
        _, writer = pipe
        bad = IO.for_fd(writer.fileno, "w", autoclose: false)
        writer.close
        result = served(selector) { write_from(selector, bad, IO::Buffer.for("abc"), 3) }
        expect(result).to eq(-Errno::EBADF::Errno)
      end
    end

    it "raises for a closed IO, and for other objects than IO and IO::Buffer" do
      selecting do |selector, _|
        _, writer = pipe
        buffer = IO::Buffer.for("abc")
        writing = lambda do |io, memory|
          task = started { write_from(selector, io, memory, 1) }
          run_what_can(selector)
          task.error
        end
        expect(writing.call(writer, "a string")).to be_a(StandardError)
        expect(writing.call(writer, nil)).to be_a(StandardError)
        expect(writing.call("writer", buffer)).to be_a(StandardError)
        writer.close
        expect(writing.call(writer, buffer)).to be_a(IOError)
      end
    end

    it "writes from a buffer that is already locked, as the buffers of Ruby's own calls are" do
      selecting do |selector, _|
        reader, writer = pipe
        buffer = IO::Buffer.new(3)
        buffer.set_string("abc")
        buffer.locked do
          expect(served(selector) { write_from(selector, writer, buffer, 3) }).to eq(3)
          expect(buffer).to be_locked
        end
        expect(buffer).not_to be_locked
        expect(reader.read_nonblock(10)).to eq("abc")
      end
    end

    it "leaves O_NONBLOCK as it was" do
      selecting do |selector, _|
        [pipe, blocking_pipe].each do |_, writer|
          before = nonblocking?(writer)
          expect(served(selector) { write_from(selector, writer, IO::Buffer.for("abc"), 3) }).to eq(3)
          expect(nonblocking?(writer)).to be(before)
        end
      end
    end

    it "writes megabytes, in as many transfers as it takes" do
      selecting do |selector, _|
        [pipe, unix_pair, tcp_pair].each do |input, output|
          content = pattern(3_000_000)
          receiver = received_from(input)
          buffer = IO::Buffer.for(content)
          total = 0
          while total < content.bytesize
            count = served(selector) { write_from(selector, output, buffer, content.bytesize - total, total) }
            if count == again
              served(selector) { wait_for(selector, output, IO::WRITABLE) }
              next
            end
            expect(count).to be_positive
            total += count
          end
          output.close
          expect(receiver.value == content).to be(true)
        end
      end
    end

    if Contract::OFFSET_FIRST
      it "writes at most the length, in one transfer" do
        selecting do |selector, _|
          reader, writer = pipe
          expect(served(selector) { write_from(selector, writer, IO::Buffer.for("abcdef"), 2, 1) }).to eq(2)
          expect(reader.read_nonblock(10)).to eq("bc")
          large = IO::Buffer.new(1_000_000)
          expect(served(selector) { write_from(selector, writer, large, 1_000_000) }).to be_between(1, 999_999)
        end
      end

      it "writes nothing for a length of 0, and returns -EINVAL for a length beyond the buffer" do
        selecting do |selector, _|
          reader, writer = pipe
          buffer = IO::Buffer.for("abcd")
          ranges = [[0, 0], [0, 4], [5, 0], [1, 4], [3, 2]]
          results = ranges.map { |range| started { write_from(selector, writer, buffer, *range) }.value }
          expect(results).to eq([0, 0, invalid, invalid, invalid])
          expect(reader.read_nonblock(1, exception: false)).to eq(:wait_readable)
        end
      end
    else
      it "uses offset 0 when the caller gives none" do
        selecting do |selector, _|
          reader, writer = pipe
          expect(served(selector) { selector.io_write(Fiber.current, writer, IO::Buffer.for("abc"), 3) }).to eq(3)
          expect(reader.read_nonblock(10)).to eq("abc")
        end
      end

      it "returns 0 for an offset at the buffer's end even when the IO is closed" do
        selecting do |selector, _|
          _, writer = pipe
          writer.close
          expect(started { write_from(selector, writer, IO::Buffer.for("abcd"), 0, 4) }.value).to eq(0)
        end
      end

      it "writes the bytes from the offset to the buffer's end when the length exceeds the buffer" do
        selecting do |selector, _|
          [pipe, unix_pair].each do |input, output|
            buffer = IO::Buffer.for("abcdefgh")
            results = [[8, 4], [2, 7], [1, 8], [8, 8]].map do |range|
              served(selector) { write_from(selector, output, buffer, *range) }
            end
            expect(results).to eq([4, 1, 0, 0])
            expect(input.read_nonblock(20)).to eq("efghh")
          end
        end
      end

      it "refuses a length beyond the buffer, by an exception or -EINVAL",
         io_event: { Select: "writes what there is" } do
        selecting do |selector, _|
          reader, writer = pipe
          task = started { write_from(selector, writer, IO::Buffer.for("abcd"), 5) }
          run_what_can(selector)
          expect(task.error || task.value).to be_a(StandardError).or eq(invalid)
          expect(reader.read_nonblock(1, exception: false)).to eq(:wait_readable)
        end
      end

      describe "with a length" do
        it "waits until it has written that many bytes" do
          selecting do |selector, _|
            [pipe, unix_pair, tcp_pair].each do |input, output|
              content = pattern(5_000_000)
              task = started { write_from(selector, output, IO::Buffer.for(content), content.bytesize) }
              run_what_can(selector)
              expect(task).not_to be_done
              receiver = received_from(input)
              expect(finished(selector, task)).to eq(5_000_000)
              output.close
              expect(receiver.value == content).to be(true)
            end
          end
        end

        it "waits on a descriptor without O_NONBLOCK as well, while other fibers run" do
          selecting do |selector, _|
            reader, writer = blocking_pipe
            content = pattern(300_000)
            task = started { write_from(selector, writer, IO::Buffer.for(content), content.bytesize) }
            ran = false
            selector.push(Fiber.new { ran = true })
            run_what_can(selector)
            expect([ran, task.done?]).to eq([true, false])
            receiver = received_from(reader)
            expect(finished(selector, task)).to eq(300_000)
            expect(nonblocking?(writer)).to be(false)
            writer.close
            expect(receiver.value == content).to be(true)
          end
        end

        it "goes on waiting when somebody resumes the fiber without an event" do
          selecting do |selector, _|
            [pipe, unix_pair].each do |input, output|
              size = fill(output)
              task = started { write_from(selector, output, IO::Buffer.for("abcd"), 4) }
              3.times do
                selector.select(0)
                task.fiber.transfer
                expect(task).not_to be_done
              end
              input.read(size)
              expect(finished(selector, task)).to eq(4)
              expect(input.readpartial(10)).to eq("abcd")
            end
          end
        end

        it "returns -EPIPE when the reader closes meanwhile", io_event_hangs: { EPoll: "spins" } do
          selecting do |selector, _|
            reader, writer = pipe
            fill(writer)
            task = started { write_from(selector, writer, IO::Buffer.for("abcd"), 4) }
            run_what_can(selector)
            reader.close
            expect(finished(selector, task)).to eq(-Errno::EPIPE::Errno)
          end
        end
      end

      describe "with a length of 0" do
        it "writes as much as there is room for" do
          selecting do |selector, _|
            reader, writer = pipe
            expect(served(selector) { write_from(selector, writer, IO::Buffer.for("abcdef"), 0, 2) }).to eq(4)
            expect(reader.read_nonblock(10)).to eq("cdef")
          end
        end

        it "returns -EAGAIN without room, or waits until it has written all; never 0" do
          selecting do |selector, _|
            [pipe, blocking_pipe, unix_pair].each do |input, output|
              content = pattern(2_000_000)
              buffer = IO::Buffer.for(content)
              task = started { write_from(selector, output, buffer, 0) }
              run_what_can(selector)
              receiver = received_from(input)
              count = finished(selector, task)
              expect(count).to be_between(1, 2_000_000)
              rest = 2_000_000 - count
              finished(selector, started { write_from(selector, output, buffer, rest, count) }) if rest.positive?
              output.close
              expect(receiver.value == content).to be(true)
            end
          end
        end

        it "does not block on a full pipe" do
          selecting do |selector, _|
            [pipe, blocking_pipe].each do |reader, writer|
              writer.write("x" * 65_536)
              task = started { write_from(selector, writer, IO::Buffer.for("abcd"), 0) }
              run_what_can(selector)
              expect(task.value).to eq(again) if task.done?
              reader.readpartial(65_536)
              next if task.done?

              expect(finished(selector, task)).to eq(4)
            end
          end
        end
      end

      describe "when another fiber kills the writing fiber or raises into it" do
        { "raised into" => ->(fiber) { fiber.raise(IndexError, "from outside") },
          "killed" => lambda(&:kill) }.each do |how, interrupt|
          it "ends a fiber that was #{how}, and writes no more bytes of its buffer" do
            selecting do |selector, _|
              [pipe, unix_pair, tcp_pair].each do |input, output|
                content = pattern(5_000_000)
                ended = []
                fiber = Fiber.new do
                  write_from(selector, output, IO::Buffer.for(content), content.bytesize)
                rescue IndexError => error
                  ended << error.message
                ensure
                  ended << :ensure
                end
                fiber.transfer
                run_what_can(selector)
                interrupt.call(fiber)
                run_until(selector) { ended.include?(:ensure) }
                expect(ended).to eq(how == "killed" ? [:ensure] : ["from outside", :ensure])
                receiver = received_from(input)
                run_what_can(selector)
                output.close
                received = receiver.value
                expect(received.bytesize).to be_between(1, 4_999_999)
                expect(content.start_with?(received)).to be(true)
              end
            end
          end
        end
      end

      it "lets several fibers write to the same output, each once" do
        selecting do |selector, _|
          input, output = pipe
          size = fill(output)
          tasks = %w[aaaa bbbb cccc dddd].map do |text|
            started { write_from(selector, output, IO::Buffer.for(text), 4) }
          end
          run_what_can(selector)
          input.read(size)
          run_until(selector) { tasks.all?(&:done?) }
          expect(tasks.map(&:value)).to all(eq(4))
          expect(input.readpartial(100).scan(/..../).sort).to eq(%w[aaaa bbbb cccc dddd])
        end
      end
    end

    it "transfers data between two fibers of one selector, in both directions" do
      selecting do |selector, _|
        here, there = unix_pair
        content = pattern(1_000_000)
        results = {}
        carry = lambda do |from, to, name|
          send = started do
            total = 0
            while total < content.bytesize
              count = write_from(selector, from, IO::Buffer.for(content), content.bytesize - total, total)
              count == again ? wait_for(selector, from, IO::WRITABLE) : total += count
            end
          end
          receive = started do
            buffer = IO::Buffer.new(content.bytesize)
            total = 0
            while total < content.bytesize
              count = read_into(selector, to, buffer, content.bytesize - total, total)
              count == again ? wait_for(selector, to, IO::READABLE) : total += count
            end
            results[name] = buffer.get_string
          end
          [send, receive]
        end
        tasks = carry.call(here, there, :out) + carry.call(there, here, :back)
        run_until(selector) { tasks.all?(&:done?) }
        expect(tasks.map(&:error)).to all(be_nil)
        expect(results.values).to all(satisfy("be whole") { |text| text == content })
      end
    end
  end

  each_own_selector do
    it "writes everything even with a length of 0: up to Ruby 4.0 a flush loses the rest of a partial write" do
      selecting do |selector, _|
        skip "this Ruby's writes do not wait" if Contract::OFFSET_FIRST

        input, output = unix_pair
        content = pattern(2_000_000)
        task = started { write_from(selector, output, IO::Buffer.for(content), 0) }
        receiver = received_from(input)
        expect(finished(selector, task)).to eq(2_000_000)
        output.close
        expect(receiver.value == content).to be(true)
      end
    end

    describe "under the contract that this Ruby does not use" do
      it "takes offset and length in the other order, with the other meaning" do
        selecting do |selector, _|
          selector.send(:contract=, Contract::OTHER)
          reader, writer = pipe
          write = lambda do |*numbers|
            served(selector) { selector.io_write(Fiber.current, writer, IO::Buffer.for("abcdef"), *numbers) }
          end
          if Contract::OFFSET_FIRST
            expect([write.call(0, 4), reader.read_nonblock(10)]).to eq([2, "ef"])
          else
            expect([write.call(4, 1), reader.read_nonblock(10)]).to eq([1, "e"])
            expect([write.call(3, 0), write.call(6, 0), write.call(7, 0),
                    write.call(4, 3)]).to eq([0, 0, invalid, invalid])
            fill(writer)
            expect(write.call(0, 6)).to eq(again)
          end
        end
      end
    end
  end
end

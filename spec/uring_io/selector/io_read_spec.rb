# frozen_string_literal: true

RSpec.describe "UringIO::Selector#io_read" do
  again = -Errno::EAGAIN::Errno
  invalid = -Errno::EINVAL::Errno

  each_selector do
    it "reads the available bytes into the buffer's beginning, and returns how many" do
      selecting do |selector, _|
        [pipe, unix_pair, tcp_pair].each do |input, output|
          output.syswrite("abc")
          input.wait_readable
          buffer = IO::Buffer.new(8)
          expect(served(selector) { read_into(selector, input, buffer, 3) }).to eq(3)
          expect(buffer.get_string).to eq("abc\0\0\0\0\0")
        end
      end
    end

    it "stores from the offset on, and leaves the bytes before it alone" do
      selecting do |selector, _|
        reader, writer = pipe
        writer.syswrite("abc")
        buffer = IO::Buffer.new(8)
        buffer.set_string("........")
        expect(served(selector) { read_into(selector, reader, buffer, 3, 2) }).to eq(3)
        expect(buffer.get_string).to eq("..abc...")
      end
    end

    it "never reads more than the buffer has room for" do
      selecting do |selector, _|
        reader, writer = pipe
        writer.syswrite("abcdefgh")
        buffer = IO::Buffer.new(6)
        expect(served(selector) { read_into(selector, reader, buffer, 2, 4) }).to eq(2)
        expect(buffer.get_string).to eq("\0\0\0\0ab")
        expect(reader.read_nonblock(10)).to eq("cdefgh")
      end
    end

    it "returns 0 at the end of the input" do
      selecting do |selector, _|
        [pipe, unix_pair, tcp_pair].each do |input, output|
          output.close
          input.wait_readable
          expect(served(selector) { read_into(selector, input, IO::Buffer.new(8), 4) }).to eq(0)
        end
        file = closing(File.open(file_with("")))
        expect(served(selector) { read_into(selector, file, IO::Buffer.new(8), 4) }).to eq(0)
      end
    end

    it "reads a file from its position on, and advances the position" do
      selecting do |selector, _|
        file = closing(File.open(file_with("0123456789")))
        buffer = IO::Buffer.new(4)
        texts = Array.new(3) do
          count = served(selector) { read_into(selector, file, buffer, 4) }
          buffer.get_string(0, count)
        end
        expect(texts).to eq(%w[0123 4567 89])
        file.sysseek(2)
        served(selector) { read_into(selector, file, buffer, 4) }
        expect(buffer.get_string).to eq("2345")
      end
    end

    it "returns 0 for an offset at the buffer's end, and -EINVAL for an offset beyond it" do
      selecting do |selector, _|
        reader, writer = pipe
        writer.syswrite("x")
        buffer = IO::Buffer.new(4)
        results = [4, 5, 2**30].map { |offset| served(selector) { read_into(selector, reader, buffer, 0, offset) } }
        expect(results).to eq([0, invalid, invalid])
        expect(served(selector) { read_into(selector, reader, IO::Buffer.new(0), 0) }).to eq(0)
        expect(reader.read_nonblock(1)).to eq("x")
      end
    end

    it "returns the negative errno for an IO that cannot be read" do
      selecting do |selector, _|
        _, writer = pipe
        buffer = IO::Buffer.new(8)
        expect(served(selector) { read_into(selector, writer, buffer, 1) }).to eq(-Errno::EBADF::Errno)
        directory = closing(File.open("/"))
        expect(served(selector) { read_into(selector, directory, buffer, 1) }).to eq(-Errno::EISDIR::Errno)
        expect(served(selector) { read_into(selector, tcp_server, buffer, 1) }).to eq(-Errno::ENOTCONN::Errno)
      end
    end

    it "returns -EBADF for an open IO whose descriptor is closed" do
      selecting do |selector, _|
        reader, = pipe
        bad = IO.for_fd(reader.fileno, autoclose: false)
        reader.close
        expect(served(selector) { read_into(selector, bad, IO::Buffer.new(8), 1) }).to eq(-Errno::EBADF::Errno)
      end
    end

    it "raises for a closed IO, for other objects than IO and IO::Buffer, and for a read-only buffer" do
      selecting do |selector, _|
        reader, writer = pipe
        writer.syswrite("x")
        buffer = IO::Buffer.new(8)
        reading = lambda do |io, memory|
          task = started { read_into(selector, io, memory, 1) }
          run_what_can(selector)
          task.error
        end
        expect(reading.call(reader, IO::Buffer.for("constant"))).to be_a(IO::Buffer::AccessError)
        expect(reading.call(reader, "a string")).to be_a(StandardError)
        expect(reading.call(reader, nil)).to be_a(StandardError)
        expect(reading.call("reader", buffer)).to be_a(StandardError)
        reader.close
        expect(reading.call(reader, buffer)).to be_a(IOError)
        expect(buffer).not_to be_locked
      end
    end

    it "reads into a buffer that is already locked, as the buffers of Ruby's own calls are" do
      selecting do |selector, _|
        reader, writer = pipe
        writer.syswrite("abc")
        buffer = IO::Buffer.new(8)
        buffer.locked do
          expect(served(selector) { read_into(selector, reader, buffer, 1) }).to eq(3)
          expect(buffer).to be_locked
        end
        expect(buffer).not_to be_locked
        expect(buffer.get_string(0, 3)).to eq("abc")
      end
    end

    it "leaves O_NONBLOCK as it was" do
      selecting do |selector, _|
        [pipe, blocking_pipe].each do |reader, writer|
          before = nonblocking?(reader)
          writer.syswrite("abc")
          expect(served(selector) { read_into(selector, reader, IO::Buffer.new(8), 1) }).to eq(3)
          expect(nonblocking?(reader)).to be(before)
        end
      end
    end

    it "fills megabytes, in as many transfers as it takes" do
      selecting do |selector, _|
        [pipe, unix_pair, tcp_pair].each do |input, output|
          content = pattern(3_000_000)
          sender = in_background { output.write(content) && output.close }
          buffer = IO::Buffer.new(4_000_000)
          total = 0
          loop do
            count = served(selector) { read_into(selector, input, buffer, 1, total) }
            if count == again
              served(selector) { wait_for(selector, input, IO::READABLE) }
              next
            end
            break unless count.positive?

            total += count
          end
          sender.join
          expect(total).to eq(3_000_000)
          expect(buffer.get_string(0, total) == content).to be(true)
        end
      end
    end

    if Contract::OFFSET_FIRST
      it "needs all five arguments" do
        selecting do |selector, _|
          reader, = pipe
          expect(started { selector.io_read(Fiber.current, reader, IO::Buffer.new(4), 0) }.error)
            .to be_an(ArgumentError)
        end
      end

      it "reads at most the length, in one transfer" do
        selecting do |selector, _|
          reader, writer = pipe
          writer.syswrite("abcdef")
          buffer = IO::Buffer.new(8)
          expect(served(selector) { read_into(selector, reader, buffer, 3, 1) }).to eq(3)
          expect(served(selector) { read_into(selector, reader, buffer, 4, 4) }).to eq(3)
          expect(buffer.get_string).to eq("\0abcdef\0")
        end
      end

      it "reads nothing for a length of 0" do
        selecting do |selector, _|
          reader, writer = pipe
          writer.syswrite("x")
          task = started { read_into(selector, reader, IO::Buffer.new(4), 0, 4) }
          expect(task.value).to eq(0)
          expect(started { read_into(selector, reader, IO::Buffer.new(4), 0) }.value).to eq(0)
          expect(reader.read_nonblock(1)).to eq("x")
        end
      end

      it "returns -EINVAL for a length beyond the buffer" do
        selecting do |selector, _|
          reader, = pipe
          [[5, 0], [1, 4], [3, 2], [0, 5]].each do |length, offset|
            expect(started { read_into(selector, reader, IO::Buffer.new(4), length, offset) }.value).to eq(invalid)
          end
        end
      end

      it "returns -EAGAIN for a pipe without input" do
        selecting do |selector, _|
          reader, = pipe
          expect(started { read_into(selector, reader, IO::Buffer.new(4), 4) }.value).to eq(again)
        end
      end
    else
      it "uses offset 0 when the caller gives none" do
        selecting do |selector, _|
          reader, writer = pipe
          writer.syswrite("abc")
          buffer = IO::Buffer.new(4)
          expect(served(selector) { selector.io_read(Fiber.current, reader, buffer, 1) }).to eq(3)
          expect(buffer.get_string).to eq("abc\0")
        end
      end

      it "returns 0 for an offset at the buffer's end even when the IO is closed" do
        selecting do |selector, _|
          reader, = pipe
          reader.close
          expect(started { read_into(selector, reader, IO::Buffer.new(4), 0, 4) }.value).to eq(0)
        end
      end

      it "fills the rest of the buffer when the length exceeds it" do
        selecting do |selector, _|
          [pipe, unix_pair].each do |input, output|
            { [8, 4] => "....abcd", [9, 0] => "abcdefgh", [2**40, 7] => ".......a" }.each do |range, text|
              buffer = IO::Buffer.new(8).tap { |memory| memory.set_string("." * 8) }
              task = started { read_into(selector, input, buffer, *range) }
              run_what_can(selector)
              expect(task).not_to be_done
              output.syswrite("abcdefgh"[0, 8 - range.last])
              expect([finished(selector, task), buffer.get_string]).to eq([8 - range.last, text])
            end
            at_end = [1, 2**40].map { |length| started { read_into(selector, input, IO::Buffer.new(8), length, 8) } }
            expect(at_end.map(&:value)).to eq([0, 0])
          end
        end
      end

      describe "with a length" do
        it "waits for at least that many bytes, over as many transfers as it takes" do
          selecting do |selector, _|
            [pipe, unix_pair, tcp_pair].each do |input, output|
              buffer = IO::Buffer.new(8)
              task = started { read_into(selector, input, buffer, 5) }
              %w[a bc d].each do |part|
                run_what_can(selector)
                expect(task).not_to be_done
                output.syswrite(part)
              end
              run_what_can(selector)
              expect(task).not_to be_done
              output.syswrite("e")
              expect(finished(selector, task)).to eq(5)
              expect(buffer.get_string(0, 5)).to eq("abcde")
            end
          end
        end

        it "may read more, up to the buffer's end" do
          selecting do |selector, _|
            reader, writer = pipe
            buffer = IO::Buffer.new(8)
            task = started { read_into(selector, reader, buffer, 2, 1) }
            run_what_can(selector)
            writer.syswrite("abcdefghij")
            count = finished(selector, task)
            expect(count).to be_between(2, 7)
            expect(buffer.get_string(1, count)).to eq("abcdefg"[0, count])
            expect(reader.read_nonblock(10)).to eq("abcdefghij"[count..])
          end
        end

        it "returns the bytes that it has when the input ends early" do
          selecting do |selector, _|
            reader, writer = pipe
            buffer = IO::Buffer.new(8)
            task = started { read_into(selector, reader, buffer, 5) }
            writer.syswrite("ab")
            run_what_can(selector)
            expect(task).not_to be_done
            writer.close
            expect(finished(selector, task)).to eq(2)
            expect(buffer.get_string(0, 2)).to eq("ab")
          end
        end

        it "waits on a descriptor without O_NONBLOCK as well, while other fibers run" do
          selecting do |selector, _|
            reader, writer = blocking_pipe
            task = started { read_into(selector, reader, IO::Buffer.new(8), 1) }
            selector.push(Fiber.new { writer.syswrite("abc") })
            expect(finished(selector, task)).to eq(3)
            expect(nonblocking?(reader)).to be(false)
          end
        end

        it "goes on waiting when somebody resumes the fiber without an event" do
          selecting do |selector, _|
            [pipe, unix_pair].each do |input, output|
              buffer = IO::Buffer.new(8)
              task = started { read_into(selector, input, buffer, 2) }
              3.times do
                selector.select(0)
                task.fiber.transfer
                expect(task).not_to be_done
              end
              output.syswrite("ab")
              expect(finished(selector, task)).to eq(2)
              expect(buffer.get_string(0, 2)).to eq("ab")
            end
          end
        end
      end

      describe "with a length of 0" do
        it "makes one attempt, for as much as the buffer has room" do
          selecting do |selector, _|
            reader, writer = pipe
            writer.syswrite("abc")
            buffer = IO::Buffer.new(8)
            expect(served(selector) { read_into(selector, reader, buffer, 0, 1) }).to eq(3)
            expect(buffer.get_string).to eq("\0abc\0\0\0\0")
          end
        end

        it "returns -EAGAIN instead of waiting, as read_nonblock expects" do
          selecting do |selector, _|
            [pipe, blocking_pipe].each do |reader, _|
              task = started { read_into(selector, reader, IO::Buffer.new(8), 0) }
              run_what_can(selector)
              expect(task.value).to eq(again)
            end
          end
        end

        it "returns -EAGAIN on a socket without input, or waits for input" do
          selecting do |selector, _|
            [unix_pair, tcp_pair].each do |input, output|
              task = started { read_into(selector, input, IO::Buffer.new(8), 0) }
              run_what_can(selector)
              output.syswrite("abc") unless task.done?
              expect(finished(selector, task)).to eq(again).or eq(3)
            end
          end
        end

        it "returns 0 at the end of the input" do
          selecting do |selector, _|
            reader, writer = pipe
            writer.close
            expect(served(selector) { read_into(selector, reader, IO::Buffer.new(8), 0) }).to eq(0)
          end
        end
      end

      describe "when another fiber kills the reading fiber or raises into it" do
        { "raised into" => ->(fiber) { fiber.raise(IndexError, "from outside") },
          "killed" => lambda(&:kill) }.each do |how, interrupt|
          it "ends a fiber that was #{how}: nobody writes to its buffer afterwards, and the next read gets the input" do
            selecting do |selector, _|
              [pipe, unix_pair, tcp_pair].each do |input, output|
                buffer = IO::Buffer.new(8)
                ended = []
                fiber = Fiber.new do
                  read_into(selector, input, buffer, 8)
                rescue IndexError => error
                  ended << error.message
                ensure
                  ended << :ensure
                end
                fiber.transfer
                selector.select(0)
                interrupt.call(fiber)
                run_until(selector) { ended.include?(:ensure) }
                expect(ended).to eq(how == "killed" ? [:ensure] : ["from outside", :ensure])
                expect(buffer).not_to be_locked
                output.syswrite("too late")
                expect(served(selector) { read_into(selector, input, IO::Buffer.new(8), 8) }).to eq(8)
                expect(buffer.get_string).to eq("\0" * 8)
              end
            end
          end
        end

        it "raises the first of several exceptions" do
          selecting do |selector, _|
            input, = unix_pair
            task = started { read_into(selector, input, IO::Buffer.new(8), 8) }
            selector.select(0)
            task.fiber.raise(IndexError, "first")
            task.fiber.raise(KeyError, "second") unless task.done?
            run_until(selector) { task.done? }
            expect(task.error).to be_a(IndexError).and have_attributes(message: "first")
          end
        end
      end

      it "gives several fibers that read the same input each byte once" do
        selecting do |selector, _|
          [pipe, unix_pair].each do |input, output|
            buffers = Array.new(5) { IO::Buffer.new(2) }
            tasks = buffers.map { |buffer| started { read_into(selector, input, buffer, 2) } }
            selector.select(0)
            output.syswrite("aabbccddee")
            run_until(selector) { tasks.all?(&:done?) }
            expect(tasks.map(&:value)).to all(eq(2))
            expect(buffers.map(&:get_string).join.chars.tally).to eq(%w[a b c d e].to_h { |letter| [letter, 2] })
          end
        end
      end
    end
  end

  each_own_selector do
    it "keeps a buffer locked until the read has ended, and no longer" do
      selecting do |selector, _|
        input, output = unix_pair
        buffer = IO::Buffer.new(8)
        task = started { read_into(selector, input, buffer, 8) }
        skip "this Ruby's reads do not wait" if task.done?

        selector.select(0)
        expect(buffer).to be_locked
        expect { buffer.free }.to raise_error(IO::Buffer::LockedError)
        output.syswrite("12345678")
        finished(selector, task)
        expect(buffer).not_to be_locked
      end
    end

    it "leaves IO#timeout to whoever runs the loop" do
      selecting do |selector, _|
        input, output = unix_pair
        input.timeout = 0.001
        task = started { read_into(selector, input, IO::Buffer.new(8), 2) }
        selector.select(0.005)
        output.syswrite("ab")
        selector.select(nil) until task.done?
        expect(task.value).to eq(2).or eq(again)
      end
    end

    describe "under the contract that this Ruby does not use" do
      # A selector that takes offset and length in the order of the other Ruby versions.
      def of_other_ruby
        selecting do |selector, _|
          selector.send(:contract=, Contract::OTHER)
          yield selector
        end
      end

      it "takes offset and length in the other order, with the other meaning" do
        of_other_ruby do |selector|
          reader, writer = pipe
          buffer = IO::Buffer.new(8)
          read = ->(*numbers) { served(selector) { selector.io_read(Fiber.current, reader, buffer, *numbers) } }
          writer.syswrite("abcdef")
          if Contract::OFFSET_FIRST
            expect([read.call(3, 2), buffer.get_string]).to eq([6, "\0\0abcdef"])
            expect(read.call(0, 0)).to eq(again)
          else
            expect([read.call(2, 3), buffer.get_string]).to eq([3, "\0\0abc\0\0\0"])
            expect([read.call(0, 0), read.call(5, 4), read.call(9, 0)]).to eq([0, invalid, invalid])
            expect(read.call(0, 8)).to eq(3)
            expect(read.call(0, 8)).to eq(again)
          end
        end
      end
    end
  end
end

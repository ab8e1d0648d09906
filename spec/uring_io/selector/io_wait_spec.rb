# frozen_string_literal: true

RSpec.describe "UringIO::Selector#io_wait" do
  readable = IO::READABLE
  priority = IO::PRIORITY
  writable = IO::WRITABLE

  each_selector do
    # When a select has nothing to do, it must sleep. A hang-up that concerns no waiting fiber must not keep it awake.
    def expect_rest(selector)
      run_what_can(selector)
      rest = Array.new(3) do
        selector.select(0.001)
        selector.idle_duration >= 0.001
      end
      expect(rest.last).to be(true), "select spins"
    end

    describe "its answer" do
      it "is an Integer of the events that have happened and that the caller waits for" do
        selecting do |selector, _|
          socket, peer = unix_pair
          expect(served(selector) { wait_for(selector, socket, writable) }).to eq(writable)
          expect(served(selector) { wait_for(selector, socket, readable | writable) }).to eq(writable)
          peer.write("x")
          expect(served(selector) { wait_for(selector, socket, readable) }).to eq(readable)
          expect(served(selector) { wait_for(selector, socket, readable | priority) }).to eq(readable)
          expect(served(selector) { wait_for(selector, socket, writable) }).to eq(writable)
          both = served(selector) { wait_for(selector, socket, readable | writable) }
          expect(both).to be_an(Integer).and be_positive
          expect(both & ~(readable | writable)).to eq(0)
        end
      end

      it "is urgent data alone when the other events are not there" do
        selecting do |selector, _|
          socket, peer = tcp_pair
          waiter = started { wait_for(selector, socket, readable | priority) }
          run_what_can(selector)
          expect(waiter).not_to be_done
          peer.send("!", Socket::MSG_OOB)
          expect(finished(selector, waiter)).to eq(priority)
        end
      end

      it "reports urgent data that comes during the wait or came before it" do
        selecting do |selector, _|
          socket, peer = tcp_pair
          waiter = started { wait_for(selector, socket, priority) }
          run_what_can(selector)
          expect(waiter).not_to be_done
          peer.send("!", Socket::MSG_OOB)
          expect(finished(selector, waiter)).to eq(priority)
          expect(served(selector) { wait_for(selector, socket, priority) }).to eq(priority)
        end
      end

      it "does not report other data to a fiber that waits for urgent data" do
        selecting do |selector, _|
          socket, peer = tcp_pair
          waiter = started { wait_for(selector, socket, priority) }
          selector.select(0)
          peer.write("x")
          expect(served(selector) { wait_for(selector, socket, readable) }).to eq(readable)
          run_what_can(selector)
          expect(waiter).not_to be_done
          expect_rest(selector)
        end
      end

      it "delivers urgent and other data to the fibers that wait for them" do
        selecting do |selector, _|
          socket, peer = tcp_pair
          written = false
          reader = started do
            # io_uring reports urgent data as readable once.
            answer = wait_for(selector, socket, readable) until written
            answer
          end
          urgent = started { wait_for(selector, socket, priority) }
          run_what_can(selector)
          peer.send("!", Socket::MSG_OOB)
          expect(finished(selector, urgent)).to eq(priority)
          run_what_can(selector)
          expect(reader).not_to be_done
          written = true
          peer.write("x")
          expect(finished(selector, reader)).to eq(readable)
          expect(socket.read_nonblock(1)).to eq("x")
        end
      end
    end

    describe "when it returns" do
      it "never returns before a select, even when the IO is ready" do
        selecting do |selector, _|
          reader, writer = pipe
          writer.write("x")
          order = []
          started { order << wait_for(selector, reader, readable) }
          started { order << wait_for(selector, writer, writable) }
          order << :loop
          run_until(selector) { order.size == 3 }
          expect(order.first).to eq(:loop)
          expect(order.drop(1)).to contain_exactly(readable, writable)
        end
      end

      it "waits until the IO is ready, however many selects pass" do
        selecting do |selector, _|
          reader, writer = pipe
          waiter = started { wait_for(selector, reader, readable) }
          10.times { selector.select(0) }
          expect(waiter).not_to be_done
          writer.write("x")
          expect(finished(selector, waiter)).to eq(readable)
        end
      end

      it "returns once for each call: remaining input wakes no fiber that has not called again" do
        selecting do |selector, _|
          reader, writer = pipe
          writer.write("x")
          later = []
          started do
            wait_for(selector, reader, readable)
            loop { later << selector.transfer }
          end
          run_what_can(selector)
          writer.write("y")
          run_what_can(selector)
          expect(later).to eq([])
          expect_rest(selector)
        end
      end

      it "returns again when the fiber calls it again for the same input" do
        selecting do |selector, _|
          reader, writer = pipe
          writer.write("x")
          answers = served(selector) { Array.new(100) { wait_for(selector, reader, readable) } }
          expect(answers).to all(eq(readable))
        end
      end

      it "returns false at once on the loop fiber" do
        selecting do |selector, loop_fiber|
          reader, = pipe
          expect(selector.io_wait(loop_fiber, reader, readable)).to be(false)
          expect(selector.select(0)).to eq(0)
        end
      end
    end

    describe "a fiber that somebody resumes without an event" do
      it "gets false, and not a later event" do
        selecting do |selector, _|
          reader, writer = pipe
          [nil, 0, 1].each do |rounds|
            later = []
            fiber = Fiber.new do
              later << wait_for(selector, reader, readable)
              loop { later << selector.transfer }
            end
            fiber.transfer
            run_what_can(selector, rounds) if rounds
            fiber.transfer
            expect(later).to eq([false])
            writer.write("x")
            run_what_can(selector)
            reader.read_nonblock(1)
            expect(later).to eq([false])
          end
        end
      end

      it "gets false through push too" do
        selecting do |selector, _|
          reader, = pipe
          waiter = started { wait_for(selector, reader, readable) }
          selector.push(waiter.fiber)
          selector.select(0)
          expect(waiter.value).to be(false)
        end
      end

      it "is not woken in its next wait by the event of the wait before" do
        selecting do |selector, _|
          first, second = Array.new(2) { pipe }
          answers = []
          fiber = Fiber.new do
            answers << wait_for(selector, first[0], readable)
            answers << wait_for(selector, second[0], readable)
          end
          fiber.transfer
          selector.select(0)
          first[1].write("x")
          fiber.transfer
          run_what_can(selector)
          expect(answers).to eq([false])
          second[1].write("x")
          run_until(selector) { answers.size == 2 }
          expect(answers).to eq([false, readable])
        end
      end

      it "is not woken by an event that select had already fetched when the wait ended" do
        selecting do |selector, _|
          pairs = Array.new(2) { pipe }
          silent, = pipe
          answers = []
          # The fiber that wakes first ends the wait of the other fiber, which then begins a new wait.
          fibers = pairs.each_with_index.map do |(reader, _), index|
            Fiber.new do
              answers << wait_for(selector, reader, readable)
              if answers.last
                selector.resume(fibers[1 - index])
              else
                answers << wait_for(selector, silent, readable)
              end
            end
          end
          fibers.each(&:transfer)
          selector.select(0)
          pairs.each { |_, writer| writer.write("x") }
          selector.select(nil)
          run_what_can(selector)
          expect(answers).to eq([readable, false])
        end
      end

      it "may wait again for the same IO, and gets its answer" do
        selecting do |selector, _|
          reader, writer = pipe
          answers = []
          fiber = Fiber.new { loop { answers << wait_for(selector, reader, readable) } }
          fiber.transfer
          10.times do
            fiber.transfer
            selector.select(0)
          end
          expect(answers).to eq([false] * 10)
          writer.write("x")
          selector.select(nil)
          expect(answers.last).to eq(readable)
        end
      end

      it "leaves nothing behind that could wake select, thousands of times" do
        selecting do |selector, _|
          reader, writer = pipe
          waiter = nil
          3_000.times do |index|
            waiter = started { wait_for(selector, reader, readable) }
            selector.select(0) if index.even?
            waiter.fiber.transfer
          end
          expect(waiter.value).to be(false)
          expect_rest(selector)
          writer.write("x")
          expect_rest(selector)
        end
      end
    end

    describe "a fiber that another fiber kills, raises into or throws out of its wait" do
      { "raised into" => ->(fiber) { fiber.raise(IndexError, "from outside") },
        "killed" => lambda(&:kill) }.each do |how, interrupt|
        it "is not woken by its event after it was #{how}" do
          selecting do |selector, _|
            reader, writer = pipe
            [0, 2].each do |rounds|
              later = []
              fiber = Fiber.new do
                wait_for(selector, reader, readable)
              rescue IndexError => error
                later << error.message
                loop { later << selector.transfer }
              ensure
                later << :ensure
              end
              fiber.transfer
              run_what_can(selector, rounds)
              interrupt.call(fiber)
              writer.write("x")
              run_what_can(selector)
              expect(later).to eq(how == "killed" ? [:ensure] : ["from outside"])
              expect_rest(selector)
              reader.read_nonblock(1)
            end
          end
        end
      end

      it "makes room for other fibers on the same IO" do
        selecting do |selector, _|
          reader, writer = pipe
          gone = started { wait_for(selector, reader, readable) }
          stays = started { wait_for(selector, reader, readable) }
          selector.select(0)
          gone.fiber.raise(IndexError)
          late = started { wait_for(selector, reader, readable) }
          expect(gone.error).to be_a(IndexError)
          run_what_can(selector)
          writer.write("x")
          run_until(selector) { stays.done? && late.done? }
          expect([stays.value, late.value]).to eq([readable, readable])
        end
      end
    end

    describe "several fibers that wait for the same IO" do
      it "all run in the same select, in both directions" do
        selecting do |selector, _|
          socket, peer = unix_pair
          size = fill(socket)
          readers = Array.new(3) { started { wait_for(selector, socket, readable) } }
          writers = Array.new(2) { started { wait_for(selector, socket, writable) } }
          selector.select(0)
          peer.readpartial(size) while peer.wait_readable(0)
          peer.write("x")
          selector.select(nil)
          expect((readers + writers).map(&:done?)).to all(be(true))
          expect(readers.map(&:value)).to all(eq(readable))
          expect(writers.map(&:value)).to all(eq(writable))
        end
      end

      it "wake only for their own events" do
        selecting do |selector, _|
          socket, peer = unix_pair
          size = fill(socket)
          reader = started { wait_for(selector, socket, readable) }
          writer = started { wait_for(selector, socket, writable) }
          both = started { wait_for(selector, socket, readable | writable) }
          run_what_can(selector)
          expect([reader, writer, both].map(&:done?)).to eq([false] * 3)
          peer.write("x")
          run_until(selector) { reader.done? && both.done? }
          run_what_can(selector)
          expect([reader.value, both.value, writer.done?]).to eq([readable, readable, false])
          peer.readpartial(size) while peer.wait_readable(0)
          expect(finished(selector, writer)).to eq(writable)
        end
      end

      it "may start to wait in one direction while another waits in the other" do
        selecting do |selector, _|
          socket, peer = unix_pair
          reader = started { wait_for(selector, socket, readable) }
          run_what_can(selector)
          5.times { expect(served(selector) { wait_for(selector, socket, writable) }).to eq(writable) }
          expect(reader).not_to be_done
          peer.write("x")
          expect(finished(selector, reader)).to eq(readable)
        end
      end

      it "may end each other's wait while select serves them" do
        selecting do |selector, _|
          reader, writer = pipe
          tasks = []
          answers = []
          2.times do |index|
            tasks << started do
              answers << wait_for(selector, reader, readable)
              selector.raise(tasks[1 - index].fiber, IndexError, "by another")
            end
          end
          selector.select(0)
          writer.write("x")
          selector.select(nil)
          run_what_can(selector)
          expect(answers).to eq([readable])
          expect(tasks).to all(be_done)
          expect(tasks.map { |task| task.error.class }).to contain_exactly(NilClass, IndexError)
          expect_rest(selector)
        end
      end

      it "may resume each other while select serves them, and each gets one event" do
        selecting do |selector, _|
          reader, writer = pipe
          tasks = []
          answers = []
          2.times do |index|
            tasks << started do
              answers << wait_for(selector, reader, readable)
              other = tasks[1 - index]
              selector.resume(other.fiber) if answers.size == 1
              answers << [index, selector.transfer]
            end
          end
          selector.select(0)
          writer.write("x")
          selector.select(nil)
          run_what_can(selector)
          expect(answers).to eq([readable, false])
        end
      end

      it "may wait again at once, and wake only once per select" do
        selecting do |selector, _|
          reader, writer = pipe
          counts = [0, 0, 0]
          3.times { |index| started { loop { wait_for(selector, reader, readable) && (counts[index] += 1) } } }
          selector.select(0)
          writer.write("x")
          selector.select(nil)
          expect(counts).to eq([1, 1, 1])
          selector.select(nil)
          expect(counts).to eq([2, 2, 2])
        end
      end

      it "all wake, even through different IO objects of one descriptor",
         io_event_hangs: { EPoll: "keeps the waits of one IO object per descriptor" } do
        selecting do |selector, _|
          reader, writer = pipe
          waiters = Array.new(3) do
            started { wait_for(selector, IO.for_fd(reader.fileno, autoclose: false), readable) }
          end
          selector.select(0)
          waiters << started { wait_for(selector, reader, readable) }
          run_what_can(selector)
          GC.start
          writer.write("x")
          run_until(selector) { waiters.all?(&:done?) }
          expect(waiters.map(&:value)).to all(eq(readable))
        end
      end

      it "may be thousands, on hundreds of descriptors" do
        selecting do |selector, _|
          sockets = Array.new(100) { unix_pair }.flatten
          waiters = (sockets * 10).map { |socket| started { wait_for(selector, socket, readable) } }
          selector.select(0)
          expect(waiters).to all(satisfy("wait") { |waiter| !waiter.done? })
          sockets.each { |socket| socket.write("x") }
          run_until(selector) { waiters.all?(&:done?) }
          expect(waiters.map(&:value)).to all(eq(readable))
        end
      end
    end

    describe "a hang-up" do
      it "of the writer makes a pipe readable" do
        selecting do |selector, _|
          reader, writer = pipe
          waiter = started { wait_for(selector, reader, readable) }
          selector.select(0)
          writer.close
          expect(finished(selector, waiter)).to eq(readable)
          expect_rest(selector)
        end
      end

      it "of the reader makes a full pipe writable", io_event_hangs: { EPoll: "spins" } do
        selecting do |selector, _|
          reader, writer = pipe
          fill(writer)
          waiter = started { wait_for(selector, writer, writable) }
          run_what_can(selector)
          expect(waiter).not_to be_done
          reader.close
          expect(finished(selector, waiter)).to eq(writable)
          expect { writer.syswrite("x") }.to raise_error(Errno::EPIPE)
          expect_rest(selector)
        end
      end

      it "of the reader before the wait makes a full pipe writable",
         io_event_hangs: { EPoll: "spins" } do
        selecting do |selector, _|
          reader, writer = pipe
          fill(writer)
          reader.close
          expect(served(selector) { wait_for(selector, writer, writable) }).to eq(writable)
        end
      end

      it "of the peer makes a socket readable" do
        selecting do |selector, _|
          [unix_pair, tcp_pair].each do |socket, peer|
            waiter = started { wait_for(selector, socket, readable) }
            selector.select(0)
            peer.close
            expect(finished(selector, waiter)).to eq(readable)
            expect(socket.read(1)).to be_nil
          end
        end
      end

      it "of the peer makes a full socket writable" do
        selecting do |selector, _|
          [unix_pair, tcp_pair].each do |socket, peer|
            fill(socket)
            waiter = started { wait_for(selector, socket, writable) }
            run_what_can(selector)
            expect(waiter).not_to be_done
            peer.close
            expect(finished(selector, waiter)).to eq(writable)
            expect_rest(selector)
          end
        end
      end

      it "wakes readers and writers of a socket, each for the events that they wait for" do
        selecting do |selector, _|
          socket, peer = unix_pair
          fill(socket)
          waiters = [readable, writable, readable | writable].map do |events|
            started { wait_for(selector, socket, events) }
          end
          run_what_can(selector)
          peer.close
          run_until(selector) { waiters.all?(&:done?) }
          expect(waiters[0].value).to eq(readable)
          expect(waiters[1].value).to eq(writable)
          expect(waiters[2].value).to be_an(Integer).and be_positive
          expect(waiters[2].value & ~(readable | writable)).to eq(0)
        end
      end

      it "of one direction makes a socket readable, and its writer waits on until there is room" do
        selecting do |selector, _|
          [unix_pair, tcp_pair].each do |socket, peer|
            size = fill(socket)
            reader = started { wait_for(selector, socket, readable) }
            writer = started { wait_for(selector, socket, writable) }
            run_what_can(selector)
            peer.close_write
            expect(finished(selector, reader)).to eq(readable)
            run_what_can(selector)
            expect(writer).not_to be_done
            late = started { wait_for(selector, socket, writable) }
            run_what_can(selector)
            expect(late).not_to be_done
            expect_rest(selector)
            peer.readpartial(size) while peer.wait_readable(0)
            expect([finished(selector, writer), finished(selector, late)]).to eq([writable, writable])
          end
        end
      end

      it "by a connection reset wakes readers and writers" do
        selecting do |selector, _|
          socket, peer = tcp_pair
          fill(socket)
          waiters = [readable, writable].map { |events| started { wait_for(selector, socket, events) } }
          run_what_can(selector)
          peer.setsockopt(Socket::SOL_SOCKET, Socket::SO_LINGER, [1, 0].pack("ii"))
          peer.close
          run_until(selector) { waiters.all?(&:done?) }
          expect(waiters.map(&:value)).to eq([readable, writable])
        end
      end

      it "that concerns no waiting fiber does not keep select awake",
         io_event: { EPoll: "spins" } do
        selecting do |selector, _|
          socket, peer = unix_pair
          waiter = started { wait_for(selector, socket, priority) }
          run_what_can(selector)
          peer.close
          run_what_can(selector)
          expect(waiter.done?).to be(false).or be(true)
          expect_rest(selector)
          waiter.fiber.transfer unless waiter.done?
          expect_rest(selector)
        end
      end

      it "does not hide later events of other fibers", io_event_hangs: { EPoll: "spins" } do
        selecting do |selector, _|
          socket, peer = unix_pair
          reader, writer = pipe
          started { wait_for(selector, socket, priority) }
          peer.close
          run_what_can(selector)
          expect_rest(selector)
          waiter = started { wait_for(selector, reader, readable) }
          in_background { |looping| until_asleep(looping) || writer.write("x") }
          expect(finished(selector, waiter)).to eq(readable)
          again = started { wait_for(selector, socket, readable) }
          expect(finished(selector, again)).to eq(readable)
        end
      end
    end

    it "reports refused, established and incoming connections" do
      selecting do |selector, _|
        server = tcp_server
        address = server.local_address
        accepting = started { wait_for(selector, server, readable) }
        client = closing(Socket.new(:INET, :STREAM))
        client.connect_nonblock(address, exception: false)
        expect(served(selector) { wait_for(selector, client, readable | writable) }).to eq(writable)
        expect(client.getsockopt(:SOCKET, :ERROR).int).to eq(0)
        expect(finished(selector, accepting)).to eq(readable)
        server.close
        refused = closing(Socket.new(:INET, :STREAM))
        refused.connect_nonblock(address, exception: false)
        expect(served(selector) { wait_for(selector, refused, writable) }).to eq(writable)
        expect(raised { refused.connect_nonblock(address) }).to be_a(SystemCallError)
      end
    end

    it "finds regular files ready for every event" do
      selecting do |selector, _|
        file = closing(File.open(free_path, "w+"))
        [readable, writable, readable | writable].each do |events|
          waiter = started { wait_for(selector, file, events) }
          expect(waiter).not_to be_done
          expect(finished(selector, waiter)).to eq(events)
        end
        waiters = Array.new(3) { started { wait_for(selector, file, readable) } }
        run_until(selector) { waiters.all?(&:done?) }
        expect(waiters.map(&:value)).to all(eq(readable))
        expect_rest(selector)
      end
    end

    it "finds /dev/null and directories ready" do
      selecting do |selector, _|
        [closing(File.open(File::NULL)), closing(File.open("/"))].each do |io|
          expect(served(selector) { wait_for(selector, io, readable) }).to eq(readable)
        end
      end
    end

    describe "an IO that is closed" do
      it "raises IOError before the wait, and no wait begins",
         io_event: { Select: "lets the fiber wait for ever" } do
        selecting do |selector, _|
          reader, = pipe
          reader.close
          waiter = started { wait_for(selector, reader, readable) }
          run_what_can(selector)
          expect(waiter.error).to be_a(IOError)
          expect_rest(selector)
        end
      end

      it "raises nothing from select during the wait, and does not disturb other waits" do
        selecting do |selector, _|
          reader, = pipe
          other_reader, other_writer = pipe
          waiter = started { wait_for(selector, reader, readable) }
          other = started { wait_for(selector, other_reader, readable) }
          selector.select(0)
          reader.close
          run_what_can(selector)
          other_writer.write("x")
          expect(finished(selector, other)).to eq(readable)
          expect_rest(selector)
          waiter.fiber.transfer unless waiter.done?
          run_what_can(selector)
          expect(waiter.error).to be_nil.or be_a(IOError).or be_a(Errno::EBADF)
        end
      end

      it "wakes with the exception that Ruby raises into its fiber during the wait" do
        selecting do |selector, _|
          reader, = pipe
          waiter = started { wait_for(selector, reader, readable) }
          selector.select(0)
          reader.close
          waiter.fiber.raise(IOError, "stream closed in another thread") unless waiter.done?
          expect(waiter.error).to be_a(IOError).or be_a(Errno::EBADF)
          expect_rest(selector)
        end
      end

      it "is closed for the peer as well, once the wait has been given up" do
        selecting do |selector, _|
          socket, peer = unix_pair
          waiter = started { wait_for(selector, socket, readable) }
          selector.select(0)
          waiter.fiber.raise(IndexError)
          socket.close
          expect(served(selector) { wait_for(selector, peer, readable) }).to eq(readable)
          expect(peer.read(1)).to be_nil
        end
      end
    end

    describe "a descriptor number that is reused" do
      # A pipe whose reader has this number.
      def pipe_at(number)
        reader, writer = pipe
        return [reader, writer] if reader.fileno == number

        [closing(IO.for_fd(reader.fcntl(Fcntl::F_DUPFD, number))), writer].tap { reader.close }
      end

      it "after a completed wait starts a new wait" do
        selecting do |selector, _|
          10.times do
            reader, writer = pipe
            writer.write("x")
            expect(served(selector) { wait_for(selector, reader, readable) }).to eq(readable)
            number = reader.fileno
            [reader, writer].each(&:close)
            reader, writer = pipe_at(number)
            expect(reader.fileno).to eq(number)
            waiter = started { wait_for(selector, reader, readable) }
            run_what_can(selector)
            expect(waiter).not_to be_done
            writer.write("x")
            expect(finished(selector, waiter)).to eq(readable)
            [reader, writer].each(&:close)
          end
        end
      end

      it "after an abandoned wait starts a new wait" do
        selecting do |selector, _|
          10.times do
            reader, writer = pipe
            given_up = started { wait_for(selector, reader, readable) }
            selector.select(0)
            given_up.fiber.transfer
            number = reader.fileno
            [reader, writer].each(&:close)
            reader, writer = pipe_at(number)
            waiter = started { wait_for(selector, reader, readable) }
            run_what_can(selector)
            expect(waiter).not_to be_done
            writer.write("x")
            expect(finished(selector, waiter)).to eq(readable)
            [reader, writer].each(&:close)
          end
        end
      end

      it "during a wait wakes the fiber that waits for the new file" do
        selecting do |selector, _|
          reader, = pipe
          stale = started { wait_for(selector, reader, readable) }
          selector.select(0)
          number = reader.fileno
          reader.close
          reader, writer = pipe_at(number)
          waiter = started { wait_for(selector, reader, readable) }
          run_what_can(selector)
          expect(waiter).not_to be_done
          writer.write("x")
          expect(finished(selector, waiter)).to eq(readable)
          run_what_can(selector)
          stale.fiber.transfer unless stale.done?
          expect(stale).to be_done
        end
      end
    end

    it "ends with EBADF or false for an open IO whose descriptor is closed, and disturbs no other wait",
       io_event_hangs: { Select: "waits for nothing any more" } do
      selecting do |selector, _|
        reader, = pipe
        other_reader, other_writer = pipe
        other = started { wait_for(selector, other_reader, readable) }
        selector.select(0)
        bad = IO.for_fd(reader.fileno, autoclose: false)
        reader.close
        waiter = started { wait_for(selector, bad, readable) }
        run_until(selector) { waiter.done? }
        expect(waiter.error || waiter.value).to be(false).or be_a(Errno::EBADF)
        other_writer.write("x")
        expect(finished(selector, other)).to eq(readable)
        expect_rest(selector)
      end
    end

    it "raises for anything but an IO", io_event: { Select: "has its next select raise" } do
      selecting do |selector, _|
        ["reader", nil, Object.new].each do |wrong|
          waiter = started { wait_for(selector, wrong, readable) }
          expect(waiter.error).to be_a(StandardError)
        end
        expect(selector.select(0)).to eq(0)
      end
    end
  end
end

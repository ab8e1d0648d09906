# frozen_string_literal: true

require "timeout"

# Lists the hooks, and the arguments with which Ruby calls each of them.
RSpec.describe UringIO::Scheduler, "hooks:" do
  # The arguments after the buffer, and their values when a method of IO calls the hook.
  span = Contract::NUMBERS
  numbers = Contract::OFFSET_FIRST ? [0, 1..] : [0, 0]

  # Signature as documented => a call that reaches the hook, and the arguments that the hook then gets.
  hooks = {
    "fiber(*arguments, &block)" => [proc { Fiber.schedule(1, 2) { nil } }, [1, 2]],
    "scheduler_close()" => [proc {}, []],
    "block(blocker, timeout)" => [proc { Thread::Queue.new.pop(timeout: 0.001) }, [Thread::Queue, 0.001]],
    "unblock(blocker, fiber)" => [proc {
      Thread::Queue.new.then { |queue| Fiber.schedule { queue.pop } && queue.push(1) }
    }, [Thread::Queue, Fiber]],
    "kernel_sleep(duration)" => [proc { sleep(0.001) }, [0.001]],
    "io_wait(io, events, timeout)" => [proc { pipe.last.wait(IO::WRITABLE, 5) }, [IO, IO::WRITABLE, 5]],
    "io_read(io, buffer, #{span})" => [proc { File.read(__FILE__) }, [IO, IO::Buffer, *numbers]],
    "io_write(io, buffer, #{span})" => [proc { pipe.last.syswrite("x") }, [IO, IO::Buffer, *numbers]],
    "io_pread(io, buffer, from, #{span})" => [proc {
      File.open(__FILE__) { |file| file.pread(1, 2) }
    }, [IO, IO::Buffer, 2, *numbers]],
    "io_pwrite(io, buffer, from, #{span})" => [proc {
      File.open(free_path, "w") { |file| file.pwrite("x", 2) }
    }, [IO, IO::Buffer, 2, *numbers]],
    # rubocop:disable Lint/IncompatibleIoSelectWithFiberScheduler
    "io_select(readables, writables, exceptables, timeout)" => [proc {
      IO.select([pipe.first], nil, [], 0)
    }, [[IO], nil, [], 0]],
    # rubocop:enable Lint/IncompatibleIoSelectWithFiberScheduler
    "io_close(descriptor)" => [proc { pipe.first.close }, [Integer]],
    "process_wait(pid, flags)" => [proc { Process.wait(spawn("true"), Process::WUNTRACED) },
                                   [Integer, Process::WUNTRACED]],
    "address_resolve(hostname)" => [proc { Addrinfo.ip("localhost") }, ["localhost"]],
    "timeout_after(duration, exception, message, &block)" => [proc {
      Timeout.timeout(5, IndexError, "late") { nil }
    }, [5, IndexError, "late"]],
    "blocking_operation_wait(work)" => [proc { File.stat(__FILE__) },
                                        [->(work) { work.respond_to?(:call) }]],
    "fiber_interrupt(fiber, exception)" => [proc {
      reader = pipe.first
      waiter = Fiber.schedule { raised { reader.wait_readable } }
      reader.close
      waiter.kill if RUBY_VERSION < "4.0"
    }, [Fiber, IOError]]
  }

  it "are exactly those of the list of hooks" do
    own = described_class.public_instance_methods(false) +
          described_class::BlockingOperations.public_instance_methods(false) - Hooks::OTHERS
    expect(own - Hooks::SINCE.keys).to eq([])
    expect(Hooks::CALLED - own).to eq([])
  end

  # Ruby calls yield only after a trap handler (callers_spec.rb).
  it "are all in this table, except yield" do
    expect(hooks.keys.map { |signature| signature[/\w+/].to_sym }).to match_array(Hooks::SINCE.keys - [:yield])
  end

  each_backend do |_backend|
    hooks.each do |signature, (reach, arguments)|
      hook = signature[/\w+/].to_sym
      since = Hooks::SINCE.fetch(hook)
      on = since == "3.0" ? "" : ", from Ruby #{since} on"

      it "#{signature} gets these arguments from Ruby#{on}" do
        options = hook == :blocking_operation_wait ? { workers: 1 } : {}
        scheduler = recorded(**options) { instance_exec(&reach) }
        calls = scheduler.called(hook)
        if RUBY_VERSION < since
          expect(calls).to be_empty
        else
          expect(calls.last.arguments).to match(arguments)
        end
      end
    end

    # Ruby 3 has no io_close, and calls io_pwrite without the GVL.
    it "include io_pwrite and io_close only from Ruby 4.0 on, where Ruby calls both with the GVL" do
      there = Hooks::SINCE.keys.select { |hook| described_class.method_defined?(hook) }
      expect(there).to match_array(Hooks::SINCE.keys - Hooks::LACKING - [:blocking_operation_wait])
    end

    %i[block unblock kernel_sleep io_wait].each do |hook|
      it "#{hook} is required: Fiber.set_scheduler rejects a scheduler without it" do
        without = Class.new(described_class) { undef_method hook }
        in_thread do
          scheduler = without.new(backend:)
          expect { Fiber.set_scheduler(scheduler) }.to raise_error(ArgumentError, /#{hook}/)
          scheduler.close
        end
      end
    end

    it "fiber is required by Fiber.schedule" do
      without = Class.new(described_class) { undef_method :fiber }
      in_thread do
        Fiber.set_scheduler(without.new(backend:))
        expect { Fiber.schedule { nil } }.to raise_error(NoMethodError, /fiber/)
      end
    end

    it "close runs when there is no scheduler_close" do
      closed = []
      without = Class.new(described_class) do
        undef_method :scheduler_close
        define_method(:close) do
          closed << :close
          super()
        end
      end
      in_thread do
        Fiber.set_scheduler(without.new(backend:))
        Fiber.schedule { closed << :fiber if sleep(0) }
      end
      expect(closed).to eq(%i[close fiber])
    end
  end
end

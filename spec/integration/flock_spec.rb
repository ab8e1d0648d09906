# frozen_string_literal: true

require "pstore"
require "timeout"

# A program holds a file lock while other fibers run, as ActiveSupport::Cache::FileStore#increment, PStore and Logger
# do.
RSpec.describe "File#flock" do
  each_backend do
    # Adds one to the number in a file while it holds the lock.
    def increment(path)
      File.open(path, "r+") do |file|
        file.flock(File::LOCK_EX)
        number = file.read.to_i
        sleep(0)
        file.rewind
        file.write((number + 1).to_s)
      end
    end

    # A file whose lock this example holds. Another open file of the same path conflicts with it.
    def locked(path = file_with(""), operation = File::LOCK_EX)
      closing(File.open(path)).tap { |file| file.flock(operation) }
    end

    # Whether another open file could get this lock.
    def free?(path, operation = File::LOCK_EX)
      File.open(path) { |file| file.flock(operation | File::LOCK_NB) } == 0
    end

    it "lets other fibers run, so that many fibers can count in one file" do
      path = file_with("0")
      scheduled { 200.times { Fiber.schedule { increment(path) } } }
      expect(File.read(path)).to eq("200")
    end

    it "excludes threads and processes as well" do
      path = file_with("0")
      threads = Array.new(2) { Thread.new { 20.times { increment(path) } } }
      children = Array.new(2) { fork { 20.times { increment(path) } && exit!(true) } }
      scheduled { 20.times { Fiber.schedule { increment(path) } } }
      threads.each(&:join)
      children.each { |pid| Process.wait(pid) }
      expect(File.read(path)).to eq("100")
    end

    it "returns the same as without a scheduler" do
      path = file_with("")
      scheduled do
        file = closing(File.open(path))
        expect(file.flock(File::LOCK_SH)).to eq(0)
        expect(file.flock(File::LOCK_EX)).to eq(0)
        other = closing(File.open(path))
        expect(other.flock(File::LOCK_SH | File::LOCK_NB)).to be(false)
        waiter = Fiber.schedule { expect(other.flock(File::LOCK_SH)).to eq(0) }
        let_others_run
        expect(waiter).to be_alive
        expect(file.flock(File::LOCK_UN)).to eq(0)
        eventually { !waiter.alive? }
        expect { file.flock(nil) }.to raise_error(TypeError)
        expect { file.flock(0) }.to raise_error(Errno::EINVAL)
        file.close
        expect { file.flock(File::LOCK_EX) }.to raise_error(IOError)
      end
    end

    it "changes from shared to exclusive when the other holders have gone" do
      path = file_with("")
      order = []
      scheduled do
        holder = locked(path, File::LOCK_SH)
        ours = locked(path, File::LOCK_SH)
        Fiber.schedule { order << ours.flock(File::LOCK_EX) }
        let_others_run
        order << :waits
        holder.flock(File::LOCK_UN)
        eventually { order.size == 2 }
        expect(free?(path, File::LOCK_SH)).to be(false)
        ours.flock(File::LOCK_SH)
        expect(free?(path, File::LOCK_SH)).to be(true)
      end
      expect(order).to eq([:waits, 0])
    end

    it "ends by a Timeout, Fiber#raise and Fiber#kill, and then holds no lock" do
      path = file_with("")
      scheduled do
        holder = locked(path)
        waiting = closing(File.open(path))
        expect(raised { Timeout.timeout(0.005) { waiting.flock(File::LOCK_EX) } }).to be_a(Timeout::Error)
        error = nil
        fiber = Fiber.schedule { error = raised { waiting.flock(File::LOCK_EX) } }
        fiber.raise(IndexError)
        expect(error).to be_a(IndexError)
        killed = Fiber.schedule { waiting.flock(File::LOCK_EX) }
        killed.kill
        holder.flock(File::LOCK_UN)
        sleep(0.05)
        expect(free?(path)).to be(true)
      end
    end

    it "leaves the lock of another holder of the same open file alone when a waiting fiber leaves" do
      path = file_with("")
      scheduled do
        holder = locked(path, File::LOCK_SH)
        mine = locked(path, File::LOCK_SH)
        same = closing(mine.dup)
        raised { Timeout.timeout(0.005) { same.flock(File::LOCK_EX) } }
        # flock(2) gives up the shared lock while it waits for the exclusive one.
        expect(holder.flock(File::LOCK_EX)).to eq(0)
        holder.close
        expect(mine.flock(File::LOCK_EX)).to eq(0)
        raised { Timeout.timeout(0.005) { same.flock(File::LOCK_EX) } }
        expect(free?(path, File::LOCK_SH)).to be(false)
      end
    end

    it "raises IOError in a waiting fiber when somebody closes its file" do
      scheduled do
        holder = locked
        waiting = closing(File.open(holder.path))
        error = nil
        Fiber.schedule { error = raised { waiting.flock(File::LOCK_EX) } }
        waiting.close
        eventually { error }
        expect(error).to be_a(IOError)
      end
    end

    it "lets PStore's transactions take turns" do
      path = free_path("store")
      scheduled do
        20.times do |index|
          Fiber.schedule do
            PStore.new(path).transaction { |store| store[:sum] = store.fetch(:sum, 0) + index }
          end
        end
      end
      expect(PStore.new(path).transaction(true) { |store| store[:sum] }).to eq(190)
    end

    it "blocks the whole thread in a blocking fiber, and in threads without a scheduler" do
      holder = locked
      waiting = closing(File.open(holder.path))
      value = nil
      thread = Thread.new { value = waiting.flock(File::LOCK_EX) }
      sleep(0.001) until thread.stop?
      expect(thread.backtrace.grep(/sleep/)).to be_empty
      holder.flock(File::LOCK_UN)
      thread.join
      expect(value).to eq(0)
    end
  end
end

# frozen_string_literal: true

require_relative "async_helper"

RSpec.describe "File#flock in tasks of Async" do
  each_reactor do
    it "lets the other tasks run while it waits" do
      path = file_with("0")
      reactor do |task|
        tasks = Array.new(50) do
          task.async do
            File.open(path, "r+") do |file|
              file.flock(File::LOCK_EX)
              number = file.read.to_i
              sleep(0)
              file.rewind
              file.write((number + 1).to_s)
            end
          end
        end
        tasks.each(&:wait)
      end
      expect(File.read(path)).to eq("50")
    end

    it "ends by a timeout of the task, and when somebody stops the task" do
      path = file_with("")
      reactor do |task|
        holder = closing(File.open(path))
        holder.flock(File::LOCK_EX)
        waiting = closing(File.open(path))
        expect(raised { task.with_timeout(0.005) { waiting.flock(File::LOCK_EX) } }).to be_a(Async::TimeoutError)
        stopped_task { waiting.flock(File::LOCK_EX) }
        holder.flock(File::LOCK_UN)
        other = closing(File.open(path))
        expect(other.flock(File::LOCK_EX | File::LOCK_NB)).to eq(0)
      end
    end
  end
end

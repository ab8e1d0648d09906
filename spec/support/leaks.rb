# frozen_string_literal: true

require "stringio"

# An example group fails when it leaves open descriptors, threads, child processes or a scheduler behind. An example
# fails when it writes to $stderr unexpectedly, because the death of a fiber or thread shows there.
module Leaks
  State = Struct.new(:descriptors, :threads, :children) do
    def self.now
      new(open_descriptors, Thread.list, child_processes)
    end

    def self.open_descriptors
      Dir.children("/proc/self/fd").to_h do |fd|
        [fd, File.readlink("/proc/self/fd/#{fd}")]
      rescue Errno::ENOENT
        [fd, nil] # the descriptor of this directory itself
      end.compact
    end

    def self.child_processes
      children = Dir.glob("/proc/self/task/*/children").flat_map { |path| File.read(path).split }
      children - [Nginx.pid.to_s, Watchdog.outside.pid.to_s]
    rescue Errno::ENOENT
      []
    end

    def beyond(other)
      # Compares the targets, not the numbers: a number may be closed and reused meanwhile.
      surplus = descriptors.values.tally
      other.descriptors.each_value { |target| surplus[target] -= 1 if surplus[target] }
      names = surplus.select { |target, count| count.positive? && !harmless?(target) }.keys
      { descriptors: names, threads: threads - other.threads, children: children - other.children }
        .reject { |_, left| left.empty? }
    end

    private

    # Files that libraries open once and keep open.
    def harmless?(target)
      target.match?(%r{\A/(proc|usr|var/lib/gems|etc)/})
    end
  end

  class << self
    # The garbage collector closes the descriptors of dropped objects. It may still see an object on the stack for some
    # time after its last use.
    def since(before)
      left = {}
      5.times do
        left = State.now.beyond(before)
        break if left.empty?

        GC.start
        Thread.pass
      end
      left
    end
  end
end

RSpec.configure do |config|
  config.before(:context) { @state_before = Leaks::State.now }

  config.after(:context) do
    left = Leaks.since(@state_before)
    raise "left behind by #{self.class.description}: #{left.inspect}" if left.any?
    raise "#{self.class.description} leaves a scheduler set" if Fiber.scheduler
  end

  config.around do |example|
    outer = $stderr
    $stderr = StringIO.new
    example.run
    written = $stderr.string
    $stderr = outer
    raise "written to $stderr:\n#{written}" unless written.empty?
  ensure
    $stderr = outer
  end
end

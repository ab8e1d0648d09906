# frozen_string_literal: true

require "open3"
require "rbconfig"

# Ruby programs in processes of their own, for what a process cannot take back: filters, limits, users, signals.
module Child
  LIB = File.expand_path("../lib", __dir__)
  LIMIT_SECONDS = 60

  # The output of a child, and its status.
  Ended = Struct.new(:output, :errors, :status) do
    # The fault of the child; nil when there is none.
    def trouble
      return if status.success? && errors.empty?

      "#{status.inspect.delete_prefix('#<Process::Status: ').chop}, it said #{output.inspect} and #{errors.inspect}"
    end
  end

  # The command that runs a script which is given as its standard input, with arguments.
  def self.command(*arguments, limit: LIMIT_SECONDS)
    ["timeout", "--signal=KILL", limit.to_s, RbConfig.ruby, "-W0", "-I#{LIB}", "-", *arguments.map(&:to_s)]
  end

  # Runs a script to its end.
  def self.run(script, *)
    Ended.new(*Open3.capture3(*command(*), stdin_data: script))
  end
end

# frozen_string_literal: true

# Lets programs of the benchmarks clean up when a signal ends them.
module Signals
  ALL = %w[HUP INT QUIT TERM].freeze

  # From now on a signal raises an exception in the main thread, so that the program cleans up. It ignores further
  # signals then. A signal that the program has inherited as ignored stays ignored.
  def self.raise_as_exceptions
    ALL.each do |signal|
      before = trap(signal) do
        ALL.each { |name| trap(name, "IGNORE") }
        raise SignalException, signal
      end
      trap(signal, before) if before == "IGNORE"
    end
  end
end

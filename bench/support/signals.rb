# frozen_string_literal: true

# How programs of the benchmarks end by a signal.
module Signals
  ALL = %w[HUP INT QUIT TERM].freeze

  # From now on a signal raises an exception in the main thread, so that the program cleans up. Further signals do not
  # disturb that. A signal that the program has inherited as ignored stays ignored.
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

# frozen_string_literal: true

module UringIO
  # Base of the errors that are ours. The kernel's own stay Errno::*.
  class Error < StandardError; end

  # What was asked for cannot work here: the message says why and what helps.
  class UnsupportedError < Error; end

  # The object was closed before the call.
  class ClosedError < Error; end
end

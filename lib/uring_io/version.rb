# frozen_string_literal: true

module UringIO
  # The version of the gem.
  VERSION = "0.1.0"
end

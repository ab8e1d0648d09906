# frozen_string_literal: true

module UringIO
  # Of the gem.
  VERSION = "0.1.0"
end

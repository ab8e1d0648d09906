# frozen_string_literal: true

module UringIO
  VERSION = "0.1.0"
end

# frozen_string_literal: true

# The parts of this gem for Rails: see UringIO::Rails. `require "uring_io"` loads this file if Rails is already loaded,
# as it is with a Gemfile. A program must require this file itself if it loads the gem before Rails
# (`RUBYOPT=-ruring_io`, a line in falcon.rb), or uses ActiveRecord without Rails.
#
#   require "uring_io/rails"

require "uring_io"
require_relative "rails/railtie"

# frozen_string_literal: true

# What a Rails program needs of this gem: see UringIO::Rails. `require "uring_io"` loads it by itself where Rails is
# loaded already, as in a Gemfile. This file is for the other cases: the gem was loaded before Rails
# (`RUBYOPT=-ruring_io`, a line in falcon.rb), or ActiveRecord is used without Rails.
#
#   require "uring_io/rails"

require "uring_io"
require_relative "rails/railtie"

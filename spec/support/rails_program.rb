# frozen_string_literal: true

require_relative "child_program"

# Programs on Rails: a small application in a directory of its own, in a process of its own.
module RailsProgram
  # An application, from "rails" up to where it is booted. +configure+ is code in its class.
  def self.script(rest, configure: "config.active_support.isolation_level = :fiber", boot: true)
    <<~RUBY
      require "tmpdir"
      require "logger"
      require "active_record/railtie"
      root = Dir.mktmpdir("uring_io-rails")
      at_exit { FileUtils.remove_entry(root) }
      backend = ARGV.fetch(0).to_sym

      class Program < Rails::Application
        config.load_defaults 7.2
        config.eager_load = false
        config.secret_key_base = "0" * 32
        config.logger = Logger.new(IO::NULL)
        #{configure}
      end
      Program.config.root = root
      Program.initialize! if #{boot}
      #{rest}
    RUBY
  end
end

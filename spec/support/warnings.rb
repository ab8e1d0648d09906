# frozen_string_literal: true

# Warnings about this project's own files fail the run. Warnings of other gems are dropped.
module OwnWarnings
  ROOT = File.expand_path("../..", __dir__)

  class << self
    def seen
      @seen ||= []
    end
  end

  def warn(message, category: nil, **)
    return if category == :experimental # IO::Buffer is experimental, and the hooks need it

    path = message[/\A(.+?):\d+: warning/, 1]
    return super if path.nil?

    OwnWarnings.seen << message if File.expand_path(path).start_with?("#{ROOT}/")
  end
end

Warning.extend(OwnWarnings)

RSpec.configure do |config|
  config.after(:suite) do
    raise "warnings in this project's files:\n#{OwnWarnings.seen.uniq.join}" if OwnWarnings.seen.any?
  end
end

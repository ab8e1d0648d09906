# frozen_string_literal: true

require_relative "app"

run WebApp.new(ENV.fetch("WEB_BENCH_REDIS", nil))

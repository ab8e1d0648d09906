# frozen_string_literal: true

require_relative "../support/rails_app"
require_relative "../support/rails_server"
require_relative "../support/rails_client"
require_relative "../support/cable_client"
require_relative "../support/rude_clients"
require_relative "rails_examples/pages"
require_relative "rails_examples/streams"
require_relative "rails_examples/reloading"
require_relative "rails_examples/hardships"

missing = RailsApp.missing

RSpec.describe "A Rails app", **(missing ? { skip: missing } : {}) do
  # Outside of examples, the watchdog would still apply the last example's time limit.
  def self.boot(&)
    before(:context) do
      Watchdog.outside.expect_end_within(180, "the start of a Rails app")
      instance_exec(&)
    end
  end

  unless missing
    boot do
      @app = RailsApp.new
      @stock = RailsServer.new(@app, RailsServer::STOCK, "production")
    end
    after(:context) do
      @stock&.stop
      @app&.stop
    end
  end

  let(:app) { @app }
  let(:stock) { RailsClient.new(@stock.port) }
  let(:client) { RailsClient.new(@server.port) }

  RailsServer.kinds.each do |kind|
    skipped = missing || kind.missing

    describe "on #{kind.title}", **(skipped ? { skip: skipped } : {}) do
      unless skipped
        boot { @server = RailsServer.new(@app, kind, "production") }
        after(:context) { @server&.stop }
      end

      include_examples "the pages of a Rails app"
      include_examples "the streams of a Rails app"
      include_examples "a Rails app in hardship"
    end

    # Puma's reactor plays no part in reloading.
    next if kind.environment["REACTOR"]

    describe "in development on #{kind.title}", **(skipped ? { skip: skipped } : {}) do
      unless skipped
        boot { @server = RailsServer.new(@app, kind, "development") }
        after(:context) { @server&.stop }
      end

      include_examples "a Rails app whose files change"
    end
  end
end

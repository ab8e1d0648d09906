# frozen_string_literal: true

require_relative "../support/rails_app"
require_relative "../support/rails_server"
require_relative "../support/rails_client"
require_relative "rails_examples/pages"

missing = RailsApp.missing

RSpec.describe "A Rails app", **(missing ? { skip: missing } : {}) do
  before(:context) do
    next if missing

    @app = RailsApp.new
    @stock = RailsServer.new(@app, RailsServer::STOCK, "production")
  end

  after(:context) do
    @stock&.stop
    @app&.stop
  end

  let(:app) { @app }
  let(:stock) { RailsClient.new(@stock.port) }
  let(:client) { RailsClient.new(@server.port) }

  RailsServer.kinds.each do |kind|
    describe "on #{kind.title}", **(kind.missing ? { skip: kind.missing } : {}) do
      before(:context) { @server = RailsServer.new(@app, kind, "production") unless missing || kind.missing }
      after(:context) { @server&.stop }

      include_examples "the pages of a Rails app"
    end
  end
end

# frozen_string_literal: true

# Makes slow queries.
class QueriesController < ApplicationController
  # Returns the number that the client has sent.
  def slow
    seconds = Float(params.fetch(:seconds, "0.2"))
    number = Account.lease_connection.select_value("SELECT #{Integer(params[:number])} FROM pg_sleep(#{seconds})")
    render plain: number.to_s
  end

  # Waits for a lock that the spec holds.
  def locked
    Account.lease_connection.execute("SELECT pg_advisory_xact_lock_shared(1)")
    render plain: "unlocked"
  end
end

# frozen_string_literal: true

# A query that takes its time.
class QueriesController < ApplicationController
  # The one who asks gets the number back that it has sent.
  def slow
    seconds = Float(params.fetch(:seconds, "0.2"))
    number = Account.lease_connection.select_value("SELECT #{Integer(params[:number])} FROM pg_sleep(#{seconds})")
    render plain: number.to_s
  end
end

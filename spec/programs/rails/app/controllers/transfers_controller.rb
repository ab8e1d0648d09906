# frozen_string_literal: true

# Runs a transaction of three statements. Others see all of it or nothing.
class TransfersController < ApplicationController
  skip_forgery_protection

  # Moves an amount slowly. With `failing` it raises after the first account has paid.
  def create
    from, to = params.values_at(:from, :to)
    amount = Integer(params.fetch(:amount, "1"))
    Account.transaction do
      Account.where(id: from).update_all(["balance = balance - ?", amount])
      Account.lease_connection.execute("SELECT pg_sleep(0.02)")
      raise ActiveRecord::Rollback if params[:failing]

      Account.where(id: to).update_all(["balance = balance + ?", amount])
    end
    render plain: "#{Account.find(from).balance} and #{Account.find(to).balance}"
  end
end

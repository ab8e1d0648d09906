# frozen_string_literal: true

# Makes three queries and renders a view.
class AccountsController < ApplicationController
  def index
    @accounts = Account.order(:id)
    @count = Account.count
    @names = Account.where(id: ..3).order(:id).pluck(:name)
  end

  def show
    render json: Account.find(params[:id]).slice(:id, :name)
  end
end

# frozen_string_literal: true

# Five a minute for each key, counted in the cache that `rails new` chooses: files.
class LimitsController < ApplicationController
  rate_limit to: 5, within: 1.minute, by: -> { params[:key] }

  def show
    render plain: "welcome"
  end
end

# frozen_string_literal: true

# Allows five requests a minute for each key, counted in the default cache of `rails new`: files.
class LimitsController < ApplicationController
  rate_limit to: 5, within: 1.minute, by: -> { params[:key] }

  def show
    render plain: "welcome"
  end
end

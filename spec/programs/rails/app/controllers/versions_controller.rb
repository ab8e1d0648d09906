# frozen_string_literal: true

# The spec changes this file during requests (rails_examples/reloading.rb).
class VersionsController < ApplicationController
  NUMBER = 0

  def show
    render plain: "#{NUMBER} and #{Version::NUMBER}"
  end
end

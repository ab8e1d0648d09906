# frozen_string_literal: true

# Its files change while it is asked (rails_examples/reloading.rb).
class VersionsController < ApplicationController
  NUMBER = 0

  def show
    render plain: "#{NUMBER} and #{Version::NUMBER}"
  end
end

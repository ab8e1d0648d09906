# frozen_string_literal: true

# Streams in Rails' own way: the action runs in a thread of its own.
class LiveStreamsController < ApplicationController
  include ActionController::Live

  def show
    response.headers["content-type"] = "text/plain"
    GatedLines.new(params[:gate]).each { |line| response.stream.write(line) }
  ensure
    response.stream.close
  end
end

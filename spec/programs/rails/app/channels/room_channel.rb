# frozen_string_literal: true

# Everybody in the room hears everything that anybody says there.
class RoomChannel < ApplicationCable::Channel
  def subscribed
    stream_from "room #{params[:room]}"
  end

  def speak(data)
    ActionCable.server.broadcast("room #{params[:room]}", { text: data["text"], accounts: Account.count })
  end
end

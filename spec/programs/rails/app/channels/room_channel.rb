# frozen_string_literal: true

# Sends every message in a room to everybody in that room.
class RoomChannel < ApplicationCable::Channel
  def subscribed
    stream_from "room #{params[:room]}"
  end

  def speak(data)
    ActionCable.server.broadcast("room #{params[:room]}", { text: data["text"], accounts: Account.count })
  end
end

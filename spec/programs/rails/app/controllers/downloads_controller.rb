# frozen_string_literal: true

# Names a file by its path, and the server sends that file.
class DownloadsController < ApplicationController
  def show
    send_file Rails.root.join("storage/large.bin"), type: "application/octet-stream"
  end
end

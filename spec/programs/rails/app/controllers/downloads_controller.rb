# frozen_string_literal: true

# A file by its path, which the server sends.
class DownloadsController < ApplicationController
  def show
    send_file Rails.root.join("storage/large.bin"), type: "application/octet-stream"
  end
end

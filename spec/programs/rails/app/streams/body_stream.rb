# frozen_string_literal: true

# Streams in Rack's way: the server calls each on the body. It is an endpoint of its own, because Rails reads a
# controller's body whole for its ETag.
class BodyStream
  def self.call(env)
    gate = Rack::Request.new(env).params["gate"]
    [200, { "content-type" => "text/plain" }, GatedLines.new(gate)]
  end
end

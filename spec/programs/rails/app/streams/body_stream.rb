# frozen_string_literal: true

# Rack's way to stream: the server asks the body for its parts. It is an endpoint of its own because a controller's body
# is read whole, for its ETag.
class BodyStream
  def self.call(env)
    gate = Rack::Request.new(env).params["gate"]
    [200, { "content-type" => "text/plain" }, GatedLines.new(gate)]
  end
end

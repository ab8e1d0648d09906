# frozen_string_literal: true

require "net/http"

RSpec.describe "examples/http_server.rb" do
  # Runs the example as a program for the length of the block.
  def serving(backend)
    example = File.expand_path("../../examples/http_server.rb", __dir__)
    child("ARGV.replace(%w[--port 0 --backend #{backend}])\nload #{example.dump}") do |program|
      yield program, program.gets[%r{http://127\.0\.0\.1:(\d+) }, 1].to_i
    end
  end

  def connect(port) = closing(TCPSocket.new("127.0.0.1", port))

  def request(path) = "GET #{path} HTTP/1.1\r\nHost: spec\r\n\r\n"

  # Reads the next answer. Returns whether the connection ends after it, and its body.
  def answer(socket)
    head = socket.gets("\r\n\r\n")
    [head.include?("\r\nConnection: close\r\n"), socket.read(head[/^Content-Length: (\d+)/, 1].to_i)]
  end

  each_backend do |backend|
    %w[INT TERM].each do |signal|
      it "at #{signal} takes no more connections, ends idle ones, and answers its open requests" do
        result = serving(backend) do |program, port|
          idle = connect(port)
          idle.write(request("/"))
          expect(answer(idle)).to eq([false, "Hello from a fiber\n"])
          asking = connect(port)
          # The server has the second request by the time it answers the first.
          asking.write(request("/") + request("/sleep/300"))
          expect(answer(asking)).to eq([false, "Hello from a fiber\n"])
          program.signal(signal)
          expect(idle.read).to eq("")
          expect { connect(port) }.to raise_error(Errno::ECONNREFUSED)
          expect(answer(asking)).to eq([true, "Slept for 300 ms\n"])
          expect(asking.read).to eq("")
        end
        expect(result).to have_attributes(stdout: "Served 3 requests\n", stderr: "", status: be_success)
      end
    end

    it "ends well when it gets a signal while clients reset their connections" do
      result = serving(backend) do |program, port|
        sockets = Array.new(20) { connect(port) }
        sockets.each do |socket|
          socket.write(request("/"))
          answer(socket)
        end
        program.signal("STOP")
        sockets.each do |socket|
          socket.setsockopt(Socket::Option.linger(true, 0))
          socket.close
        end
        program.signal("TERM")
        program.signal("CONT")
      end
      expect(result).to have_attributes(stdout: "Served 20 requests\n", stderr: "", status: be_success)
    end

    it "ends at once at a second signal" do
      result = serving(backend) do |program, port|
        idle = connect(port)
        idle.write(request("/"))
        answer(idle)
        connect(port).write(request("/sleep/99999"))
        expect(Net::HTTP.get("127.0.0.1", "/", port)).to eq("Hello from a fiber\n")
        program.signal("TERM")
        expect(idle.read).to eq("")
        program.signal("TERM")
      end
      expect(result).to have_attributes(stdout: "Served 2 requests\n", stderr: "", status: be_success)
    end
  end
end

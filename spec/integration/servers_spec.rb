# frozen_string_literal: true

require "net/http"

RSpec.describe "A program on one thread, with" do
  each_backend do |backend|
    it "50 fibers that fetch from nginx with Net::HTTP at the same time, byte for byte" do
      skip Nginx.missing if Nginx.missing
      nginx = Nginx.instance
      bodies = {}
      inside = most = 0
      scheduled do
        50.times do |index|
          Fiber.schedule do
            Net::HTTP.start("127.0.0.1", nginx.port) do |http|
              inside += 1
              eventually { inside == 50 || most == 50 } # each fiber has its connection before the first one asks
              most = [most, inside].max
              bodies[index] = Nginx::BODY_SIZES.map { |size| http.get("/#{size}").body }
            end
          end
        end
      end
      expected = Nginx::BODY_SIZES.map { |size| nginx.body(size) }
      expect(most).to eq(50)
      expect(bodies.size).to eq(50)
      bodies.each_value { |received| expect(received == expected).to be(true) }
    end

    it "Net::HTTP's own errors: a missing page, a refused connection and a read timeout" do
      skip Nginx.missing if Nginx.missing
      nginx = Nginx.instance
      scheduled do
        expect(Net::HTTP.get_response("127.0.0.1", "/none", nginx.port).code).to eq("404")
        server = tcp_server
        port = server.local_address.ip_port
        expect { Net::HTTP.start("127.0.0.1", port, read_timeout: 0.02, max_retries: 0) { |http| http.get("/") } }
          .to raise_error(Net::ReadTimeout)
        server.close
        expect { Net::HTTP.get("127.0.0.1", "/", port) }.to raise_error(Errno::ECONNREFUSED)
      end
    end

    { "TCP" => lambda { |spec|
      server = spec.tcp_server
      [server, -> { TCPSocket.new("127.0.0.1", server.local_address.ip_port) }]
    },
      "UNIX" => lambda { |spec|
        path = spec.free_path("socket")
        [spec.closing(UNIXServer.new(path)), -> { UNIXSocket.new(path) }]
      } }.each do |kind, make|
      it "a #{kind} server and 100 clients, which end only if the server serves all of them at once" do
        answers = []
        present = 0
        spec = self
        scheduled do
          server, connect = make.call(spec)
          Fiber.schedule do
            100.times do
              client = server.accept
              Fiber.schedule do
                present += 1 if client.gets
                eventually { present == 100 }
                client.puts(client.gets.upcase)
                client.close
              end
            end
          end
          100.times do |index|
            Fiber.schedule do
              socket = connect.call
              socket.puts("here")
              socket.puts("client #{index}")
              answers << socket.read
              socket.close
            end
          end
        end
        expect(answers.sort).to eq(Array.new(100) { |index| "CLIENT #{index}\n" }.sort)
      end
    end

    it "a proxy that copies both directions between two sockets with IO.copy_stream" do
      data = pattern(500_000)
      received = nil
      scheduled do
        client, front = unix_pair
        back, server = unix_pair
        Fiber.schedule { IO.copy_stream(front, back) && back.close_write }
        Fiber.schedule { IO.copy_stream(back, front) && front.close_write }
        Fiber.schedule { IO.copy_stream(server, server) && server.close_write }
        Fiber.schedule do
          client.write(data)
          client.close_write
        end
        received = client.read
      end
      expect(received == data).to be(true)
    end

    it "10,000 connected sockets, each with a parked fiber, serves and closes them", limit: 60 do
      skip "select watches descriptors below 1024 only" if backend == :select
      skip "poll(2) looks at every descriptor each time: covered by epoll" if backend == :poll
      script = <<~RUBY
        require "socket"
        connections = 10_000
        soft, hard = Process.getrlimit(:NOFILE)
        Process.setrlimit(:NOFILE, hard) if hard > soft
        room = Process.getrlimit(:NOFILE).first
        abort "skip: only \#{room} descriptors may be open" if room < connections + 200
        reader, writer = IO.pipe
        path = ARGV[1]
        server = UNIXServer.new(path)
        server.listen(4096)
        fork do
          # The other ends are in a process of its own, because the limit of open files is per process.
          server.close
          # In parts: beyond the backlog a UNIX socket's connect fails, but Ruby treats it as connected.
          sockets = Array.new(connections / 1000) do
            part = Array.new(1000) { UNIXSocket.new(path) }
            reader.read(1)
            part
          end.flatten
          reader.read(1)
          sockets.each_with_index { |socket, index| socket.write([index].pack("N")) }
          sums = sockets.sum { |socket| socket.read(4).unpack1("N") }
          exit!(sums == connections * (connections - 1) / 2 + connections ? 0 : 1)
        end
        served = parked = 0
        UringIO.run(backend: ARGV[0].to_sym) do
          connections.times do
            socket = server.accept
            Fiber.schedule do
              parked += 1
              writer.write("x") if (parked % 1000).zero?
              number = socket.read(4).unpack1("N")
              socket.write([number + 1].pack("N"))
              socket.close
              served += 1
            end
          end
          puts "parked \#{parked}, served \#{served}"
          writer.write("x")
          Process.wait
          puts "other end: \#{$?.exitstatus}"
        end
        puts "served \#{served}"
      RUBY
      result = child(script, backend, free_path("socket"), limit: 50)
      skip result.stderr if result.stderr.start_with?("skip")
      expect(result.stderr).to eq("")
      expect(result.stdout).to eq("parked 10000, served 0\nother end: 0\nserved 10000\n")
    end
  end
end

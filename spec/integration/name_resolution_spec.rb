# frozen_string_literal: true

RSpec.describe "Name resolution under the scheduler" do
  # Lines of a script that give the program an /etc/hosts of its own, in a private mount namespace (unshare -m). Without
  # the permission they end the program with a line that begins with "skip".
  def self.with_private_hosts
    <<~RUBY
      require "fiddle"
      require "socket"
      require "timeout"
      system_call = lambda do |name, arguments, *values|
        function = Fiddle::Function.new(Fiddle::Handle::DEFAULT[name], arguments, Fiddle::TYPE_INT)
        function.call(*values).zero? ? nil : Fiddle.last_error
      end
      mount = lambda do |source, target, flags|
        pointer, long = Fiddle::TYPE_VOIDP, Fiddle::TYPE_LONG
        system_call.call("mount", [pointer, pointer, pointer, long, pointer], source, target, nil, flags, nil)
      end
      new_mounts, bind, private_recursive = 0x20000, 4096, 0x44000
      error = system_call.call("unshare", [Fiddle::TYPE_INT], new_mounts)
      puts("skip: unshare(CLONE_NEWNS): \#{SystemCallError.new(error).message}") || exit if error
      error = mount.call("none", "/", private_recursive)
      # In a chroot, / is no mount point, so this fails. Mounts that were private before stay private.
      if error && File.read("/proc/self/mountinfo").include?(" shared:")
        puts("skip: mounts are shared and cannot be made private: \#{SystemCallError.new(error).message}") || exit
      end
      error = mount.call(ARGV[1], "/etc/hosts", bind)
      puts("skip: bind mount on /etc/hosts: \#{SystemCallError.new(error).message}") || exit if error
    RUBY
  end

  hosts = <<~HOSTS
    127.0.0.1 localhost
    ::1 localhost
    127.9.8.7 private-name.test alias.test
    fd00::9 private-name.test
  HOSTS

  each_backend do |_backend|
    it "finds localhost, in every method that resolves names" do
      addresses = scheduled do
        [*Addrinfo.getaddrinfo("localhost", 80, nil, :STREAM), Addrinfo.tcp("localhost", 80)].map(&:ip_address)
      end
      expect(addresses.uniq - ["127.0.0.1", "::1"]).to be_empty
      expect(addresses.first).to eq(addresses.last)
    end

    it "connects to a server by name, from ten fibers at once" do
      answers = []
      scheduled do
        server = tcp_server
        port = server.local_address.ip_port
        Fiber.schedule do
          clients = Array.new(10) { server.accept } # the server has all ten connections before it answers the first
          clients.each_with_index do |client, index|
            client.puts(index)
            client.close
          end
        end
        10.times do
          Fiber.schedule do
            answers << Socket.tcp("localhost", port) { |socket| socket.gets.to_i }
          end
        end
      end
      expect(answers.sort).to eq([*0..9])
    end

    it "gives each of 50 fibers at once its own answer, for names and for addresses" do
      answers = {}
      scheduled do
        50.times do |index|
          Fiber.schedule do
            name = index.odd? ? "localhost" : "127.0.0.#{index}"
            answers[index] = Addrinfo.getaddrinfo(name, nil, :INET, :STREAM).map(&:ip_address)
          end
        end
      end
      expect(answers).to eq((0..49).to_h { |index| [index, [index.odd? ? "127.0.0.1" : "127.0.0.#{index}"]] })
    end

    it "raises the same error for an unknown name as Ruby does without a scheduler" do
      # The resolver asks no server for these names: too long, malformed, with a null byte, empty.
      names = ["#{'a' * 300}.invalid", "two words", "dot..dot", "null\0byte", ""]
      failures = lambda do
        names.map { |name| raised { Addrinfo.getaddrinfo(name, 80, nil, :STREAM) }&.class }
      end
      expected = in_thread(&failures)
      expect(scheduled { failures.call }).to eq(expected)
      expect(expected.first.ancestors).to include(SocketError)
    end

    it "reads the hosts file as the system's resolver does: private names, aliases, both families" do
      script = <<~RUBY
        #{self.class.with_private_hosts}
        addresses = ->(name, family = nil) { Addrinfo.getaddrinfo(name, 80, family, :STREAM).map(&:ip_address).sort.join(" ") }
        ask = lambda do
          puts addresses.call("private-name.test", :INET)
          puts addresses.call("private-name.test", :INET6)
          puts addresses.call("alias.test", :INET)
          begin
            addresses.call("unknown-\#{'x' * 70}.test", :INET)
          rescue SocketError => error
            puts error.class, error.message
          end
        end
        ask.call
        puts "and in a fiber"
        UringIO.run(backend: ARGV[0].to_sym) do
          Fiber.schedule(&ask)
          puts "others run"
        end
      RUBY
      result = child(script, backend, file_with(hosts))
      skip result.stdout if result.stdout.start_with?("skip")
      expect(result.stderr).to eq("")
      without, with = result.stdout.split("and in a fiber\n")
      expect(without.lines.first(3)).to eq(["127.9.8.7\n", "fd00::9\n", "127.9.8.7\n"])
      expect(with).to eq("others run\n#{without}")
    end

    it "remembers a name's entry in the hosts file until the file changes" do
      script = <<~RUBY
        #{self.class.with_private_hosts}
        ask = -> { Addrinfo.getaddrinfo("private-name.test", 80, :INET, :STREAM).map(&:ip_address) }
        UringIO.run(backend: ARGV[0].to_sym) do
          puts ask.call
          Fiber.schedule { puts ask.call }
          puts "the second one did not wait"
          File.write(ARGV[1], "127.7.7.7 private-name.test")
          Fiber.schedule { puts ask.call }
          puts "the third one waits"
        end
      RUBY
      result = child(script, backend, file_with(hosts))
      skip result.stdout if result.stdout.start_with?("skip")
      expect(result.stderr).to eq("")
      expect(result.stdout).to eq("127.9.8.7\n127.9.8.7\nthe second one did not wait\nthe third one waits\n127.7.7.7\n")
    end

    it "connects to a server by its private name" do
      script = <<~RUBY
        #{self.class.with_private_hosts}
        Socket.tcp_fast_fallback = false if Socket.respond_to?(:tcp_fast_fallback=) # else Ruby resolves in threads
        UringIO.run(backend: ARGV[0].to_sym) do
          server = TCPServer.new("127.9.8.7", 0)
          port = server.local_address.ip_port
          Fiber.schedule { 5.times.map { server.accept }.each { |client| client.puts("welcome") || client.close } }
          5.times do
            Fiber.schedule { puts TCPSocket.new("alias.test", port).read }
          end
        end
      RUBY
      result = child(script, backend, file_with(hosts))
      skip result.stdout if result.stdout.start_with?("skip")
      expect(result.stderr).to eq("")
      expect(result.stdout).to eq("welcome\n" * 5)
    end

    it "keeps neither a fiber that times out nor the end of the program waiting for a slow server" do
      # A name server of our own that never answers. The resolver would wait five seconds for it, twice.
      script = <<~RUBY
        #{self.class.with_private_hosts}
        error = mount.call(ARGV[2], "/etc/resolv.conf", bind)
        puts("skip: bind mount on /etc/resolv.conf: \#{SystemCallError.new(error).message}") || exit if error
        clock = -> { Process.clock_gettime(Process::CLOCK_MONOTONIC) }
        mute = UDPSocket.new
        begin
          mute.bind("127.45.6.7", 53)
        rescue SystemCallError => error
          puts("skip: port 53: \#{error.message}") || exit
        end
        start = clock.call
        UringIO.run(backend: ARGV[0].to_sym) do
          Fiber.schedule do
            Timeout.timeout(0.2) { Addrinfo.getaddrinfo("www.slow.test", 80) }
          rescue Timeout::Error
            puts "timed out \#{clock.call - start >= 0.2}"
          end
          mute.recvfrom(1000)
          puts "the lookup waits"
          puts Addrinfo.getaddrinfo("private-name.test", 80, :INET, :STREAM).map(&:ip_address)
        end
        puts clock.call - start < 4
      RUBY
      resolver = file_with("nameserver 127.45.6.7\noptions timeout:5 attempts:2\n")
      result = child(script, backend, file_with(hosts), resolver)
      skip result.stdout if result.stdout.start_with?("skip")
      expect(result.stderr).to eq("")
      expect(result.stdout).to eq("the lookup waits\n127.9.8.7\ntimed out true\ntrue\n")
    end
  end
end

# frozen_string_literal: true

require "ipaddr"

RSpec.describe UringIO::Scheduler, "#address_resolve" do
  # The resolver asks no name server for a label longer than DNS allows.
  unknown = "#{'a' * 300}.invalid"

  each_backend do |_backend|
    it "returns the numeric addresses of a name" do
      scheduled do |scheduler|
        addresses = scheduler.address_resolve("localhost")
        expect(addresses).not_to be_empty
        expect(addresses.map { |address| IPAddr.new(address).loopback? }).to all(be(true))
      end
    end

    it "returns a numeric address as it is" do
      scheduled do |scheduler|
        expect(scheduler.address_resolve("127.0.0.1")).to eq(["127.0.0.1"])
        expect(scheduler.address_resolve("::1")).to eq(["::1"])
      end
    end

    it "returns nil for an unknown name, and Ruby raises its own error" do
      scheduled do |scheduler|
        expect(scheduler.address_resolve(unknown)).to be_nil
        expect { Addrinfo.tcp(unknown, 80) }.to raise_error(SocketError)
      end
    end

    describe "raises what Ruby raises without a scheduler" do
      # Returns what that Ruby code prints before UringIO.run, and expects the same within it.
      define_method(:raised_for) do |name, command: [], before: ""|
        result = child(<<~RUBY, backend, name, command:)
          require "socket"
          def told
            Addrinfo.getaddrinfo(ARGV[1], nil)
          rescue SystemCallError, SocketError => error
            [error.class, *(error.error_code if error.respond_to?(:error_code))].join(" ")
          end
          Addrinfo.tcp("localhost", 1) # loads what the resolver needs
          print(UringIO.run(backend: ARGV[0].to_sym) { #{before}; told }, "\n")
          #{before}
          print(told, "\n")
        RUBY
        expect(result.stderr).to eq("")
        expect(result.stdout.lines.uniq.size).to eq(1)
        result.stdout.lines.first.chomp
      end

      it "when the resolver has no descriptor" do
        exhaust = "$files ||= []; Process.setrlimit(:NOFILE, 40); " \
                  "begin; loop { $files << File.open('/dev/null') }; rescue Errno::EMFILE; end"
        expect(raised_for("localhost", before: exhaust)).to eq("Errno::EMFILE")
      end

      it "when no name server can be asked" do
        alone = Process.uid.zero? ? %w[unshare --net] : %w[unshare --map-root-user --net]
        skip "unshare(1) cannot take the network away here" unless system(*alone, "true", err: File::NULL)
        expect(raised_for("a.invalid", command: alone)).to eq("Socket::ResolutionError -3")
      end
    end

    it "lets other fibers run while one resolves a name" do
      order = []
      scheduled do |scheduler|
        Fiber.schedule { order << :resolves << scheduler.address_resolve("127.0.0.1") }
        order << :other
      end
      expect(order).to eq([:resolves, :other, ["127.0.0.1"]])
    end

    it "lets other fibers run between many answers that need no wait" do
      others = nil
      scheduled do |scheduler|
        scheduler.address_resolve("localhost")
        Fiber.schedule do
          300.times { scheduler.address_resolve("localhost") }
          others ||= :waited
        end
        others ||= :ran
      end
      expect(others).to eq(:ran)
    end

    it "resolves many names at once" do
      results = []
      scheduled do |scheduler|
        50.times { |index| Fiber.schedule { results << [index, scheduler.address_resolve("127.0.0.#{index + 1}")] } }
      end
      expect(results.sort).to eq(Array.new(50) { |index| [index, ["127.0.0.#{index + 1}"]] })
    end

    it "survives the death of the fiber that asked" do
      addresses = nil
      on_root do |scheduler|
        fiber = Fiber.schedule { scheduler.address_resolve("localhost") }
        fiber.kill
        expect(fiber).not_to be_alive
        Fiber.schedule { addresses = scheduler.address_resolve("127.0.0.1") }
        scheduler.run
      end
      expect(addresses).to eq(["127.0.0.1"])
    end

    it "raises TypeError for anything but a String, and finds no address for odd names" do
      scheduled do |scheduler|
        [nil, 1, :localhost, Object.new].each do |wrong|
          expect { scheduler.address_resolve(wrong) }.to raise_error(TypeError)
        end
        ["", "a\0b", " ", "a b"].each do |odd|
          result = nil
          error = raised { result = scheduler.address_resolve(odd) }
          expect(error).to be_nil.or be_a(ArgumentError)
          expect(result).to be_nil.or be_an(Array)
        end
        expect(scheduler.address_resolve("127.0.0.1".b)).to eq(["127.0.0.1"])
        expect(["\xff\xfe", "\xff".b, "\u00e4".encode("ISO-8859-1")].map { |odd| scheduler.address_resolve(odd) })
          .to all(be_nil)
        expect(scheduler.address_resolve("127.0.0.1")).to eq(["127.0.0.1"])
      end
    end
  end
end

# frozen_string_literal: true

# bench/several/run starts this. It runs NUMBER echo programs at once, each on a scheduler of its own in a process or a
# Ractor of its own. Prints how many exchanges all of them made.
#
#   ruby bench/several/program.rb processes|ractors NUMBER BACKEND SECONDS

require "socket"
require "uring_io"

# Twenty connections that exchange 512 bytes, for some seconds.
module Echo
  PAIRS = 20
  MESSAGE = ("x" * 512).freeze

  class << self
    def run(backend, seconds)
      done = 0
      over = false
      UringIO.run(backend:) do
        pairs.each do |client, peer|
          Fiber.schedule { answer(peer) }
          Fiber.schedule do
            until over
              exchange(client)
              done += 1
            end
            client.close
          end
        end
        sleep(seconds)
        over = true
      end
      done
    end

    private

    def exchange(client)
      client.write(MESSAGE)
      client.readpartial(512)
    end

    def answer(peer)
      loop { peer.write(peer.readpartial(512)) }
    rescue EOFError
      peer.close
    end

    def pairs
      TCPServer.open("127.0.0.1", 0) do |server|
        Array.new(PAIRS) { [TCPSocket.new("127.0.0.1", server.local_address.ip_port), server.accept] }
      end
    end
  end
end

# Runs the echo programs, and returns the number of exchanges of each.
module Several
  class << self
    def processes(number, backend, seconds)
      answers = Array.new(number) do
        IO.popen("-") || begin
          $stdout.syswrite(Echo.run(backend, seconds).to_s)
          exit!(0)
        end
      end
      answers.map { |answer| Integer(answer.read) }
    end

    def ractors(number, backend, seconds)
      some = Array.new(number) { Ractor.new(backend, seconds) { |*arguments| Echo.run(*arguments) } }
      some.map { |ractor| ractor.respond_to?(:value) ? ractor.value : ractor.take }
    end
  end
end

way, number, backend, seconds = ARGV
puts Several.public_send(way, Integer(number), backend.to_sym, Float(seconds)).sum

# frozen_string_literal: true

require "resolv"
require "socket"

module Libraries
  # Answers DNS questions with a text: the first label of the name.
  class NameServer
    def initialize(gate)
      @gate = gate
      @socket = UDPSocket.new
      @socket.bind("127.0.0.1", 0)
      @threads = Thread::Queue.new
      @threads << Thread.new { receive }
    end

    def address
      { nameserver_port: [["127.0.0.1", @socket.local_address.ip_port]] }
    end

    def stop
      @socket.close
      @threads.pop.kill.join until @threads.empty?
    end

    private

    def receive
      loop do
        question, from = @socket.recvfrom(4096)
        @threads << Thread.new { answer(Resolv::DNS::Message.decode(question), from[1]) }
      end
    rescue IOError
      nil # stopped
    end

    def answer(message, port)
      name, = message.question.first
      word = name[0].to_s
      @gate.call.pass(word) if word.match?(Gate::WORD)
      message.qr = 1
      message.add_answer(name, 60, Resolv::DNS::Resource::IN::TXT.new(word))
      @socket.send(message.encode, 0, "127.0.0.1", port)
    end
  end
end

# frozen_string_literal: true

require_relative "../case"
require_relative "../child"

# A server with many keep-alive connections, of which one in a hundred misbehaves: half requests, resets in the middle
# of a request or an answer, nonsense, one byte a second. Every other client gets each answer, complete and its own,
# until somebody stops the server; and then the answers that the server has begun.

# To /DELAY/SIZE/TEXT the server answers SIZE times TEXT after DELAY milliseconds. At SIGTERM it answers all its
# requests and ends. It prints its port, and at the end how much it answered and which descriptors are still open.
SERVER = <<~'RUBY'
  require "socket"
  require "uring_io"
  answered = 0
  UringIO.run(backend: ARGV[0].to_sym) do
    before = Dir.children("/proc/self/fd").size
    server = TCPServer.new("127.0.0.1", 0)
    server.listen(4096)
    told = Thread::Queue.new
    trap(:TERM) { told << true }
    ending = false
    idle = {}
    read_path = lambda do |client|
      idle[client] = true
      path = client.gets("\r\n", 1000)&.[](%r{\AGET (/\S+) HTTP/1\.1\r\n\z}, 1)
      nil until client.gets("\r\n", 1000).to_s.strip.empty?
      idle.delete(client)
      path
    end
    serve = lambda do |client|
      client.timeout = 300
      while (path = read_path.call(client))
        _, delay, size, text = path.split("/")
        sleep(delay.to_i / 1000.0) if delay != "0"
        body = text * size.to_i
        client.write("HTTP/1.1 200 OK\r\nContent-Length: #{body.bytesize}\r\n#{"Connection: close\r\n" if ending}\r\n#{body}")
        answered += 1
        break if ending
      end
    rescue SystemCallError, IOError
      nil # it was one of a hundred
    ensure
      idle.delete(client)
      client.close
    end
    acceptor = Fiber.schedule do
      loop do
        client = server.accept
        Fiber.schedule { serve.call(client) }
      end
    rescue Errno::EINVAL
      nil # it was shut down
    end
    $stdout.puts(server.local_address.ip_port)
    $stdout.flush
    told.pop
    ending = true
    server.shutdown(:RD)
    # The fiber reads earlier input after that, and then the end.
    idle.each_key do |client|
      client.shutdown(:RD)
    rescue Errno::ENOTCONN
      nil # it was reset just now
    end
    at_exit { puts "#{answered} #{Dir.children("/proc/self/fd").size - before}" }
    sleep(0.001) while acceptor.alive?
    server.close
  end
RUBY

# A client that asks again and again.
class Client
  attr_reader :latencies

  def initialize(soak, number, port, ending)
    @soak = soak
    @number = number
    @port = port
    @ending = ending
    @latencies = []
  end

  # Asks until the end; +pause+ is how long it is silent in between, at most.
  def work(pause)
    socket = TCPSocket.new("127.0.0.1", @port)
    until @ending.closed?
      ask(socket)
      @ending.pop(timeout: @soak.random.rand * pause)
    end
    @soak.expect(socket.read.empty?, "client #{@number} got more than it asked for")
  rescue SystemCallError, IOError => error
    trouble = "#{error.class} (#{error.message}) after #{@latencies.size} answers"
    @soak.violation("client #{@number} got #{trouble}#{', while the server ended' if @ending.closed?}")
  ensure
    socket&.close
  end

  private

  def ask(socket)
    delay = @soak.random.rand(10).zero? ? @soak.random.rand(200) : 0
    size = @soak.random.rand(100).zero? ? 20_000 : @soak.random.rand(1..50)
    text = "#{@number}-#{@latencies.size}."
    asked = @soak.now
    socket.write("GET /#{delay}/#{size}/#{text} HTTP/1.1\r\nHost: soak\r\n\r\n")
    @soak.expect(answer(socket) == text * size, "client #{@number} got another answer than its own")
    @latencies << (@soak.now - asked - (delay / 1000.0))
    @soak.done
  end

  def answer(socket)
    status = socket.gets("\r\n")
    return "#{status.inspect} for a status" if status != "HTTP/1.1 200 OK\r\n"

    length = 0
    while (line = socket.gets("\r\n")) && line != "\r\n"
      length = Integer(line[/\d+/]) if line.start_with?("Content-Length: ")
    end
    socket.read(length)
  end
end

# One of those who do not behave.
class Nuisance
  MANNERS = %i[half reset_asking reset_answered nonsense slow].freeze

  def initialize(soak, port, ending)
    @soak = soak
    @port = port
    @ending = ending
  end

  def work
    until @ending.closed?
      TCPSocket.open("127.0.0.1", @port) { |socket| public_send(MANNERS.sample(random: @soak.random), socket) }
      @soak.fault
    end
  rescue SystemCallError, IOError
    # The server may do what it wants with it.
    @ending.closed? ? nil : retry
  end

  def half(socket)
    socket.write("GET /0/1/half HTTP/1.1\r\nHo")
    pause
  end

  def reset_asking(socket)
    socket.write("GET /0/1/ha")
    reset(socket)
  end

  def reset_answered(socket)
    socket.write("GET /#{@soak.random.rand(50)}/1000000/much HTTP/1.1\r\n\r\n")
    pause
    reset(socket)
  end

  def nonsense(socket)
    socket.write(@soak.random.bytes(@soak.random.rand(1..5000)))
    socket.close_write
    socket.read
  end

  def slow(socket)
    "GET /0/1/slow HTTP/1.1\r\n\r\n".each_char do |char|
      socket.write(char)
      @ending.pop(timeout: 1)
      break if @ending.closed?
    end
  end

  private

  def pause = sleep(@soak.random.rand * 0.2)

  def reset(socket) = socket.setsockopt(Socket::Option.linger(true, 0))
end

Case.run do
  # 400 connections for what is short, and 10,000 from ten minutes on, where so many may be open.
  share = ((seconds - 5) / 595.0).clamp(0, 1)
  wanted = (400 + (9600 * share)).round
  _, hard = Process.getrlimit(:NOFILE)
  hard = [hard, wanted + 1000].max if Process.euid.zero?
  Process.setrlimit(:NOFILE, [hard, wanted + 1000].min, hard)
  count = [wanted, hard - 1000].min
  # As many requests a second whatever the number.
  pause = count / 400.0
  starts = now
  ends = starts + seconds - [seconds * 0.2, 2].min
  # Closed in the end: nobody waits for it any more.
  ending = Thread::Queue.new

  scheduled { sleep(0.001) } # opens what Ruby keeps open
  before = descriptors
  latencies = []
  server = IO.popen(Child.command(backend, limit: (seconds + 40).ceil), "r+")
  begin
    server.write(SERVER)
    server.close_write
    port = Integer(server.gets)
    scheduled do
      clients = Array.new(count) { |number| Client.new(self, number, port, ending) }
      fibers = clients.map do |client|
        Fiber.schedule do
          sleep(random.rand * (seconds * 0.2))
          client.work(pause)
        end
      end
      nuisances = Array.new((count / 100.0).ceil) { Fiber.schedule { Nuisance.new(self, port, ending).work } }
      sleep(ends - now)
      ending.close
      # The server's own process, and not the one that bounds its time.
      Process.kill(:TERM, Integer(File.read("/proc/#{server.pid}/task/#{server.pid}/children").split.first))
      told = now
      sleep(0.01) while (fibers + nuisances).any?(&:alive?) && now < told + 30
      late = fibers.count(&:alive?)
      next if late.zero? && nuisances.none?(&:alive?)

      violation("#{late} clients wait 30 s after the server was told to end")
      raise SystemExit
    ensure
      latencies = clients.flat_map(&:latencies).sort
    end
  rescue SystemExit
    nil
  end
  answered, left = server.gets.to_s.split.map { |text| Integer(text) }
  server.close
  expect($?.success?, "the server ended with #{$?.inspect}")
  expect(answered.to_i >= latencies.size, "the server says that it answered #{answered}, and #{latencies.size} came")
  expect(left.to_i <= 0, "the server left #{left} descriptors")
  expect(descriptors == before, "#{descriptors - before} descriptors were left")
  expect(latencies.any?, "nothing was answered")
  median, most, longest = [0.5, 0.99, 1].map { |part| latencies[((latencies.size - 1) * part).floor].to_f * 1000 }
  warn format("load on %<backend>s: %<count>d connections, %<answers>d answers in %<seconds>.1f s; latency median " \
              "%<median>.1f ms, 99th percentile %<most>.1f ms, longest %<longest>.1f ms",
              backend:, count:, answers: latencies.size, seconds: now - starts, median:, most:, longest:)
end

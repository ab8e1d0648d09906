# frozen_string_literal: true

Libraries.row "net-ssh", server: :ssh do
  require "net/ssh"

  each_fiber do |index|
    options = { port: server[:port], keys: server[:keys], keys_only: true, verify_host_key: :never, config: false }
    Net::SSH.start(server[:host], server[:user], **options) do |ssh|
      echoes(index) { |word| ssh.exec!("curl -s #{server[:url]}/#{word}").to_s }
    end
  end
end

Libraries.row "mail", server: :mail do
  require "mail"

  each_fiber do |index|
    settings = { address: server[:host], port: server[:port], return_response: true }
    echoes(index) do |word|
      mail = Mail.new(from: "a@example.org", to: "b@example.org", subject: word, body: "hello")
      mail.delivery_method(:smtp, settings)
      mail.deliver!.string[/\A250 (.*)$/, 1]
    end
  end
end

Libraries.row "websocket-driver", server: :web_sockets do
  require "websocket/driver"
  stream = Struct.new(:url, :io) { def write(bytes) = io.write(bytes) }

  each_fiber do |index|
    uri = URI(server[:url])
    socket = TCPSocket.new(uri.host, uri.port)
    driver = WebSocket::Driver.client(stream.new(server[:url], socket))
    opened = false
    answers = []
    driver.on(:open) { opened = true }
    driver.on(:message) { |event| answers << event.data }
    driver.start
    driver.parse(socket.readpartial(65_536)) until opened
    echoes(index) do |word|
      driver.text(word)
      driver.parse(socket.readpartial(65_536)) while answers.empty?
      answers.shift
    end
  ensure
    socket&.close
  end
end

Libraries.row "faye-websocket", server: :web_sockets do
  require "faye/websocket"
  require "eventmachine"
  started = Thread::Queue.new
  loop_thread = Thread.new { EventMachine.run { started << true } }
  started.pop

  each_fiber do |index|
    events = Thread::Queue.new
    client = nil
    EventMachine.schedule do
      client = Faye::WebSocket::Client.new(server[:url])
      client.on(:open) { events << "open" }
      client.on(:message) { |event| events << event.data }
    end
    same("open", events.pop)
    echoes(index) do |word|
      EventMachine.schedule { client.send(word) }
      events.pop
    end
  end
  EventMachine.stop
  loop_thread.join
end

Libraries.row "drb", gem: nil, server: :objects do
  require "drb"

  each_fiber do |index|
    object = DRbObject.new_with_uri(server[:uri])
    echoes(index) { |word| object.echo(word) }
  end
end

Libraries.row "Resolv::DNS", gem: nil, server: :names do
  require "resolv"

  each_fiber do |index|
    resolver = Resolv::DNS.new(nameserver_port: server[:nameserver_port], search: [], ndots: 1)
    echoes(index) { |word| resolver.getresource("#{word}.example", Resolv::DNS::Resource::IN::TXT).data }
  ensure
    resolver&.close
  end
end

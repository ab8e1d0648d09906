# frozen_string_literal: true

# Rude clients, and processes that end during requests.
RSpec.shared_examples "a Rails app in hardship" do
  def in_time(&) = Timeout.timeout(15) { eventually(&) }

  it "answers well-behaved clients while others disconnect rudely, and keeps no connection of either", limit: 60 do
    total = app.balances.sum
    wrong = []
    RudeClients.at(@server.port) do
      Array.new(4) do |thread|
        Thread.new do
          12.times do |round|
            number = (100 * thread) + round
            path = ["/slow?number=#{number}&seconds=0.01", "/accounts/3", "/file"][round % 3]
            right = [number.to_s, '{"id":3,"name":"account 3"}', app.large_file][round % 3]
            wrong << path unless client.get(path).then { |answer| answer.status == 200 && answer.body == right }
          end
        end
      end.each(&:join)
    end
    expect(wrong).to eq([])
    # The app has given back everything that rude clients held.
    expect(client.get_all(Array.new(16) { |number| "/slow?number=#{number}&seconds=0.05" }).map(&:body))
      .to eq(Array.new(16, &:to_s))
    in_time { @server.connections.zero? }
    expect(app.balances.sum).to eq(total)
    expect(app.idle_in_transaction).to eq(0)
  end

  it "loses no request when a new process takes over and the old one ends after its streams", limit: 60 do
    gate = app.gate
    asking = Array.new(4) { |n| RailsClient::Asking.new(client, "/slow?number=#{n}&seconds=0.02", n.to_s) }
    streams = %w[/live /body /live /body].map { |path| client.stream("#{path}?gate=#{gate}") }
    expect(streams.map(&:gets)).to eq(["the first line\n"] * 4)
    old = @server.program
    @server.start
    @server.terminate do
      app.open_gate(gate)
      expect(streams.map(&:read).uniq).to match([end_with("\nthe last line\n")])
    end
    before = asking.map(&:answered)
    in_time { asking.zip(before).all? { |client, answered| client.answered > answered + 5 } }
    asking.each(&:stop)
    expect(asking.flat_map(&:wrong)).to eq([])
    in_time { app.sessions(old.name).zero? }
    expect(app.idle_in_transaction).to eq(0)
  end
end

# frozen_string_literal: true

# Responses in parts, and Action Cable.
RSpec.shared_examples "the streams of a Rails app" do
  %w[/live /body].each do |path|
    it "sends the first line of #{path} at once, and the rest when there is more, to each of 6 clients" do
      results = [client, stock].map do |server|
        gate = app.gate
        streams = Array.new(6) { server.stream("#{path}?gate=#{gate}") }
        expect(streams.map(&:gets)).to eq(["the first line\n"] * 6)
        app.open_gate(gate)
        streams.map(&:read).uniq
      end
      expect(results[0].size).to eq(1)
      expect(results[0].first).to end_with("account 5\n#{'x' * 100_000}\nthe last line\n")
      expect(results[0]).to eq(results[1])
    end
  end

  it "sends every message of a room to everybody in it by Action Cable on PostgreSQL, even after one has gone" do
    heard = [client, stock].map do |server|
      clients = Array.new(6) { CableClient.new(server.port, "one") }
      other = CableClient.new(server.port, "other")
      CableClient.new(server.port, "one").reset
      clients.each_with_index { |cable, number| cable.say("number #{number}") }
      all = clients.map { |cable| Array.new(6) { cable.hear }.sort_by { |message| message["text"] } }
      other.say("alone")
      [*all.uniq, other.hear]
    ensure
      [*clients, *other].each(&:close)
    end
    said = Array.new(6) { |number| { "text" => "number #{number}", "accounts" => 10 } }
    expect(heard[0]).to eq([said, { "text" => "alone", "accounts" => 10 }])
    expect(heard[0]).to eq(heard[1])
  end
end

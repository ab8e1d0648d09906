# frozen_string_literal: true

# The pages, for one request and for many at once.
RSpec.shared_examples "the pages of a Rails app" do
  it "serves the same as stock Puma: queries, a view, JSON, files, and pages that do not exist" do
    %w[/up /accounts /accounts/3 /accounts/99 /none /slow?number=4&seconds=0 /robots.txt /file].each do |path|
      expect(client.get(path) == stock.get(path)).to be(true), path
    end
    range = { "Range" => "bytes=1000-2999" }
    expect(client.get("/large.bin", **range)).to eq(stock.get("/large.bin", **range)).and have_attributes(status: 206)
  end

  it "gives each of 40 clients at once its own answer" do
    answers = client.get_all(Array.new(40) { |number| "/slow?number=#{number}&seconds=0.05" })
    expect(answers.map(&:status).uniq).to eq([200])
    expect(answers.map(&:body)).to eq(Array.new(40, &:to_s))
  end

  it "sends a whole file to each of 10 clients at once" do
    expect(client.get_all(["/file"] * 10).map { |answer| answer.body == app.large_file }).to eq([true] * 10)
  end

  it "waits for the database in as many requests at once as it has threads and connections" do
    asking = app.locking do |waiting|
      threads = Array.new(8) { Thread.new { client.get("/locked").body } }
      eventually { waiting.call == 8 }
      threads
    end
    expect(asking.map(&:value)).to eq(["unlocked"] * 8)
  end

  it "moves a whole amount or nothing, 24 at once" do
    before = app.balances
    moves = Array.new(24) { |number| "/transfers?from=#{1 + (number % 3)}&to=#{4 + (number % 3)}" }
    moves.map!.with_index { |move, number| number % 4 == 3 ? "#{move}&failing=1" : move }
    expect(client.post_all(moves).map(&:status).uniq).to eq([200])
    expect(before.zip(app.balances).map { |old, new| new - old }).to eq([-6, -6, -6, 6, 6, 6, 0, 0, 0, 0])
    expect(app.idle_in_transaction).to eq(0)
  end

  it "obeys rate_limit on the FileStore, one after the other and 20 at once" do
    key = "/limited?key=#{@server.port}"
    [client, stock].each do |server|
      prefix = "#{key}-#{server.port}"
      expect(Array.new(8) { server.get(prefix).status }).to eq(([200] * 5) + ([429] * 3))
      statuses = server.get_all(["#{prefix}-at-once"] * 20).map(&:status)
      expect(statuses.uniq - [200, 429]).to eq([])
      # Rails counts too few when several requests count at the same time, but never too many.
      expect(statuses.count(200)).to be >= 5
      expect(server.get("#{prefix}-at-once").status).to eq(429).or eq(200)
    end
  end
end

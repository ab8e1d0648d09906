# frozen_string_literal: true

# What a page says, by one request and by many at once.
RSpec.shared_examples "the pages of a Rails app" do
  it "are those of stock Puma: queries, a view, JSON, what is not found" do
    %w[/up /accounts /accounts/3 /accounts/99 /none /slow?number=4&seconds=0 /robots.txt].each do |path|
      expect(client.get(path)).to eq(stock.get(path)), path
    end
  end

  it "give each of 40 clients at once what it has asked for" do
    answers = client.get_all(Array.new(40) { |number| "/slow?number=#{number}&seconds=0.05" })
    expect(answers.map(&:status).uniq).to eq([200])
    expect(answers.map(&:body)).to eq(Array.new(40, &:to_s))
  end

  it "wait for the database at the same time, as far as threads and connections go" do
    paths = Array.new(8) { |number| "/slow?number=#{number}&seconds=0.5" }
    started = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    expect(client.get_all(paths).map(&:status).uniq).to eq([200])
    expect(Process.clock_gettime(Process::CLOCK_MONOTONIC) - started).to be < 2
  end

  it "change all of an amount or nothing, 24 at once" do
    before = app.query("SELECT id, balance FROM accounts ORDER BY id")
    moves = Array.new(24) { |number| "/transfers?from=#{1 + (number % 3)}&to=#{4 + (number % 3)}" }
    moves.map!.with_index { |move, number| number % 4 == 3 ? "#{move}&failing=1" : move }
    expect(client.post_all(moves).map(&:status).uniq).to eq([200])
    after = app.query("SELECT id, balance FROM accounts ORDER BY id")
    changes = before.zip(after).map { |old, new| new["balance"].to_i - old["balance"].to_i }
    expect(changes).to eq([-6, -6, -6, 6, 6, 6, 0, 0, 0, 0])
    expect(app.idle_in_transaction).to eq(0)
  end
end

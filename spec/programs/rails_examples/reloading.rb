# frozen_string_literal: true

# A Rails app in development uses the current content of its files.
RSpec.shared_examples "a Rails app whose files change" do
  it "answers 128 requests at once while its files change, and uses their last content in the end", limit: 60 do
    asking = Array.new(128) { Thread.new { client.get("/version") } }
    3.times { app.change_version }
    answers = asking.map(&:value)
    expect(answers.map(&:status).tally).to eq(200 => 128), answers.find { |answer| answer.status != 200 }&.body
    expect(answers.map(&:body)).to all(match(/\A\d+ and \d+\z/))
    number = app.change_version
    # While the first request waits to unload the old classes, Rails lets other requests go on with them.
    client.get("/version")
    expect(client.get_all(["/version"] * 16).map(&:body).uniq).to eq(["#{number} and #{number}"])
  end
end

# frozen_string_literal: true

require "uring_io/ladder"
require_relative "../support/browser"

# Opens the ladder's page in a real browser: `rake spec:browser`.
RSpec.describe "The page of the ladder", limit: 60, skip: Browser.missing do
  it "loads nothing, shows a lane and a point in the curves for each rung, and fits a phone" do
    rungs = %i[threads select poll epoll]
    path = free_path("ladder.html")
    File.write(path, UringIO::Ladder.climb(rungs:, connections: [10, 20], seconds: 0.05).html)
    Browser.run do |browser|
      browser.open(path)
      expect(browser.complaints).to eq([])
      expect(browser.requests.map { |url| File.basename(url) }.uniq).to eq([File.basename(path)])
      headings = browser.evaluate("[...document.querySelectorAll('h2')].map((it) => it.textContent).join('|')")
      expect(headings).to match(/thread for each connection.*select.*poll.*epoll/)
      expect(browser.evaluate("document.querySelectorAll('figure svg').length")).to be >= rungs.size
      browser.viewport(400, 800)
      expect(browser.evaluate("document.documentElement.scrollWidth")).to be <= 400
    end
  end
end

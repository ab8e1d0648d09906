# frozen_string_literal: true

require "json"
require_relative "../support/libraries/page"
require_relative "../support/libraries/servers"

Libraries.load_rows

# Runs each row of the table of docs/libraries.md in a process of its own, and fails when the findings differ from the
# page.
RSpec.describe "The libraries of docs/libraries.md, used by 20 fibers at once," do
  told = Libraries::Page.rows
  # Fibers that should meet have this many seconds to do so. Fibers that should not meet would do so at once, so the
  # example gives up soon.
  bounds = { "yes" => 20, "no" => 0.5, Libraries::Page::NEITHER => 0.5 }

  before(:context) { @servers = Libraries::Servers.new }
  after(:context) { @servers.stop }

  def version_of(row)
    return RUBY_VERSION unless row.gem

    Gem::Specification.find_all_by_name(row.gem).map(&:version).max&.to_s
  end

  # The findings of a row's process.
  def run_row(row, backend, bound, env: {})
    script = <<~RUBY
      require "#{File.expand_path('../support/libraries/work', __dir__)}"
      Libraries.main(*ARGV)
    RUBY
    @servers.gate = Libraries::Gate.new(row.parties, bound)
    address = JSON.generate(@servers.address(row.server))
    result = child(script, backend, row.name, address, bound, limit: 50, env:)
    seen = result.stdout.lines.last.to_s
    return JSON.parse(seen, symbolize_names: true) if result.status.success? && seen.start_with?("{")

    { wrong: ["the process ended with #{result.status}: #{result.stderr.lines.first(10).join}"], most: 0 }
  end

  def overlaps(row, seen)
    return @servers.gate.verdict if row.server

    case seen[:most]
    when row.parties then "yes"
    when 1 then "no"
    else "#{seen[:most]} of #{row.parties}"
    end
  end

  def skip_or_compare_version(row, page)
    version = version_of(row) or skip "the gem #{row.gem} is not installed"
    missing = Libraries::Servers.missing(row.server)
    skip missing if missing
    skip "the page tells of Ruby #{page.tried}" unless row.gem || page.version?(version)
    expect(page).to be_version(version), "docs/libraries.md:#{page.line} tells of #{page.tried}, here is #{version}"
  end

  it "are the libraries that the suite runs" do
    expect(told.keys).to match_array(Libraries.rows.keys)
  end

  each_backend(only: %i[io_uring epoll], limit: 60) do
    Libraries.rows.each_value do |row|
      page = told[row.name] or next

      it "#{row.name}: right #{page.right}, overlaps #{page.overlaps}" do
        skip_or_compare_version(row, page)
        seen = run_row(row, backend, bounds.fetch(page.overlaps))
        right = seen[:wrong].empty? ? "yes" : "no"
        found = { right:, overlaps: right == "yes" ? overlaps(row, seen) : Libraries::Page::NEITHER }
        expect(found).to eq(page.to_h.slice(:right, :overlaps)),
                         "docs/libraries.md:#{page.line} does not say #{found}\n#{seen[:wrong].first(5).join("\n")}"
      end
    end
  end

  # If they were right there, the fault would be ours.
  describe "when they are not right," do
    Libraries.rows.each_value do |row|
      page = told[row.name]
      next unless page&.right == "no"

      it "#{row.name} is not right on Async either", limit: 60 do
        skip "the gem async is not installed" if Gem::Specification.find_all_by_name("async").empty?
        skip_or_compare_version(row, page)
        seen = run_row(row, :epoll, bounds.fetch(page.overlaps), env: { Libraries::ON => "async" })
        expect(seen[:wrong]).not_to be_empty
      end
    end
  end
end

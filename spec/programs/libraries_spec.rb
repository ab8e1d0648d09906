# frozen_string_literal: true

require "json"
require_relative "../support/libraries/page"
require_relative "../support/libraries/servers"

Libraries.load_rows

# Runs each row of the table of docs/libraries.md in a process of its own, and fails when the page says otherwise than
# what was seen.
RSpec.describe "The libraries of docs/libraries.md, used by 20 fibers at once," do
  told = Libraries::Page.rows
  # What should meet has this long to do so. What should not is given up soon; if it met it would do so at once.
  bounds = { "yes" => 10, "no" => 0.5 }

  before(:context) { @servers = Libraries::Servers.new }
  after(:context) { @servers.stop }

  def version_of(row)
    return RUBY_VERSION unless row.gem

    Gem::Specification.find_all_by_name(row.gem).map(&:version).max&.to_s
  end

  def run_row(row)
    script = <<~RUBY
      require "#{File.expand_path('../support/libraries/work', __dir__)}"
      Libraries.main(*ARGV)
    RUBY
    result = child(script, backend, row.name, JSON.generate(@servers.address(row.server)), limit: 30)
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

  it "are those that the suite runs" do
    expect(told.keys).to match_array(Libraries.rows.keys)
  end

  each_backend(only: %i[io_uring epoll], limit: 60) do
    Libraries.rows.each_value do |row|
      page = told[row.name] or next

      it "#{row.name}: right #{page.right}, overlaps #{page.overlaps}" do
        version = version_of(row) or skip "the gem #{row.gem} is not installed"
        missing = Libraries::Servers.missing(row.server)
        skip missing if missing
        skip "the page tells of Ruby #{page.tried}" unless row.gem || page.version?(version)
        expect(page).to be_version(version), "docs/libraries.md:#{page.line} tells of #{page.tried}, here is #{version}"

        @servers.gate = Libraries::Gate.new(row.parties, bounds.fetch(page.overlaps))
        seen = run_row(row)
        found = { right: seen[:wrong].empty? ? "yes" : "no", overlaps: overlaps(row, seen) }
        expect(found).to eq(page.to_h.slice(:right, :overlaps)),
                         "docs/libraries.md:#{page.line} does not say #{found}\n#{seen[:wrong].first(5).join("\n")}"
      end
    end
  end
end

# frozen_string_literal: true

require "digest"
require "json"
require_relative "../bench/report"
require_relative "support/bench_results"

RSpec.describe Bench::Report do
  let(:results) { BenchResults.all }
  let(:page) { described_class.new(results).html }

  def text_of(html)
    html.gsub(%r{<(script|style)\b.*?</\1>}m, " ").gsub(/<[^>]*>/, " ").gsub(/\s+/, " ")
        .gsub("&lt;", "<").gsub("&gt;", ">").gsub("&quot;", '"').gsub("&#39;", "'").gsub("&amp;", "&")
  end

  # The rows of the table: workload, target, and the texts of the cells.
  def rows_of(html)
    html.scan(%r{<tbody id="numbers-.*?</tbody>}m).flat_map do |body|
      group, *rows = body.scan(%r{<tr>.*?</tr>}m)
      workload = text_of(group).strip[/\A[^:]+/]
      cells = rows.map { |row| row.scan(%r{<t[hd][^>]*>(.*?)</t[hd]>}m).flatten }
      cells.map { |row| [workload, *row.map { |cell| text_of(cell).strip }] }
    end
  end

  def drawing_of(html)
    JSON.parse(html[%r{<script type="application/json" id="drawing">(.*?)</script>}m, 1])
  end

  def text(hash) = text_of(described_class.new(hash).html)

  # The texts of a section, found by the id of its element.
  def said(hash, section)
    html = described_class.new(hash).html[%r{<section id="#{section}".*?</section>}m]
    html.scan(%r{<li>(.*?)</li>}m).flatten.map { |item| text_of(item) }
  end

  it "loads nothing" do
    markup = page.gsub(%r{(<(script|style)\b[^>]*>).*?</\2>}m, '\1')
    expect(markup.scan(/\b(?:src|href|srcset|data|action|poster)="([^"]*)"/).flatten).to all match(/\A(?:#|data:,\z)/)
    expect(page).to include("default-src 'none'")
    expect(page[%r{<style>.*?</style>}m]).not_to match(/url\(|@import/)
    expect(page).not_to include("sourceMappingURL")
    # The scripts mention only the library's homepages, in comments.
    homes = ["https://www.chartjs.org", "https://github.com/kurkle/color#readme"]
    expect(page.scan(%r{https?://[\w./#-]+})).to match_array(homes)
    expect(page).to include("The MIT License (MIT)", "Chart.js Contributors", "Jukka Kurkela")
  end

  it "contains the library exactly as published" do
    folder = File.expand_path("../bench/report/vendor", __dir__)
    noted = File.read(File.join(folder, "LICENSE.md"))[/\b\h{64}\b/]
    expect(Digest::SHA256.file(File.join(folder, "chart.umd.min.js")).hexdigest).to eq(noted)
  end

  it "has a row for every result" do
    expected = results["results"].map do |result|
      shown = result["rates"].empty? ? "not run: #{result['note']}" : Bench::Numbers.number(result["median"])
      [result["workload"], result["target"], shown]
    end
    expect(rows_of(page).map { |row| row.first(3) }).to eq(expected)
  end

  it "shows all measured figures of a result" do
    hash = BenchResults.small("async" => [1234.4, 1000, 2_000_000])
    hash["results"].first.merge!("ratio" => 0.5, "p50_us" => 12.34, "p99_us" => 456.7, "syscalls_per_op" => 0.021,
                                 "cpu_s_per_mop" => 3.14159, "peak_kb" => 20_480, "kb_per_connection" => 9.9,
                                 "note" => "once more")
    expect(rows_of(described_class.new(hash).html)).to eq(
      [["http", "async", "1,234", "1,000", "2,000,000", "0.50", "12.3", "457", "0.021", "3.14", "20.0", "9.90",
        "1,234 · 1,000 · 2,000,000", "once more"]]
    )
  end

  it "draws a line for each target of a ladder, and bars for each workload" do
    drawing = drawing_of(page)
    expect(drawing["ladders"].map { |chart| chart["title"] }).to eq(
      ["Throughput, exchanges a second", "System calls per operation", "Memory at its peak, MB"]
    )
    throughput = drawing["ladders"].first
    expect(throughput["connections"]).to eq([1, 20, 200, 2000, 10_000])
    ran = BenchResults::TARGETS.keys - BenchResults::ABSENT.keys
    expect(throughput["lines"].map { |line| line["name"] }).to eq(ran)
    select = throughput["lines"].find { |line| line["name"] == "select" }
    expect(select["points"].map(&:first)).to eq([1, 20, 200])
    expect(drawing["bars"].map { |bar| bar["workload"] }).to eq(BenchResults::UNITS.keys)
    ids = drawing.values.flatten.map { |chart| chart["id"] }
    expect(page.scan(/<canvas id="([^"]+)"/).flatten).to eq(ids)
  end

  it "draws bars relative to the baseline, the fastest first, with their spread" do
    hash = BenchResults.small("async" => [80, 100, 120], "io_uring" => [190, 200, 220])
    bar = drawing_of(described_class.new(hash).html)["bars"].first
    expect(bar).to include("relative" => true, "unit" => "times async")
    expect(bar["rows"].map { |row| row.values_at("name", "value", "spread", "ours") }).to eq(
      [["io_uring", 2.0, [1.9, 2.2], true], ["async", 1.0, [0.8, 1.2], false]]
    )
  end

  it "draws the rates themselves when the baseline has none" do
    hash = BenchResults.small("epoll" => [80, 100, 120])
    bar = drawing_of(described_class.new(hash).html)["bars"].first
    expect(bar).to include("relative" => false, "unit" => "requests a second",
                           "rows" => [include("value" => 100, "spread" => [80, 120])])
  end

  it "names the targets that were not run, with the reason" do
    expect(said(results, "missing")).to contain_exactly("carbon_fiber: the gem does not compile on this Ruby",
                                                        "itsi-scheduler: not installed")
    expect(text(results)).to include("Not run: uringmachine (it has no hook for TLS).",
                                     "No result with 10,000 connections: select (more than 1,024 descriptors).")
  end

  it "says where io_uring does not help" do
    hash = BenchResults.small(name: "file-warm", unit: "reads", "async" => [99, 100, 101],
                              "threads" => [110, 111, 112], "io_uring" => [89, 90, 91])
    expect(said(hash, "no-help")).to eq(
      ["On file-warm io_uring is 0.81 of threads: 90.0 against 111 reads a second; it is 0.90 of async."]
    )
    expect(said(hash, "shows")).to include("Of 1 workload io_uring is, against async, slower on 1 (file-warm).")
  end

  it "does not list a workload as no help when another target on io_uring is faster" do
    hash = BenchResults.small("async" => [9, 10, 11], "io_uring" => [19, 20, 21], "uringmachine" => [29, 30, 31])
    expect(text(hash)).to include("Nothing of the kind is in these numbers.",
                                  "io_uring is 2.00 of async: 20.0 against 10.0 requests a second.",
                                  "The highest median is that of uringmachine: 30.0 requests a second.")
  end

  it "reports no difference when the runs overlap" do
    hash = BenchResults.small("async" => [90, 100, 106], "io_uring" => [105, 110, 120])
    expect(said(hash, "no-help")).to eq(["On http the spread of the runs is larger than the difference between " \
                                         "io_uring and async: no difference to speak of."])
    expect(text(hash)).to include("The spread of io_uring (105 to 120) and async (90.0 to 106) is larger than the " \
                                  "difference: no difference to speak of.")
    touching = [[90, 100, 105], [105, 110, 120]]
    [touching, touching.reverse].each do |one, other|
      hash = BenchResults.small("async" => one, "io_uring" => other)
      expect(said(hash, "no-help")).to match([/larger than the difference/])
    end
    apart = BenchResults.small("async" => [90, 100, 104], "io_uring" => [105, 110, 120])
    expect(text(apart)).to include("io_uring is 1.10 of async: 110 against 100 requests a second.")
    expect(text(apart)).not_to include("larger than the difference")
  end

  it "draws no conclusion from one run" do
    hash = BenchResults.small("async" => [100], "io_uring" => [200])
    expect(text(hash)).to include("200 against 100 requests a second, but one run cannot tell.",
                                  "run too few times to tell on 1 (http)", "Some were run once only")
    lower = BenchResults.small("async" => [200], "io_uring" => [100])
    expect(said(lower, "no-help")).to eq(["On http io_uring is 0.50 of async: 100 against 200 requests a second, but " \
                                          "one run cannot tell."])
  end

  it "writes numbers with only the significant digits" do
    numbers = [0, 0.00123, 0.0456, 0.91, 1, 12.34, 123.4, 1_234_567.8, -0.5, nil]
    expect(numbers.map { |number| Bench::Numbers.number(number) }).to eq(
      ["0", "0.0012", "0.046", "0.91", "1.00", "12.3", "123", "1,234,568", "-0.50", nil]
    )
    expect([5, 10, 2.5, 10_000, nil].map { |number| Bench::Numbers.count(number) }).to eq(
      ["5", "10", "2.50", "10,000", nil]
    )
  end

  it "says what costs more with io_uring" do
    hash = BenchResults.small("async" => [9, 10, 11], "io_uring" => [19, 20, 21])
    hash["results"].zip([100, 150]) { |result, kilobytes| result["peak_kb"] = kilobytes }
    expect(said(hash, "no-help")).to eq(
      ["Memory at its peak is more with io_uring than with async on http (1.50 times)."]
    )
  end

  it "warns about runs that are far apart" do
    hash = BenchResults.small("async" => [100, 120, 150], "io_uring" => [200, 210, 220])
    expect(said(hash, "made")).to eq(["On http the fastest run is far from the slowest: async (1.50 times)."])
  end

  it "says how and on which machine the numbers were made" do
    results["command"] = "bench/run --runs 5"
    expect(text(results)).to include("Each median is that of 5 runs of 3 seconds",
                                     "The command was bench/run --runs 5 .", "6.12.57+deb13-amd64",
                                     "AMD EPYC 9354P", "uringmachine 0.23.1", "15,990 MB")
  end

  it "escapes all texts of the results" do
    evil = %(</script><script>alert(1)</script><img src=x onerror="alert(2)">'&<!--)
    hash = BenchResults.all
    poison = lambda do |value|
      case value
      when Hash then value.transform_values(&poison)
      when Array then value.map(&poison)
      when String then value + evil
      else value
      end
    end
    hash = poison.call(hash)
    hash["machine"]["gems"] = { evil => evil }
    hash["command"] = evil
    html = described_class.new(hash).html
    expect(html).not_to include("<script>alert", "<img", "alert(2)\">", "'&<")
    expect(html.scan("</script>").size).to eq(3)
    expect(text_of(html)).to include("carbon_fiber#{evil}", "AMD EPYC 9354P#{evil}")
    expect(drawing_of(html)["bars"].first["workload"]).to eq("echo-1#{evil}")
  end

  it "accepts symbols as keys, and results that are in none of the lists" do
    hash = { results: [{ workload: "new", target: "newer", rates: [1, 2, 3], median: 2, min: 1, max: 3 }] }
    expect(rows_of(described_class.new(hash).html).map { |row| row.first(3) }).to eq([%w[new newer 2.00]])
  end

  it "makes a page without results, or with rates of zero" do
    expect(text("results" => [])).to include("io_uring has no result here.")
    zero = BenchResults.small("async" => [0, 0, 0], "io_uring" => [1, 2, 3])
    expect(rows_of(described_class.new(zero).html).size).to eq(2)
  end

  it "refuses other files than result files, and says what it needs" do
    [[], {}, { "results" => 1 }].each do |wrong|
      expect { described_class.new(wrong) }.to raise_error(ArgumentError, /no "results" in it/)
    end
  end

  it "works as a program that turns a result file into a page" do
    program = File.expand_path("../bench/report.rb", __dir__)
    Dir.mktmpdir do |folder|
      input = File.join(folder, "in.json")
      output = File.join(folder, "out.html")
      File.write(input, JSON.generate(results))
      done = child("exec(RbConfig.ruby, *ARGV)", program, input, output)
      expect([done.stderr, done.status.exitstatus]).to eq(["", 0])
      expect(File.read(output)).to eq(page)

      File.write(input, "{")
      failed = child("exec(RbConfig.ruby, *ARGV)", program, input, output)
      expect(failed.stderr).to start_with("bench/report.rb: cannot make a page of #{input}: ")
      expect(failed.status.exitstatus).to eq(1)
      expect(child("exec(RbConfig.ruby, *ARGV)", program, input).stderr).to start_with("Usage: ")
    end
  end
end

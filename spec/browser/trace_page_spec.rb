# frozen_string_literal: true

require_relative "../support/browser"

# Opens the page of a trace in a real browser: `rake spec:browser`.
RSpec.describe "The page of a trace", limit: 60, skip: Browser.missing do
  around do |example|
    Browser.run { |browser| (@browser = browser) && example.run }
  end

  attr_reader :browser

  let(:backend) { Backends::CHOSEN.first }

  # Opens the page of the trace in the browser, and returns the file's path.
  def page_of(trace)
    path = free_path("page.html")
    trace.write(path)
    browser.open(path)
    expect_quiet(path)
    path
  end

  def expect_quiet(path)
    expect(browser.complaints).to eq([])
    expect(browser.requests.map { |url| File.basename(url) }.uniq).to eq([File.basename(path)])
  end

  def canvas(name) = browser.evaluate("document.getElementById('canvas').dataset.#{name}")

  def seen = %w[from to].map { |name| Float(canvas(name)) }

  def text(selector) = browser.evaluate("document.querySelector(#{JSON.generate(selector)}).textContent")

  def focus(id) = browser.evaluate("document.getElementById('#{id}').focus()")

  # A server and clients in one scheduler, which exchange lines.
  def exchange(clients, rounds: 3)
    server = tcp_server
    clients.times do
      Fiber.schedule do
        connection = server.accept
        while (line = connection.gets)
          connection.write(line)
        end
        connection.close
      end
      Fiber.schedule do
        server.local_address.connect do |socket|
          rounds.times do
            socket.write("hello\n")
            socket.gets
            yield if block_given?
          end
        end
      end
    end
    server.local_address.inspect_sockaddr
  end

  # The number of dots in the canvas that have this colour of the style sheet.
  def dots(color)
    browser.evaluate(<<~JS)
      (() => {
        const canvas = document.getElementById("canvas"), context = canvas.getContext("2d");
        context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--#{color}");
        const [red, green, blue] = context.fillStyle.match(/\\w\\w/g).map((part) => parseInt(part, 16));
        const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
        let count = 0;
        for (let i = 0; i < data.length; i += 4) {
          if (data[i] === red && data[i + 1] === green && data[i + 2] === blue) count++;
        }
        return count;
      })()
    JS
  end

  describe "of a server and its clients" do
    attr_reader :peer

    before do
      @trace = UringIO.trace { scheduled { @peer = exchange(5) { sleep(0.002) } } }
      page_of(@trace)
    end

    it "loads nothing, and draws a lane for each fiber" do
      expect(Integer(canvas("lanes"))).to eq(@trace.engines.first.fibers.size)
      expect(%w[computing socket asleep system].map { |color| dots(color) }).to all(be > 50)
      expect(text("h1")).to start_with("Trace of ")
      expect(browser.evaluate("document.querySelectorAll('tbody tr').length")).to be_between(3, 15)
    end

    it "zooms and moves by keyboard, and shows the visible range and the keys" do
      whole = seen
      focus("canvas")
      browser.press("+")
      from, to = seen
      expect(to - from).to be_within(1).of((whole[1] - whole[0]) / 2)
      browser.press("ArrowRight")
      expect(seen.first).to be_within(1).of(from + ((to - from) / 5))
      browser.press("-")
      browser.press("0")
      expect(seen).to eq(whole)
      expect(text("#range")).to include("#{@trace.engines.first.fibers.size} fibers")
      expect(text(".keys")).to include("+ look closer", "0 see all")
      expect(browser.complaints).to eq([])
    end

    it "zooms by the wheel only after a click into the canvas; before that the wheel scrolls the page" do
      whole = seen
      x, y = browser.evaluate("(() => { const box = document.getElementById('canvas'); box.scrollIntoView(); " \
                              "const it = box.getBoundingClientRect(); return [it.x + 400, it.y + 60]; })()")
      browser.mouse("mouseWheel", x, y, deltaX: 0, deltaY: -10)
      browser.drawn
      expect(seen).to eq(whole)
      browser.click("#canvas")
      x, y = browser.evaluate("(() => { const it = document.getElementById('canvas').getBoundingClientRect(); " \
                              "return [it.x + 400, it.y + 60]; })()")
      browser.mouse("mouseWheel", x, y, deltaX: 0, deltaY: -200)
      browser.drawn
      expect(seen[1] - seen[0]).to be < (whole[1] - whole[0]) * 0.8
    end

    it "describes one event after the other by keyboard" do
      # The search finds the first client.
      focus("search")
      browser.type("read #{peer}")
      focus("canvas")
      6.times { browser.press("ArrowUp") }
      told = Array.new(6) { browser.press("n") && text("#details") }
      expect(told).to all(match(/\Afiber \d+ /))
      expect(told.uniq.size).to eq(6)
      expect(told.join).to include("runs for ").and include("waits for the network: ").and include(peer)
      browser.press("p")
      expect(text("#details")).to eq(told[-2])
    end

    it "finds a peer, an operation and a fiber" do
      focus("search")
      browser.type(peer)
      asking = @trace.engines.first.fibers.count do |fiber|
        [*fiber.waits.flat_map(&:operations), *fiber.marks.map(&:last)].any? { |it| it.peer == "socket #{peer}" }
      end
      expect([Integer(canvas("lanes")), text("#range")]).to match([asking, /#{asking} fibers of \d+, \d+ found/])
      browser.press("Enter")
      expect(text("#details")).to include(peer)
      browser.press("Escape")
      expect(Integer(canvas("lanes"))).to eq(@trace.engines.first.fibers.size)
      focus("search")
      browser.type("fiber 4 ")
      expect(Integer(canvas("lanes"))).to eq(1)
    end

    it "shows the place in the picture that belongs to a sentence" do
      browser.click("tbody tr:nth-child(2) button")
      from, to = browser.evaluate("(() => { const row = document.querySelector('tbody tr:nth-child(2)').dataset; " \
                                  "return [Number(row.from), Number(row.to)]; })()")
      expect(seen.first).to be <= from
      expect(seen.last).to be >= to
      expect(text("#details")).to match(/\Afiber \d+ .*runs for/)
    end

    it "has a dark mode, fits into 400 dots, and prints the whole picture" do
      browser.viewport(400, 800)
      browser.media(scheme: "dark")
      browser.drawn
      expect(browser.evaluate("document.documentElement.scrollWidth")).to be <= 400
      expect(browser.evaluate("getComputedStyle(document.body).backgroundColor")).to eq("rgb(13, 17, 23)")
      expect(dots("ground")).to be > 10_000
      browser.media(type: "print", scheme: "dark")
      shown = browser.evaluate("['live', 'still'].map((id) => getComputedStyle(document.getElementById(id)).display)")
      expect(shown).to eq(%w[none block])
      expect(browser.evaluate("getComputedStyle(document.body).backgroundColor")).to eq("rgb(255, 255, 255)")
    end
  end

  # A server with a hundred connections. Each has a request while another fiber computes.
  def busy_server
    server = tcp_server
    clients = Array.new(100) { closing(server.local_address.connect) }
    served = Array.new(100) { closing(server.accept) }
    served.each do |connection|
      Fiber.schedule { connection.write(connection.gets) }
    end
    Fiber.schedule do
      sleep(0.01)
      clients.each { |client| client.write_nonblock("hello\n") }
      finish = monotonic + 0.2
      nil while monotonic < finish
    end
    clients.each { |client| expect(client.gets).to eq("hello\n") }
  end

  it "first names the fiber that computes for 200 ms while a hundred others have requests to answer" do
    trace = UringIO.trace { scheduled { busy_server } }
    page_of(trace)
    first = text(".verdict p")
    expect(first).to match(/\AFiber 10\d \(trace_page_spec.rb:\d+\) ran for \d+ ms without a pause: 10[0-2] others/)
    expect(text("tbody tr")).to include(first.delete_suffix("."))
    expect(text("#details")).to match(/fiber 10\d \(trace_page_spec.rb:\d+\) runs for/)
  end

  it "stays smooth with a hundred thousand records" do
    trace = UringIO.trace(records: 1_000_000) { scheduled { exchange(100, rounds: 85) } }
    engine = trace.engines.first
    events = engine.operations.size + engine.fibers.sum { |fiber| fiber.runs.size + fiber.waits.size }
    expect(events).to be > 100_000
    page_of(trace)
    focus("canvas")
    keys = %w[0 + + + ArrowRight ArrowRight - n ArrowDown + 0]
    times = keys.map { |key| browser.press(key) && Float(canvas("milliseconds")) }
    RSpec.configuration.reporter.message("    #{events} events: redrawn in #{times.map(&:round).join(', ')} ms")
    expect(times.sort[times.size / 2]).to be < 50
  end

  it "escapes names of a program" do
    # A folder whose name ends with <, and a socket in it.
    path = File.join("#{free_path}<", "script><script>alert(1)<!--<b>'\" \u2028.")
    FileUtils.mkdir_p(File.dirname(path))
    server = closing(UNIXServer.new(path))
    trace = UringIO.trace do
      scheduled do
        Fiber.schedule { server.accept.then { |socket| socket.readpartial(1) && socket.close } }
        UNIXSocket.open(path) { |socket| socket.write("x") }
      end
    end
    page_of(trace)
    focus("search")
    browser.type("</script><script>alert(1)<!--<b>'\" \u2028.")
    expect(text("#range")).to match(/[12] fibers? of \d+, [1-9] found/)
    expect(browser.evaluate("document.scripts.length")).to eq(2)
  end
end

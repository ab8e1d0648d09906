# frozen_string_literal: true

require "io/nonblock"
require "json"
require "tmpdir"
require "fileutils"

# Drives a real, headless Chromium by the protocol of its developer tools: JSON messages over two pipes, each with a NUL
# at its end. The browser cannot reach any other machine. Every wait has a time limit.
class Browser
  NAMES = %w[chromium chromium-browser google-chrome].freeze
  # Turns off everything that a browser does besides showing a page.
  OPTIONS = %w[--headless --remote-debugging-pipe --disable-gpu --disable-dev-shm-usage --disable-extensions
               --disable-background-networking --disable-component-update --disable-sync --no-first-run
               --no-default-browser-check --hide-scrollbars].freeze
  # Resolves no names either.
  NO_NETWORK = "--host-resolver-rules=MAP * ~NOTFOUND"
  # The seconds to wait for an answer, and for the browser's end.
  PATIENCE = 20
  ENDING = 5
  # The numbers that the protocol needs for keys other than letters.
  KEYS = { "Enter" => 13, "Escape" => 27, "Tab" => 9, "ArrowLeft" => 37, "ArrowUp" => 38, "ArrowRight" => 39,
           "ArrowDown" => 40 }.freeze

  class Failure < StandardError; end

  class << self
    # @return [String, nil]
    def executable
      folders = ENV.fetch("PATH", "").split(File::PATH_SEPARATOR)
      NAMES.flat_map { |name| folders.map { |folder| File.join(folder, name) } }.find { |path| File.executable?(path) }
    end

    # @return [String, nil] why there is none
    def missing
      "no Chromium is installed: run `bin/sandbox --suite browser rake spec:browser`" unless executable
    end

    # Runs a browser while the block runs.
    def run(**)
      browser = new(**)
      yield browser
    ensure
      browser&.close
    end
  end

  # @return [Array<String>] errors and warnings of the page's console, and exceptions that nobody rescued
  attr_reader :complaints
  # @return [Array<String>] all addresses that the page has requested, its own among them
  attr_reader :requests

  def initialize(width: 1280, height: 900)
    @number = 0
    @complaints = []
    @requests = []
    @loaded = 0
    @buffer = +""
    @folder = Dir.mktmpdir("uring_io-browser")
    start
    target = call("Target.createTarget", url: "about:blank").fetch("targetId")
    @session = call("Target.attachToTarget", targetId: target, flatten: true).fetch("sessionId")
    %w[Page Runtime Log Network].each { |domain| call("#{domain}.enable") }
    viewport(width, height)
  rescue StandardError
    close
    raise
  end

  # Shows a file. Returns when the browser has loaded and drawn it.
  def open(path)
    complaints.clear
    requests.clear
    before = @loaded
    found = call("Page.navigate", url: "file://#{File.expand_path(path)}")
    raise Failure, "#{path}: #{found['errorText']}" if found["errorText"]

    deadline = now + PATIENCE
    read(deadline) until @loaded > before
    drawn
  end

  # @param script [String] an expression. For a promise, waits for its value.
  # @return [Object] the value, by way of JSON
  def evaluate(script)
    found = call("Runtime.evaluate", expression: script, returnByValue: true, awaitPromise: true)
    problem = found["exceptionDetails"]
    raise Failure, problem.dig("exception", "description") || problem["text"] if problem

    found.dig("result", "value")
  end

  # Returns when the browser has drawn all changes.
  def drawn
    evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))")
  end

  # @param key [String] the key's name in KeyboardEvent#key
  def press(key, shift: false)
    details = { key:, windowsVirtualKeyCode: KEYS.fetch(key, key.ord), modifiers: shift ? 8 : 0 }
    details[:text] = key if key.size == 1
    call("Input.dispatchKeyEvent", type: "keyDown", **details)
    call("Input.dispatchKeyEvent", type: "keyUp", **details.except(:text))
    drawn
  end

  # Types into the focused element.
  def type(text)
    call("Input.insertText", text:)
    drawn
  end

  # @param selector [String] clicks the middle of the first element that it matches
  def click(selector)
    x, y = evaluate(<<~JS)
      (() => {
        const element = document.querySelector(#{JSON.generate(selector)});
        element.scrollIntoView({ block: "center" });
        const box = element.getBoundingClientRect();
        return [box.x + box.width / 2, box.y + box.height / 2];
      })()
    JS
    mouse("mousePressed", x, y, button: "left", clickCount: 1)
    mouse("mouseReleased", x, y, button: "left", clickCount: 1)
    drawn
  end

  # @param type [String] "mouseMoved", "mousePressed", "mouseReleased" or "mouseWheel" at this place of the window
  def mouse(type, x, y, **)
    call("Input.dispatchMouseEvent", type:, x:, y:, **)
  end

  def viewport(width, height)
    call("Emulation.setDeviceMetricsOverride", width:, height:, deviceScaleFactor: 1, mobile: false)
  end

  # @param scheme [String] "light" or "dark"
  # @param type [String] "screen" or "print"
  def media(scheme: "light", type: "screen")
    call("Emulation.setEmulatedMedia", media: type, features: [{ name: "prefers-color-scheme", value: scheme }])
    drawn
  end

  # Writes a picture of the whole page, or only of the window.
  def screenshot(path, whole: true)
    data = call("Page.captureScreenshot", format: "png", captureBeyondViewport: whole).fetch("data")
    File.binwrite(path, data.unpack1("m"))
  end

  def close
    call("Browser.close") if @session
  rescue Failure
    # finish ends it.
  ensure
    finish
  end

  private

  def start
    commands, @out = IO.pipe
    @in, answers = IO.pipe
    # Ruby's pipes have O_NONBLOCK, and the browser would treat EAGAIN as their end.
    [commands, answers].each { |io| io.nonblock = false }
    # As root, the browser needs --no-sandbox.
    options = [*OPTIONS, NO_NETWORK, "--user-data-dir=#{@folder}", *("--no-sandbox" if Process.uid.zero?)]
    log = File.join(@folder, "log")
    @pid = spawn({ "HOME" => @folder }, self.class.executable, *options, "about:blank",
                 3 => commands, 4 => answers, in: File::NULL, out: log, err: log, pgroup: true)
    [commands, answers].each(&:close)
  end

  def call(method, **params)
    @number += 1
    message = { id: @number, method:, params: }
    message[:sessionId] = @session if @session && !method.start_with?("Browser", "Target")
    @out.write(JSON.generate(message), "\0")
    deadline = now + PATIENCE
    loop do
      answer = read(deadline)
      next unless answer["id"] == @number
      raise Failure, "#{method}: #{answer.dig('error', 'message')}" if answer["error"]

      return answer["result"]
    end
  rescue Errno::EPIPE
    raise Failure, "the browser has ended: #{said}"
  end

  # The next message of any kind.
  def read(deadline = now + PATIENCE)
    until (stop = @buffer.index("\0"))
      raise Failure, "no answer within #{PATIENCE} seconds: #{said}" unless @in.wait_readable([deadline - now, 0].max)

      piece = @in.read_nonblock(1 << 20, exception: false)
      raise Failure, "the browser has ended: #{said}" unless piece

      @buffer << piece unless piece == :wait_readable
    end
    JSON.parse(@buffer.slice!(0..stop).chomp("\0")).tap { |message| note(message) }
  end

  def note(message)
    params = message["params"]
    case message["method"]
    when "Page.loadEventFired" then @loaded += 1
    when "Network.requestWillBeSent" then @requests << params.dig("request", "url")
    when "Runtime.exceptionThrown"
      details = params["exceptionDetails"]
      @complaints << (details.dig("exception", "description") || details["text"])
    when "Runtime.consoleAPICalled"
      @complaints << params["args"].map { |it| it["value"] }.join(" ") if %w[error warning].include?(params["type"])
    when "Log.entryAdded"
      entry = params["entry"]
      @complaints << "#{entry['text']} #{entry['url']}" if %w[error warning].include?(entry["level"])
    end
  end

  def said = File.read(File.join(@folder, "log")).lines.last(5).join

  def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

  def finish
    [@out, @in].compact.each(&:close)
    if @pid
      deadline = now + ENDING
      sleep(0.02) until (ended = Process.wait(@pid, Process::WNOHANG)) || now > deadline
      kill
      Process.wait(@pid) unless ended
    end
    @pid = @session = nil
    FileUtils.rm_rf(@folder)
  end

  # Kills the browser and the processes that it has started.
  def kill
    Process.kill(:KILL, -@pid)
  rescue Errno::ESRCH
    nil
  end
end

# frozen_string_literal: true

require_relative "async_helper"
require "json"
require "uring_io/command_line"

RSpec.describe "The fibers of a program on Async" do
  it "appear: those that wait for an IO through our selector, and those that Async itself keeps" do
    folder = File.dirname(free_path)
    script = <<~RUBY
      require "async"
      require "uring_io/async"
      reader, = IO.pipe
      Async do |task|
        task.async { reader.read(1) }
        task.async { sleep }
        puts
      end
    RUBY
    child(script, env: { "URING_IO_INSPECT" => "1", "XDG_RUNTIME_DIR" => folder }) do |program|
      program.gets
      eventually { told(program.pid, folder)[:loops].any? { |found| found[:waits].any? } }
      found = told(program.pid, folder)
      expect(found[:loops].map { |it| it[:waits].map { |wait| wait[:hook] } }).to eq([["io_read"]])
      expect(found[:others].map { |fiber| fiber[:backtrace].join }).to include(a_string_matching(/sleep/))
      program.signal(:KILL)
    end
  end

  def told(pid, folder)
    before = ENV.fetch("XDG_RUNTIME_DIR", nil)
    ENV["XDG_RUNTIME_DIR"] = folder
    out = StringIO.new
    UringIO::CommandLine.new(["fibers", "--json", "--pid", pid.to_s], out:).run
    JSON.parse(out.string, symbolize_names: true)
  ensure
    ENV["XDG_RUNTIME_DIR"] = before
  end
end

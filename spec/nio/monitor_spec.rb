# frozen_string_literal: true

require_relative "nio_helper"

RSpec.describe "The contract of NIO::Monitor" do
  after { selector.close }

  each_nio_selector do
    let!(:sockets) { unix_pair }
    let(:monitor) { selector.register(sockets.first, :r) }

    it "has the IO, the selector and a value of the user" do
      expect([monitor.io, monitor.selector, monitor.value]).to eq([sockets.first, selector, nil])
      monitor.value = :mine
      expect(monitor.value).to eq(:mine)
    end

    it "has interests that the program can set, add and remove, also repeatedly, and down to none" do
      expect(monitor.interests).to eq(:r)
      %i[w rw r].each { |interests| expect((monitor.interests = interests) && monitor.interests).to eq(interests) }
      expect(%i[r w rw].map { |interest| monitor.add_interest(interest) }).to eq(%i[r rw rw])
      expect([monitor.remove_interest(:w), monitor.remove_interest(:w)]).to eq(%i[r r])
      expect([monitor.remove_interest(:rw), monitor.interests]).to eq([nil, nil])
      monitor.interests = :w
      monitor.interests = nil
      expect([monitor.interests, selector.empty?]).to eq([nil, false])
    end

    it "refuses invalid interests" do
      [-> { monitor.interests = :x }, -> { monitor.add_interest(:x) }, -> { monitor.remove_interest(:x) }]
        .each { |call| expect(&call).to raise_error(ArgumentError, /invalid interest type :x/) }
      [-> { monitor.interests = "r" }, -> { monitor.add_interest(nil) }, -> { monitor.remove_interest(1) }]
        .each { |call| expect(&call).to raise_error(TypeError) }
      expect(monitor.interests).to eq(:r)
    end

    it "is reported only for its interests, which may change while a program waits" do
      expect(monitor.interests && selector.select(0)).to be_nil
      monitor.add_interest(:w)
      expect(selector.select(1)).to eq([monitor])
      expect(monitor.readiness).to eq(:w)
      monitor.interests = nil
      expect(selector.select(0)).to be_nil
      sockets.last << "x"
      expect(selector.select(0)).to be_nil
      monitor.interests = :rw
      selector.select(1)
      expect(monitor.readiness).to eq(:rw)
    end

    it "keeps its readiness until the next report, even when it and the IO are closed" do
      expect([monitor.readiness, monitor.readable?, monitor.writable?, monitor.writeable?]).to eq([nil, *[false] * 3])
      sockets.last << "x"
      selector.select(1)
      sockets.first.read_nonblock(1)
      2.times do
        expect(selector.select(0)).to be_nil
        expect([monitor.readiness, monitor.readable?, monitor.writable?]).to eq([:r, true, false])
        sockets.last << "x"
        sockets.first.read_nonblock(1)
      end
      monitor.close
      sockets.first.close
      expect(monitor).to be_readable
    end

    it "is no longer registered after close, and refuses interests" do
      2.times { expect(monitor.close).to be_nil }
      expect([monitor.closed?, monitor.selector, selector.registered?(sockets.first)]).to eq([true, nil, false])
      [-> { monitor.interests = :w }, -> { monitor.add_interest(:w) }, -> { monitor.remove_interest(:r) }]
        .each { |call| expect(&call).to raise_error(EOFError, "monitor is closed") }
      expect(monitor.interests).to eq(:r)
      expect(monitor.io).to be(sockets.first)
      sockets.last << "x"
      expect(selector.select(0)).to be_nil
    end

    it "stays registered after close(false), but is never reported" do
      sockets.last << "x"
      monitor.close(false)
      expect([monitor.closed?, selector.registered?(sockets.first)]).to eq([true, true])
      expect(selector.select(0)).to be_nil
      expect(selector.deregister(sockets.first)).to be(monitor)
    end
  end
end

# frozen_string_literal: true

require_relative "../case"

# Finished work leaves nothing behind: no memory, no descriptor, no thread.
Case.run(echoes: 10_000_000, fibers: 1_000_000, timers: 1_000_000, connections: 100_000) do
  # The numbers of a round: a thousandth of those of the long form.
  counts = { echoes: 10_000, fibers: 1000, timers: 1000, connections: 100 }

  # Each exchange is four operations: two writes and two reads.
  exchange = lambda do |times|
    one, other = UNIXSocket.pair
    Fiber.schedule { times.times { other.write(other.readpartial(64)) } }
    times.times do
      one.write("x" * 64)
      one.readpartial(64)
    end
    [one, other].each(&:close)
  end

  # One round of everything.
  round = lambda do
    # A fiber that has ended keeps its stack until it is collected.
    GC.start
    scheduled do
      ring = UringIO::Ring.new(backend:)
      10.times { exchange.call(counts[:echoes] / 40) }
      (counts[:fibers] - 10).times { Fiber.schedule { sleep(0) } }
      (counts[:timers] - 10).times { Timeout.timeout(10) { nil } }
      10.times { Fiber.schedule { Timeout.timeout(0.0001) { sleep } rescue fault } } # rubocop:disable Style/RescueModifier
      server = TCPServer.new("127.0.0.1", 0)
      Fiber.schedule { counts[:connections].times { server.accept.close } }
      counts[:connections].times { TCPSocket.new("127.0.0.1", server.local_address.ip_port).close }
      ring.batch { |batch| 50.times { batch.stat("/") } }
      20.times { ring.chain { |chain| chain.close(chain.open("/etc/hosts")) } }
      broken = 0
      20.times do
        ring.chain { |chain| chain.read(chain.open("/etc/hosts"), 100_000) }
      rescue UringIO::ChainError
        broken += 1
      end
      expect(broken == 20, "#{broken} of 20 chains broke")
      done(counts.values.sum + 130)
      server.close
      ring.close
    end
  end

  measure = lambda do
    3.times { GC.start }
    { memory: resident, descriptors:, threads: Thread.list.size }
  end

  # Every stack that a fiber may have is used deeply once, all of them at the same time: Ruby keeps what was used.
  gate = Thread::Queue.new
  dig = ->(depth) { depth.zero? ? gate.pop : [depth - 1].each(&dig) }
  GC.start
  scheduled do
    (counts[:fibers] + 20).times { Fiber.schedule { dig.call(60) } }
    gate.close
  end

  # Ruby itself needs some rounds until its heap has its size.
  warm_until = now + (seconds * 0.4)
  round.call while now < warm_until
  measured = [before = measure.call]
  parts = full? ? 3 : 4
  rounds = 0
  since = 0
  stretch = seconds * 0.6 / parts
  # On a busy machine a round is long, and parts of one or two rounds say nothing: it takes the time that it needs.
  while more? || (!full? && measured.size < parts)
    round.call
    counts.each { |name, number| count(name, number) }
    rounds += 1
    since += 1
    next if measured.size == parts || since < 3 || now < warm_until + (stretch * measured.size)

    measured << measure.call
    since = 0
  end
  measured << measure.call
  growth = -> { measured.map { |at| at[:memory] }.each_cons(2).map { |earlier, later| later - earlier } }
  # A leak grows all the time. In a short run Ruby's heap and the arenas of malloc still grow now and then, and on a
  # busy machine for some time on end: the case takes that time.
  until full? || growth.call.min <= 256 || measured.size > 4 * parts
    3.times { round.call }
    rounds += 3
    measured << measure.call
  end
  after = measured.last
  say("#{before} became #{after} in #{rounds} rounds") if full?
  grown = full? ? growth.call.sum : growth.call.min * growth.call.size
  room = (before[:memory] * 0.02) + (full? ? 0 : 1024)
  expect(grown < room, "#{grown} KiB more than #{before[:memory]} after #{rounds} rounds: #{growth.call.join(' + ')}")
  expect(after[:descriptors] <= before[:descriptors], "#{before} became #{after}")
  expect(after[:threads] <= before[:threads], "#{before} became #{after}")
end

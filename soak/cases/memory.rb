# frozen_string_literal: true

require_relative "../case"

# What was done and is over leaves nothing behind: no memory, no descriptor, no thread.
Case.run do
  # One round of everything.
  round = lambda do
    scheduled do
      ring = UringIO::Ring.new(backend:)
      pairs = Array.new(10) { UNIXSocket.pair }
      pairs.each do |one, other|
        Fiber.schedule do
          200.times { other.write(other.readpartial(64)) }
        end
        200.times do
          one.write("x" * 64)
          one.readpartial(64)
        end
        done(400)
      end
      300.times { Fiber.schedule { sleep(0) } }
      300.times { Timeout.timeout(10) { nil } }
      10.times { Fiber.schedule { Timeout.timeout(0.0001) { sleep } rescue fault } } # rubocop:disable Style/RescueModifier
      server = TCPServer.new("127.0.0.1", 0)
      Fiber.schedule { 50.times { server.accept.close } }
      50.times { TCPSocket.new("127.0.0.1", server.local_address.ip_port).close }
      ring.batch { |batch| 50.times { batch.stat("/") } }
      20.times { ring.chain { |chain| chain.close(chain.open("/etc/hosts")) } }
      broken = 0
      20.times do
        ring.chain { |chain| chain.read(chain.open("/etc/hosts"), 100_000) }
      rescue UringIO::ChainError
        broken += 1
      end
      expect(broken == 20, "#{broken} of 20 chains broke")
      done(1200)
      [server, *pairs.flatten].each(&:close)
      ring.close
    end
  end

  measure = lambda do
    3.times { GC.start }
    { memory: resident, descriptors:, threads: Thread.list.size }
  end

  # Ruby itself needs some rounds until its heap has its size.
  warm_until = now + (seconds * 0.4)
  round.call while now < warm_until
  before = measure.call
  rounds = 0
  while more?
    round.call
    rounds += 1
  end
  after = measure.call
  # 2 %, and what the arenas of malloc still gain in a short run.
  grown = after[:memory] - before[:memory]
  room = (before[:memory] * 0.02) + (seconds < 60 ? 8192 : 1024)
  expect(grown < room, "#{grown} KiB more than #{before[:memory]} after #{rounds} rounds")
  expect(after[:descriptors] <= before[:descriptors], "#{before} became #{after}")
  expect(after[:threads] <= before[:threads], "#{before} became #{after}")
end

# frozen_string_literal: true

require "tmpdir"
require_relative "../case"
require_relative "closes/stint"
require_relative "closes/party"
require_relative "closes/monitors"

# IOs go away under whatever waits on them: closed, half closed or reopened by another fiber, another thread, another
# scheduler, a trap handler, a finalizer or the garbage collector, at times while a copy or a child process keeps the
# file. Each who waited must report IOError, or the data that was due to him. Each peer must see the end. The next IO
# gets the number at once, and must get its own bytes and nothing else. Strings of the sizes of Ruby's read buffers are
# made after each close: nobody may write into them.
#
# The work is done by child processes, so that a crash is a violation that names what was under way. These limit a run,
# each a list of names: CLOSES_PARTS, CLOSES_KINDS, CLOSES_PLACES, CLOSES_WAYS, CLOSES_CLOSERS and CLOSES_ACTIONS, e.g.
#
#   CLOSES_PARTS=alone CLOSES_KINDS=gets CLOSES_CLOSERS=thread ruby -Ilib soak/cases/closes.rb epoll 5 1

# Runs one child after the other, and adds up what they tell.
module Closes
  # The share of time of each part of the case, and the code that it runs in its child.
  PARTS = {
    "alone" => [3, ->(stint) { Party.new(stint, lanes: 1, actions: true).run_here }],
    "parties" => [4, ->(stint) { Party.together(stint) }],
    "async" => [2, ->(stint) { AsyncParty.new(stint, lanes: 3).run_here }],
    "monitors" => [1, ->(stint) { Monitors.new(stint).run }]
  }.freeze
  # How long a child works at most, so that a crash does not end a long run.
  STINT_SECONDS = 60

  class << self
    def run(soak, seed)
      parts = PARTS.select { |name, _| Closes.chosen("PARTS", name) }
      if parts["async"] && (reason = AsyncParty.missing)
        soak.say("without Async: #{reason}")
        parts.delete("async")
      end
      shares = parts.values.sum(&:first)
      number = 0
      while soak.more?
        parts.each do |name, (share, work)|
          break unless soak.more?

          seconds = [soak.seconds * share / shares, STINT_SECONDS].min
          Stint.run(soak, name, [seed, number += 1], seconds, &work)
        end
      end
    end

    # Whether the environment leaves this one in.
    def chosen(list, name)
      names = ENV.fetch("CLOSES_#{list}", nil)
      names.nil? || names.split(",").include?(name.to_s)
    end
  end
end

Case.run(closes: 1_000_000) { Closes.run(self, Integer(ARGV[2])) }

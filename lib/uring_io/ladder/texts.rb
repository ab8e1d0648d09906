# frozen_string_literal: true

module UringIO
  class Ladder
    # A rung in plain words: how it works, which cost it removes, and which it leaves.
    Rung = Data.define(:name, :title, :how, :removed, :left)

    # The texts about each rung, which do not depend on any figure.
    module Texts
      RUNGS = [
        Rung.new(
          :threads, "A thread for each connection",
          "The program starts a thread for each connection. The thread calls recv: it asks the kernel for the next " \
          "bytes of its connection, and sleeps inside of that call until they are there. Then it calls send to " \
          "answer, and asks again. This is the simplest program of all, and what Ruby does without a fiber " \
          "scheduler.",
          "Nothing yet: this is where everybody begins.",
          "Each connection takes a thread, although nearly all of them only sleep. A thread has a stack in the " \
          "program and one in the kernel. In a language with one big lock, such as Ruby, a thread that has its " \
          "bytes then waits for that lock, too."
        ),
        Rung.new(
          :select, "One thread asks about all: select",
          "One thread serves all connections. It hands the kernel a list of them and sleeps in one call, select, " \
          "until any of them has something. Then it looks through the list for those that have, and calls recv and " \
          "send for each.",
          "The threads. A connection that only sleeps takes nearly no memory.",
          "The list goes to the kernel with every call, and the kernel looks at every connection on it. With 1,000 " \
          "connections that is 1,000 looks for one request. And the list ends: it has room for descriptors below " \
          "1,024."
        ),
        Rung.new(
          :poll, "A list without an end: poll",
          "As select, with a list that may be as long as the program likes.",
          "The end of the list at 1,024.",
          "The looks. The whole list still goes to the kernel with every call, and whoever has many idle " \
          "connections pays for all of them at each request."
        ),
        Rung.new(
          :epoll, "The kernel keeps the list: epoll",
          "The program tells the kernel once whom it is interested in (epoll_ctl). From then on epoll_wait brings " \
          "only those that have something. Most servers of today work like this: nginx, Node.js, and Ruby's " \
          "schedulers without io_uring.",
          "The list in each call. The cost of a request no longer depends on the connections that are idle.",
          "epoll only says who is ready; the work itself still takes calls: one to wait, one to receive, one to " \
          "answer. The program goes into the kernel and back three times for one exchange."
        ),
        Rung.new(
          :io_uring, "Handing over the work itself: io_uring",
          "The program and the kernel share memory with two queues. The program writes what it wants done into the " \
          "first one: receive here, send that. The kernel does it and writes what has come of it into the second " \
          "one. One call, io_uring_enter, hands over all that is queued and sleeps until something is done.",
          "A call for each piece of work. One call carries the last answer and brings the next request; when many " \
          "connections ask at once, it carries the answers to all of them.",
          "That one call. And each receive that is under way needs a place for its bytes beforehand, and some " \
          "memory in the kernel."
        ),
        Rung.new(
          :sqpoll, "No system call: io_uring with SQPOLL",
          "A thread of the kernel watches the first queue all the time. The program only writes to memory, and " \
          "looks at the second queue until something is there.",
          "The last system call.",
          "Rest. The thread of the kernel and the program both look all the time, so two processors are busy even " \
          "when nobody asks for anything. It pays only where there is always something to do, and where processors " \
          "are to spare."
        )
      ].freeze

      # The words for each cause of a limit in a recording.
      LIMITS = {
        "descriptors" => "the limit of open files (ulimit -Hn)",
        "set_size" => "select, which has no room for descriptors above 1,023 (FD_SETSIZE)",
        "threads" => "the machine, which starts no more threads",
        "memory" => "memory: the stacks of so many threads would take more than half of what is free",
        "ports" => "the ports of the client (net.ipv4.ip_local_port_range)",
        "ring" => "the kernel, which makes no such ring (uring_io doctor tells why)"
      }.freeze

      class << self
        # A number with commas.
        def count(number) = number.to_s.gsub(/(?<=\d)(?=(\d{3})+\z)/, ",")

        # Microseconds or a count, with about three digits.
        def figure(number)
          return "-" unless number
          return "0" if number.zero?
          return count(number.round) if number >= 100

          places = [0.0995, 9.95].count { |most| number < most }
          format("%.#{places}f", number).delete_suffix(".0")
        end

        # Microseconds with their unit.
        def length(number) = number >= 1000 ? "#{figure(number / 1000)} ms" : "#{figure(number)} µs"

        def bytes(number)
          return "-" unless number

          unit, size = [["GB", 1 << 30], ["MB", 1 << 20], ["kB", 1 << 10]].find { |_, size| number >= size }
          unit ? "#{figure(number.fdiv(size))} #{unit}" : "#{number} B"
        end
      end
    end
  end
end

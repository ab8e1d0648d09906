# frozen_string_literal: true

# The system calls of the programs in examples/ring, counted by strace.
RSpec.describe "The examples of UringIO::Ring" do
  # The output of the example, and the system calls of its measured part.
  def counted(name, *)
    result, calls = SystemCalls.between_markers("load #{path_of(name).dump}", *, limit: 60)
    expect([result.stderr.lines.grep_v(/this machine has/), result.status]).to match([[], be_success])
    [result.stdout.lines(chomp: true), calls]
  end

  def path_of(name)
    File.expand_path("../../../examples/ring/#{name}.rb", __dir__)
  end

  each_backend(limit: 90) do |backend|
    it "print the expected output", needs: :direct_descriptors do
      outputs = %w[chain batch recv_each].map do |name|
        result = child("load #{path_of(name).dump}", "--backend", backend, limit: 60)
        expect([result.stderr, result.status]).to match(["", be_success])
        result.stdout.lines.first.chomp
      end
      expect(outputs).to eq(["16 files of 4096 bytes sent on #{backend}, all as they are",
                             "1000 reads in batches of 100 on #{backend}, 1000 pages are right",
                             "1000 of 1000 messages came back right on #{backend}"])
    end
  end

  each_backend(only: [:io_uring], limit: 300) do
    before { skip SystemCalls.missing if SystemCalls.missing }

    it "open, read, send and close a file in one system call", needs: :direct_descriptors do
      output, calls = counted("chain", "--files", 1)
      expect(calls - SystemCalls::CLOCK).to eq(["io_uring_enter"])
      expect(output).to eq(["1 files of 4096 bytes sent on io_uring, all as they are",
                            "1 enters, 4 submissions, 4 completions"])
    end

    it "read 1,000 pages in batches of 100 with 10 system calls" do
      output, calls = counted("batch")
      # On a slow machine a batch may take longer than one system call waits for all of it. Then the ring makes another
      # one.
      enters = Watchdog::SLOWNESS > 1 ? output.last.to_i : 10
      # The pages themselves need memory.
      expect(calls - SystemCalls::MEMORY).to eq(["io_uring_enter"] * enters)
      expect(output.last).to eq("#{enters} enters, 1000 submissions, 1000 completions")
      expect(enters).to be_between(10, 1000)
    end

    it "read and send 10,000 pages with at most 10 system calls when a kernel thread polls" do
      skip "how many are made is up to the pace of a slow machine" if Watchdog::SLOWNESS > 1

      tries_max = 5
      counts = []
      # While waiting, the program looks for completions by itself for some time. If the kernel thread gets no processor
      # for that long, the program sleeps in the kernel, which is one more call each time.
      tries_max.times do
        output, calls = counted("sqpoll")
        expect(output.first).to eq("10000 reads, and sends of 10000 pages")
        counts << calls.size
        break if calls.size <= 10
      end
      note = "on this busy machine the runs took #{counts.join(', ')} system calls"
      RSpec.configuration.reporter.message(note) if counts.size > 1
      expect(counts.last).to be <= 10, note
    end

    it "echo 1,000 messages with less than one system call per message" do
      output, calls = counted("recv_each")
      expect(output.first).to eq("1000 of 1000 messages came back right on io_uring")
      expect(calls.count("io_uring_enter")).to be_between(1, 999)
      expect(calls & %w[recvfrom sendto read write accept4 poll ppoll epoll_wait]).to eq([])
    end
  end
end

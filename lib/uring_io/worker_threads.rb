# frozen_string_literal: true

module UringIO
  # Ruby threads for blocking work that has no hook of its own: opening files, Zlib, IO.copy_stream. They start when
  # work comes, and end when the pool closes.
  # @api private
  class WorkerThreads
    # @param size [Integer] the most threads at once
    def initialize(size)
      @size = size
      @jobs = Thread::Queue.new
      @threads = []
    end

    # Returns the queue that the threads take jobs from, and starts another thread first when too few are idle. Only the
    # owner of the pool may call it.
    # @raise [ThreadError] when there is no thread, and Ruby cannot start one
    def queue
      @threads << Thread.new { work } if @jobs.num_waiting <= @jobs.size && @threads.size < @size
      @jobs
    rescue ThreadError
      raise if @threads.empty?

      @jobs
    end

    # Makes the threads end once they have done the queued work.
    def close
      @jobs.close
    end

    # Whether the calling thread belongs to a pool.
    def self.current?
      Thread.current.thread_variable_get(:uring_io_worker) == true
    end

    private

    def work
      Thread.current.name = "uring_io worker"
      Thread.current.thread_variable_set(:uring_io_worker, true)
      while (job = @jobs.pop)
        job.call
      end
    end
  end
end

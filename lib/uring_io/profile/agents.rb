# frozen_string_literal: true

require "fileutils"
require "tmpdir"
require_relative "sockets"

module UringIO
  class Profile
    # The agents in the Rubies that a profiled command starts. Each agent counts in a file of its own, in a folder that
    # this class makes. So its numbers survive when something kills the process.
    class Agents
      FOLDER = "URING_IO_PROFILE_AGENT"
      # The layout of a file, as in ext/uring_io_agent/src/area.rs: how many words of 64 bits each part has.
      MAGIC = "uringio1"
      HEAD = 32
      THREADS = 512
      THREAD = 8
      WAITS = 128
      WAIT = 24
      WORDS = HEAD + (THREADS * THREAD) + (WAITS * WAIT)
      KINDS = { 1 => "socket", 2 => "idle", 3 => "pipe", 4 => "file", 5 => "asleep", 6 => "lock", 7 => "child",
                8 => "other", 9 => "idle", 10 => "name" }.freeze
      STATS = %i[enters submissions completions direct_calls switches waiting_seconds running_seconds].freeze
      private_constant :FOLDER, :MAGIC, :HEAD, :THREADS, :THREAD, :WAITS, :WAIT, :WORDS, :KINDS, :STATS

      # The file that makes a Ruby load the agent.
      PROGRAM = File.expand_path("agent/uring_io_profile_agent.rb", __dir__)

      def initialize
        @folder = Dir.mktmpdir("uring_io-profile")
      end

      # @return [Hash{String => String}] variables to add to the command's environment
      def environment
        option, library = option()
        found = { FOLDER => @folder }
        return found unless option

        found["RUBYLIB"] = [library, ENV.fetch("RUBYLIB", nil)].compact.join(File::PATH_SEPARATOR) if library
        options = ENV.fetch("RUBYOPT", "")
        found["RUBYOPT"] = [*(options unless options.empty?), option].join(" ") unless options.split.include?(option)
        found
      end

      # The counts of a process's agents. A process has one agent, and one more each time it replaces itself by exec.
      # @param ended [Float] by CLOCK_MONOTONIC, the time of the last sample
      # @return [Hash, nil] nil when there was none
      def of(pid, ended)
        found = Dir.glob("#{@folder}/#{pid}.*").filter_map { |file| read(file, ended) }
        found.reduce { |sum, one| added(sum, one) }
      end

      # @return [Array<Integer>] processes with an agent that are alive
      def alive
        pids = Dir.children(@folder).map(&:to_i).uniq
        pids.select { |pid| alive?(pid) }
      end

      def close = FileUtils.remove_entry(@folder)

      private

      def alive?(pid)
        !File.read("/proc/#{pid}/stat").rpartition(")").last.start_with?(" Z")
      rescue SystemCallError
        false
      end

      # Ruby splits RUBYOPT at spaces, so Ruby finds a path with a space by RUBYLIB.
      def option
        return ["-r#{PROGRAM}", nil] unless PROGRAM.match?(/\s/)

        library = File.dirname(PROGRAM)
        ["-r#{File.basename(PROGRAM, '.rb')}", library] unless library.include?(File::PATH_SEPARATOR)
      end

      def read(file, ended)
        bytes = File.binread(file)
        words = bytes.unpack("Q*")
        return unless words.size == WORDS && bytes.start_with?(MAGIC)

        threads = words[HEAD, THREADS * THREAD].each_slice(THREAD).reject { |id, _, _, _, since| (id + since).zero? }
        names = bytes.byteslice((HEAD + (THREADS * THREAD)) * 8..)
        { gc: collections(words), gvl: gvl(words, threads, ended * 1e9), fibers: fibers(words, names),
          scheduler: scheduler(words, bytes) }
      rescue SystemCallError
        nil
      end

      def collections(words) = { count: words[3], seconds: words[4] / 1e9, longest: words[5] / 1e9 }

      def gvl(words, threads, ended)
        waiting = ->(thread) { thread[4].positive? ? [ended - thread[4], 0].max : 0 }
        found = threads.map do |thread|
          { id: thread[0], count: thread[1], seconds: (thread[2] + waiting[thread]) / 1e9, longest: thread[3] / 1e9 }
        end
        { count: words[7] + found.sum { |thread| thread[:count] },
          seconds: (words[8] / 1e9) + found.sum { |thread| thread[:seconds] },
          longest: [words[9] / 1e9, *found.map { |thread| thread[:longest] }].max,
          threads: found.group_by { |thread| thread[:id] }.transform_values { |all| all.sum { |one| one[:seconds] } } }
      end

      def fibers(words, names)
        places = words.last(WAITS * WAIT).each_slice(WAIT).with_index.reject { |place, _| place[0].zero? }
        waits = places.map do |place, index|
          kind = KINDS.fetch(place[0], "other")
          name = names.byteslice((index * WAIT * 8) + 48, place[5]).force_encoding(Encoding::UTF_8).scrub
          { kind:, peer: (peer(place[0], name) unless name.empty?), count: place[1], seconds: place[2] / 1e9,
            longest: place[3] / 1e9 }
        end
        { at_most: words[12], waits: waits.sort_by { |wait| -wait[:seconds] } }
      end

      def peer(kind, name)
        return "for clients of #{name}" if kind == 2

        service = Sockets.service(name)
        service ? "#{service} at #{name}" : name
      end

      def scheduler(words, bytes)
        name = bytes.byteslice(192, 64).delete("\0").force_encoding(Encoding::UTF_8).scrub
        return if name.empty?

        counted = words[13, 7]
        return { class: name } if counted.all?(&:zero?)

        { class: name, **STATS.zip(counted.first(5) + counted.last(2).map { |time| time / 1e9 }).to_h }
      end

      def added(sum, one)
        gc, gvl = %i[gc gvl].map do |part|
          sum[part].merge(one[part]) do |name, left, right|
            case name
            when :threads then left.merge(right) { |_, before, after| before + after }
            when :longest then [left, right].max
            else left + right
            end
          end
        end
        fibers = { at_most: [sum, one].map { |agent| agent[:fibers][:at_most] }.max,
                   waits: sum[:fibers][:waits] + one[:fibers][:waits] }
        { gc:, gvl:, fibers:, scheduler: one[:scheduler] || sum[:scheduler] }
      end
    end
  end
end

# frozen_string_literal: true

require "json"
require_relative "errors"
require_relative "profile/command"
require_relative "profile/page"
require_relative "profile/recording"
require_relative "profile/shares"
require_relative "profile/table"
require_relative "profile/trace"
require_relative "profile/verdict"

module UringIO
  # The report of <tt>uring_io profile</tt>: where the time of a program goes, and how much faster io_uring or a fiber
  # scheduler could make it at most. The program need not use this gem. Linux only. <tt>require "uring_io"</tt> does not
  # load it.
  #
  #   require "uring_io/profile"
  #   puts UringIO::Profile.run { Net::HTTP.get(uri) }
  class Profile
    # The version of {#to_h}.
    VERSION = 2
    # The default number of looks a second.
    RATE = 100
    private_constant :Account, :Agents, :Calls, :Command, :Descriptors, :Exact, :Launch, :Page, :Recording, :Sampler,
                     :Sockets, :Table, :Task, :Timeline, :Trace, :WAITS, :Wait, :Waits, :Watcher

    class << self
      # Profiles the block, which runs in this process. Another process samples this one meanwhile.
      # @param seconds [Numeric, nil] after which the sampling ends; the block goes on
      # @param rate [Integer] samples a second, from 1 to 1000
      # @return [Profile]
      # @raise [Error] when the other process may not read this one
      def run(seconds: nil, rate: RATE, &)
        raise ArgumentError, "UringIO::Profile.run needs a block" unless block_given?

        new(Recording.of_block(seconds:, rate:, &))
      end

      # Profiles another process and its children until they have ended.
      # @param pid [Integer]
      # @return [Profile]
      # @raise [Error] when there is no such process, or this one may not read it
      def pid(pid, seconds: nil, rate: RATE) = new(Recording.of_pid(pid, seconds:, rate:))

      # <tt>uring_io profile</tt>, with its arguments.
      # @api private
      # @return [Array(Integer, String)] the exit status, and the text to print
      # @raise [ArgumentError] for arguments that are not in the usage
      def command(arguments, out:, err:, color:) = Command.new(arguments, out:, err:, color:).run
    end

    # @param recording [Hash] as {#to_h} returns it
    def initialize(recording)
      @recording = recording
      @shares = Shares.new(recording)
      @verdict = Verdict.new(recording, @shares)
    end

    # @return [Verdict]
    attr_reader :verdict

    # @return [Shares] of the wall time, all processes together
    attr_reader :shares

    # All numbers. Times are in seconds; docs/profile.md explains each number.
    # @return [Hash]
    def to_h = @recording.merge(shares: @shares.to_h, verdict: @verdict.to_h)

    # @return [String] {#to_h} as JSON
    def to_json(*) = "#{JSON.pretty_generate(to_h)}\n"

    # @return [String] one page that loads nothing
    def html = Page.new(@recording, @shares, @verdict).to_s

    # @return [String] Chrome's Trace Event JSON, for Perfetto and speedscope
    def trace = Trace.of(@recording)

    # @param color [Boolean] with the colours of a terminal
    # @return [String] for a terminal of 80 columns
    def to_s(color: false) = Table.new(@recording, @shares, @verdict, color:).to_s
  end
end

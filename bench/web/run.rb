# frozen_string_literal: true

require "open3"
require "optparse"
require "rbconfig"
require_relative "../support/signals"
require_relative "report"
require_relative "server"

# The common part of bench/puma/run, bench/falcon/run and bench/rails/run. On each target in turn, wrk asks a server for
# a route over a number of connections.
module WebBench
  LIB = File.expand_path("../../lib", __dir__)

  # A server. Ruby with +env+ and +options+ runs +script+ with +arguments+ and the arguments of the variant. The Ruby
  # code +probe+ fails when the server cannot run here. +paths+ gives the paths of its routes, if they are not those of
  # the app.
  Target = Data.define(:name, :title, :note, :env, :options, :probe, :script, :arguments, :paths) do
    def initialize(name:, title:, script:, note: nil, env: {}, options: [], probe: "", arguments: [], paths: nil)
      super
    end

    def command(more) = [env, RbConfig.ruby, *options, script, *arguments, *more]

    def path(route) = paths ? paths[route] : "/#{route}"

    # Why it cannot run here; nil when it can.
    def obstacle
      script = "begin\n#{probe}\nrescue LoadError, StandardError => error\nabort error.message\nend"
      output, status = Open3.capture2e(env, RbConfig.ruby, "-W0", "-I#{LIB}", "-e", script)
      output.lines.first.to_s.chomp unless status.success?
    end
  end

  # A route to ask for, and the arguments of the servers for it.
  Workload = Data.define(:name, :title, :about, :group, :route, :connections, :arguments) do
    def to_json_hash = { name:, title:, unit: "requests", about:, group:, connections: }
  end

  # Reads the command line, and makes the measurements.
  class Run
    Options = Struct.new(:rounds, :seconds, :connections, :json, :routes)

    # @param name [String] of the folder of the benchmark
    # @param site [PlainSite, RailsSite] the routes, and what they need
    # @param targets [Array<Target>] the first one is the base of all ratios
    # @param variants [Hash{String => Array}] the title of each variant, and its arguments for the servers
    # @param connections [Array<Integer>] of wrk, unless the command line says otherwise
    # @param warm_up [Integer] seconds before each measurement
    def initialize(name, site, targets, variants, connections: [1, 64, 512], warm_up: 0)
      @name = name
      @site = site
      @connections = connections
      @warm_up = warm_up
      @targets = targets
      @variants = variants
    end

    # @return [Integer] the exit status
    def main(arguments)
      $stdout.sync = true
      Signals.raise_as_exceptions
      @options = parse(arguments)
      obstacles
      leave_out_routes
      return 0 if @options.routes.empty?

      @site.open(@options.routes) do |env|
        @env = env
        measure
      end
    rescue OptionParser::ParseError, Failed, SystemCallError => error
      warn "bench/#{@name}/run: #{error.message}"
      1
    rescue SignalException => error
      warn "bench/#{@name}/run: ended by #{error.message}"
      128 + error.signo
    end

    private

    def parse(arguments)
      options = Options.new(5, 2, @connections, nil, @site.routes)
      all = OptionParser.new do |parser|
        parser.banner = "Usage: bench/#{@name}/run [OPTION...] [ROUTE...]\n\n" \
                        "Routes: #{@site.routes.join(', ')} (all of them unless some are named)."
        parser.on("--rounds N", Integer, "of each measurement (default 5)") { |number| options.rounds = number }
        parser.on("--seconds S", Integer, "of each, whole ones (default 2)") { |number| options.seconds = number }
        parser.on("--connections LIST", Array, "of wrk (default #{@connections.join(',')})") do |list|
          options.connections = list.map { |text| Integer(text, exception: false).to_i }
        end
        parser.on("--json FILE", "writes all numbers there") { |file| options.json = file }
      end
      routes = all.parse(arguments)
      options.routes = routes.uniq if routes.any?
      check(options)
      options
    end

    def check(options)
      unknown = options.routes - @site.routes
      raise Failed, "there is no route #{unknown.join(', ')}; see --help" if unknown.any?

      numbers = [options.rounds, options.seconds, *options.connections]
      raise Failed, "--rounds, --seconds and --connections are whole numbers from 1 on" unless numbers.all?(&:positive?)

      File.open(options.json, "a").close if options.json # fails now, and not after the work
    end

    # Finds the targets that cannot run here. Without the first one, or without wrk, there is nothing to do.
    def obstacles
      raise Failed, "wrk is not installed" unless Programs.executable("wrk")

      @countable = Programs.executable("strace")
      puts "System calls are not counted: strace is not installed" unless @countable

      @obstacles = @targets.to_h { |target| [target, target.obstacle] }
      base = @targets.first
      raise Failed, "#{base.title} cannot be had: #{@obstacles[base]}" if @obstacles[base]
    end

    # Leaves out the routes that need something that is missing here.
    def leave_out_routes
      @options.routes = @options.routes.select do |route|
        missing = @site.missing(route)
        puts "/#{route} is left out: #{missing}" if missing
        missing.nil?
      end
    end

    def workloads
      @variants.flat_map do |variant, arguments|
        @options.routes.flat_map do |route|
          @options.connections.map do |connections|
            group = [@name, variant&.tr(" ", "-"), route].compact.join("-")
            title = ["GET /#{route}", "#{connections} connections", variant].compact.join(", ")
            Workload.new(name: "#{group}-#{connections}", title:, about: @site.about(route), group:, route:,
                         connections:, arguments:)
          end
        end
      end
    end

    # The exit status.
    def measure
      allow_connections
      report = Report.new(@targets, workloads, @options.rounds, @options.seconds)
      puts report.head
      failed = false
      workloads.each do |workload|
        results = results(workload)
        failed ||= results.any?(&:failed?)
        puts report.add(results)
      end
      File.write(@options.json, "#{report.to_json}\n") if @options.json
      warn "bench/#{@name}/run: not every measurement is right" if failed
      failed ? 1 : 0
    end

    # Raises the limit of descriptors. The servers and wrk inherit it.
    def allow_connections
      soft, hard = Process.getrlimit(:NOFILE)
      wanted = [@options.connections.max + 500, soft].max
      Process.setrlimit(:NOFILE, [wanted, hard].min, hard)
    end

    def results(workload)
      results = @targets.map { |target| Result.new(workload, target) }
      results.each { |result| result.leave_out(why_not(result.target, workload)) }
      @options.rounds.times do |round|
        last = round == @options.rounds - 1
        # Each round begins with another target, so that the traces of one do not always meet the same next one.
        results.rotate(round).each { |result| result.attempt { |runs| take(result, runs, last) } }
      end
      results
    end

    def why_not(target, workload)
      @obstacles[target] || ("it has no /#{workload.route}" unless target.path(workload.route))
    end

    # In the last round, it also counts the system calls, on the same server after its measurement.
    def take(result, runs, last)
      workload = result.workload
      path = result.target.path(workload.route)
      env, *program = result.target.command(workload.arguments)
      Server.open([{ **@env, **env }, *program]) do |server|
        server.check(path, @site.body(workload.route)) unless result.target.paths
        server.warm_up(path, workload.connections, @warm_up) if @warm_up.positive?
        runs << server.measure(path, workload.connections, @options.seconds)
        result.count { server.system_calls(path, workload.connections, @options.seconds) } if last && @countable
        raise Failed, "the server did not end when it was told to" unless server.close
      end
    end
  end

  def self.median(numbers) = numbers.sort[numbers.size / 2]
end

# frozen_string_literal: true

require_relative "support/layers/ruby_library"
require_relative "support/layers/rust_crate"

# Checks which file may import which other one. docs/development.md and docs/architecture.md draw the layers, and these
# examples check that the sources keep to them. They only read files, so they need nothing compiled: `rspec -O /dev/null
# spec/layers_spec.rb`.
#
# Each exception is a line with its reason. An exception that is no longer needed fails, so the lists only shrink.
RSpec.describe "The layers" do
  root = File.expand_path("..", __dir__)
  floor = ->(name, members, **options) { Layers::Floor.new(name:, members:, **options) }

  # From the top. A name covers the module and all modules below it, except those that another floor names.
  core_floors = [
    floor["the face", [""]],
    floor["drivers, the trials of backends, and the ladder", %w[driver support ladder], apart: true],
    floor["tables of a driver", %w[in_flight users ready_queue recorder timers]],
    floor["the choice of a backend", %w[backend]],
    floor["backends", %w[uring readiness], apart: true],
    floor["threads for blocking calls", %w[worker_pool resolver], apart: true],
    floor["calls", %w[call]],
    floor["memory and wakeups", %w[memory waker], apart: true],
    floor["system calls", %w[posix platform]],
    floor["results, and what a descriptor is", %w[completion descriptor], apart: true],
    floor["operations", %w[operation ring_options stats backend_kind], apart: true],
    floor["words", %w[token address clock error first_use hosts]]
  ]

  # The only modules that may name a backend. No other module knows which backend runs.
  backends = { "uring" => %w[backend support ladder], "readiness" => %w[backend support] }

  binding_floors = [
    floor["the extension's init", [""]],
    floor["Ruby classes", %w[classes]],
    floor["hooks", %w[hooks]],
    floor["fibers on a driver", %w[engine]],
    floor["words of the engine", %w[engine/party engine/interrupts]],
    floor["memory for the kernel", %w[memory]],
    floor["CRuby's own ways", %w[ruby]]
  ]

  # Modules that use a driver without an engine.
  drivers_of_their_own = {
    "classes/poller" => "rests on a driver without an engine, as it has no fibers",
    "classes/unused" => "keeps the driver of a scheduler until the first use makes an engine",
    "ruby/gvl" => "waits for a driver without the GVL, for engines and pollers alike"
  }

  library_floors = [
    floor["parts with a require of their own",
          %w[async command_line doctor inspection/command ladder nio profile rails selector/checked core_ext/io_event
             core_ext/nio4r core_ext/nio_close]],
    floor["the library", [""]],
    floor["changes of Ruby's own classes", %w[core_ext]],
    floor["what Rails needs", %w[rails/railtie rails/run rails/scheduler rails/execution_state rails/isolation]],
    floor["running", %w[run inspection trace], apart: true],
    floor["classes", %w[scheduler selector ring support], apart: true],
    floor["modules that classes share", %w[html process_wait wait worker_threads], apart: true],
    floor["errors, version and the extension", %w[native errors version], apart: true]
  ]

  # The only folder that changes classes and modules of Ruby and other gems.
  core_ext = "uring_io/core_ext/"
  changes_elsewhere = {
    "uring_io/profile/agent/hooks.rb" => "is loaded by itself into programs that are profiled"
  }

  lines_max = 500

  # Constants that Rust defines.
  native = %w[Close CloseHalf Ladder Poller Ring Scheduler Selector Trace]

  core = Layers::RustCrate.new(File.join(root, "crates/uring_io_core/src"))
  binding = Layers::RustCrate.new(File.join(root, "ext/uring_io/src"))
  library = Layers::RubyLibrary.new(File.join(root, "lib"), "uring_io", "UringIO", native:)
  houses = {
    "core" => Layers::House.new(folder: "crates/uring_io_core/src", modules: core.files, imports: core.imports,
                                floors: core_floors),
    "binding" => Layers::House.new(folder: "ext/uring_io/src", modules: binding.files, imports: binding.imports,
                                   floors: binding_floors),
    # The files of core_ext belong to several layers, so their folder may be in a circle.
    "library" => Layers::House.new(folder: "lib", modules: library.files, imports: library.imports, folders: false,
                                   floors: library_floors)
  }

  def expect_none(complaints)
    expect(complaints).to be_empty, -> { complaints.join("\n") }
  end

  def expect_needed(list, found, what)
    expect_none((list.keys - found).map { |name| "#{name} #{what} any longer: remove this line" })
  end

  houses.each do |name, house|
    describe "of the #{name}" do
      it "have a floor for each file" do
        expect_none(house.on_no_floor)
      end

      it "import downwards only" do
        expect_none(house.upward)
      end

      it "have no circles" do
        expect_none(house.circles)
      end

      it "have no exceptions that are not needed" do
        expect_none(house.unneeded)
      end
    end
  end

  { core => "crates/uring_io_core/src", binding => "ext/uring_io/src" }.each do |crate, folder|
    it "have every file declared by a mod: #{folder}" do
      expect_none(crate.undeclared.map { |file| "#{folder}/#{file}: no `mod` declares it" })
    end
  end

  it "let only the choice of a backend, the trials and the ladder name a backend" do
    found = core.imports.filter_map do |import|
      backend, known_to = backends.find { |name, _| import.to == name || import.to.start_with?("#{name}/") }
      next if backend.nil? || [backend, *known_to].include?(import.from.split("/").first)

      "crates/uring_io_core/src/#{import.file}:#{import.line} imports #{import.text}: only #{known_to.join(' and ')} " \
        "may name #{backend}. Give Backend a method for it."
    end
    expect_none(found)
  end

  describe "of the binding, as the engine hides its driver" do
    uses = binding.files.flat_map do |name, files|
      files.flat_map { |file| binding.code(file).lines(/\.\s*driver\b(?!\s*\()/).map { |line| [name, file, line] } }
    end
    uses = uses.reject { |name, _, _| name == "engine" || name.start_with?("engine/") }

    it "use that driver only in the engine" do
      found = uses.reject { |name, _, _| drivers_of_their_own.key?(name) }
      expect_none(found.map do |_, file, line|
        "ext/uring_io/src/#{file}:#{line} reaches for the driver of an engine: give the engine a method for it"
      end)
    end

    it "have no exceptions that are not needed" do
      expect_needed(drivers_of_their_own, uses.map(&:first), "reaches for no driver")
    end
  end

  describe "of the library, with the classes of Ruby and other gems" do
    changes = library.changes.reject { |change| change.file.start_with?(core_ext) }

    it "change them only in core_ext" do
      found = changes.reject { |change| changes_elsewhere.key?(change.file) }
      expect_none(found.map do |change|
        "lib/#{change.file}:#{change.line} (#{change.what}) changes a class that is not ours: move the change to a " \
          "file in lib/#{core_ext}, and require that"
      end)
    end

    it "have no exceptions that are not needed" do
      expect_needed(changes_elsewhere, changes.map(&:file), "changes no class of Ruby or another gem")
    end
  end

  describe "in files of a readable length" do
    lengths = Dir["{ext/**/*.rs,crates/*/src/**/*.rs,lib/**/*.rb}", base: root].to_h do |file|
      [file, File.foreach(File.join(root, file)).count]
    end
    long = lengths.select { |_, lines| lines > lines_max }

    it "have at most #{lines_max} lines" do
      expect_none(long.map do |file, lines|
        "#{file} has #{lines} lines, #{lines - lines_max} too many: cut it by concern"
      end)
    end
  end
end

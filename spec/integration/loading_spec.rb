# frozen_string_literal: true

# Programs may reload themselves while other fibers use them, as Rails does in development.
RSpec.describe "Files that are small" do
  each_backend do
    # Runs the block in a fiber. Whenever another fiber may run, checks whether `seen` is there. Returns how often it
    # checked, and how often it found nothing.
    def looks_during(seen)
      looks = missing = 0
      scheduled do
        ended = false
        Fiber.schedule do
          yield
          ended = true
        end
        until ended
          looks += 1
          missing += 1 unless seen.call
          sleep 0
        end
      end
      [looks, missing]
    end

    # A program that defines a route in its last line, and is so long that loading takes several reads.
    def program(last = "")
      free_path("routes.rb").tap { |path| File.write(path, "#{"# routes\n" * 2000}#{last}\nROUTES[:page] = true\n") }
    end

    let(:route) { -> { ROUTES.key?(:page) } }

    before { stub_const("ROUTES", { page: true }) }

    it "can be loaded a thousand times, and no other fiber ever sees one half loaded" do
      path = program
      _, missing = looks_during(route) do
        1000.times do
          ROUTES.clear
          load path
        end
      end
      expect(missing).to eq(0)
    end

    it "can be loaded a thousand times in turns with other fibers" do
      path = program
      looks, missing = looks_during(route) do
        1000.times do
          ROUTES.clear
          load path
          sleep 0
        end
      end
      expect(looks).to be > 900
      expect(missing).to eq(0)
    end

    it "can be loaded by require and by autoload, unseen by other fibers" do
      paths = Array.new(300) { |index| program("Loaded#{index} = 1") }
      _, missing = looks_during(route) do
        paths.each_slice(2).with_index do |(required, autoloaded), index|
          ROUTES.clear
          require required
          Object.autoload(:"Loaded#{(2 * index) + 1}", autoloaded)
          ROUTES.clear
          Object.const_get(:"Loaded#{(2 * index) + 1}")
        end
      end
      expect(missing).to eq(0)
    ensure
      Object.constants.grep(/\ALoaded\d/).each { |name| Object.send(:remove_const, name) }
    end

    it "can also be loaded from the disk, unseen by other fibers" do
      path = program
      File.open(path, &:fsync)
      _, missing = looks_during(route) do
        20.times do
          ROUTES.clear
          File.open(path) { |file| file.advise(:dontneed) }
          load path
        end
      end
      expect(missing).to eq(0)
    end

    it "may read hundreds of other files while they are loaded, unseen by other fibers" do
      path = file_with("data")
      program = file_with("600.times { File.read(#{path.dump}) }\nROUTES[:page] = true\n")
      looks, missing = looks_during(route) do
        5.times do
          ROUTES.clear
          load program
          sleep 0
        end
      end
      expect(looks).to be > 3
      expect(missing).to eq(0)
    end

    it "are read at once from the page cache, whatever method reads them" do
      path = file_with("one\ntwo\n")
      order = []
      scheduled do
        Fiber.schedule do
          File.open(path) { |file| order << file.gets << file.readpartial(100) << file.read }
          order << File.read(path) << File.readlines(path) << File.foreach(path).count << File.open(path).sysread(3)
        end
        order << :other
      end
      expect(order).to eq(["one\n", "two\n", "", "one\ntwo\n", %W[one\n two\n], 2, "one", :other])
    end

    it "are read at once on a tmpfs, which cannot say what is in memory" do
      skip "there is no /dev/shm" unless File.writable?("/dev/shm")

      path = "/dev/shm/uring_io-spec-#{Process.pid}"
      File.write(path, "content")
      order = []
      scheduled do
        Fiber.schedule { order << File.read(path) << File.open(path) { |file| file.pread(3, 1) } }
        order << :other
      end
      expect(order).to eq(["content", "ont", :other])
    ensure
      FileUtils.rm_f(path) if path
    end

    it "let other fibers run when a fiber reads them over and over" do
      path = file_with("data")
      order = []
      scheduled do
        stop = false
        Fiber.schedule { File.read(path) until stop }
        Fiber.schedule { order << :timer if sleep(0.001) }
        input, output = unix_pair
        Fiber.schedule { order << input.readpartial(1) }
        output.write("x")
        eventually { order.size == 2 }
        stop = true
      end
      expect(order).to contain_exactly(:timer, "x")
    end
  end
end

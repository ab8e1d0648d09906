# frozen_string_literal: true

RSpec.describe "UringIO::Selector#io_close" do
  each_selector do
    before { skip "#{selector_class} has no io_close" unless selector_class.method_defined?(:io_close) }

    # The number of a descriptor that no IO object will close.
    def loose_descriptor(io)
      io.autoclose = false
      io.fileno
    end

    it "takes a descriptor's number, and returns true" do
      selecting do |selector, _|
        reader, writer = pipe
        task = started { selector.io_close(loose_descriptor(writer)) }
        run_what_can(selector)
        expect(task.value).to be(true)
        expect(reader.read).to eq("")
      end
    end

    it "works on the loop fiber, where finalizers may run" do
      selecting do |selector, _|
        reader, writer = pipe
        expect(selector.io_close(loose_descriptor(writer))).to be(true)
        expect(reader.read).to eq("")
      end
    end

    it "has closed before a later fork: the child has no copy" do
      selecting do |selector, _|
        reader, writer = pipe
        selector.io_close(loose_descriptor(writer))
        pid = spawn("sleep 60")
        expect(reader.read).to eq("")
      ensure
        if pid
          Process.kill(:KILL, pid)
          Process.wait(pid)
        end
      end
    end

    it "returns true even for a number that is no open descriptor" do
      selecting do |selector, _|
        reader, writer = pipe
        number = reader.fileno
        [reader, writer].each(&:close)
        expect(selector.io_close(number)).to be(true)
        expect(selector.select(0)).to be_an(Integer)
      end
    end
  end
end

# frozen_string_literal: true

require "tmpdir"
require_relative "../rakelib/prose"

# Only reads files: `rspec -O /dev/null spec/prose_spec.rb` needs nothing compiled.
RSpec.describe "The check of the pages and comments" do
  # The faults of a page or program, next to an index and a list of words.
  def faults(text, name: "README.md", index: "# The pages\n")
    Dir.mktmpdir do |root|
      Dir.mkdir(File.join(root, "docs"))
      File.write(File.join(root, "docs/README.md"), index)
      File.write(File.join(root, "docs/words.md"), <<~TEXT)
        # Words

        ## Not these

        | not | but |
        | --- | --- |
        | syscall | system call |
        | fd, file handle | descriptor |
      TEXT
      FileUtils.mkdir_p(File.dirname(File.join(root, name)))
      File.write(File.join(root, name), text)
      Prose.new(root).faults.grep(/\A#{name}:/)
    end
  end

  it "finds lines that are too long, except tables and lines that cannot be broken" do
    expect(faults("# Title\n\n#{'word ' * 25}\n")).to contain_exactly(start_with("README.md:3: 125 characters"))
    expect(faults("# Title\n\n| #{'word ' * 25} |\n#{'a' * 130}\n")).to eq([])
  end

  it "wants exactly one title, at the beginning" do
    expect(faults("# Title\n\n# Another\n")).to contain_exactly(start_with("README.md:1: 2 titles"))
    expect(faults("## Section\n")).to contain_exactly(start_with("README.md:1: 0 titles"))
    expect(faults("# Title\n\n```sh\n# a comment\n```\n")).to eq([])
  end

  it "finds links to missing files and headings" do
    found = faults("# A title\n\n[here](docs/words.md#not-these), [self](#a-title), [web](https://example.org/x)\n\n" \
                   "[gone](docs/gone.md)\n[lost](docs/words.md#lost)\n<img src=\"docs/none.svg\">\n")
    expect(found).to eq(["README.md:5: docs/gone.md leads nowhere", "README.md:6: docs/words.md#lost leads nowhere",
                         "README.md:7: docs/none.svg leads nowhere"])
  end

  it "wants each page of docs/ in the index" do
    expect(faults("# Title\n", name: "docs/page.md")).to contain_exactly(start_with("docs/page.md:1: not in docs/"))
    expect(faults("# Title\n", name: "docs/page.md", index: "# The pages\n\n[page](page.md)\n")).to eq([])
  end

  it "finds the words that docs/words.md replaces, except in code" do
    expect(faults("# Title\n\nTwo syscalls on an fd, `fd` or\n\n```c\nint fd;\n```\n"))
      .to contain_exactly('README.md:3: "syscalls": write "system call" (docs/words.md)',
                          'README.md:3: "fd": write "descriptor" (docs/words.md)')
  end

  {
    "What is queued is kept." => "the subject is a clause",
    "It closes. Whoever waited\ngets an error." => "the subject is a clause",
    "- Of what is no socket it says nothing." => "the subject is a clause",
    "This has the kernel refuse them." => '"has X do"',
    "The process is no more that user." => '"no more"',
    "It does not run any more." => '"no more"',
    "The kernel is told when it ends." => "the actor is missing",
    "All but for one." => '"but for"'
  }.each do |sentence, reason|
    it "finds #{sentence.inspect}" do
      expect(faults("# Title\n\n#{sentence}\n")).to contain_exactly(include(reason))
    end
  end

  it "accepts good sentences, questions and headings" do
    expect(faults(<<~TEXT)).to eq([])
      # What it is

      The ring keeps queued entries. What is a ring? The kernel no longer uses the memory, and no more than 4 KB are copied.

      ## Who waits

      - An IO has the same methods.
      - It was asked for.
    TEXT
  end

  it "finds sentences in the comments of Ruby, but nothing in its code" do
    text = "# It waits.\n  # What is queued is\n  # kept.\nputs \"What is queued is kept.\"\n"
    %w[lib/ring.rb spec/uring_io/ring_spec.rb bench/ring.rb rakelib/ring.rake].each do |name|
      expect(faults(text, name:)).to contain_exactly(start_with("#{name}:2: \"What is queued is kept.\""))
    end
  end

  it "finds sentences in the comments of Rust, but nothing in its code" do
    %w[// /// //!].each do |mark|
      text = "let it = \"Who waits is woken.\";\n  #{mark} It waits.\n  #{mark} Who waits is\n  #{mark} woken.\n"
      expect(faults(text, name: "crates/core/src/ring.rs"))
        .to contain_exactly(start_with('crates/core/src/ring.rs:3: "Who waits is woken."'))
    end
  end

  it "finds nothing in the pages and comments of the repository" do
    expect(Prose.new(File.expand_path("..", __dir__)).faults).to eq([])
  end
end

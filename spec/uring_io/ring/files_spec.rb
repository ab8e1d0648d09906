# frozen_string_literal: true

require "fcntl"
require "pathname"

RSpec.describe UringIO::Ring do
  each_backend do |_backend|
    describe "#read and #write" do
      it "do what IO#pread, IO#pwrite, IO#sysread and IO#syswrite do" do
        everywhere do |ring|
          file = closing(File.open(file_with("0123456789"), "r+"))
          expect(ring.read(file, 4, offset: 3)).to eq(file.pread(4, 3))
          expect(ring.read(file, 100, offset: 8)).to eq("89")
          expect([ring.read(file, 2), ring.read(file, 2), file.sysread(2)]).to eq(%w[01 23 45])
          expect(ring.write(file, "ab", offset: 1)).to eq(2)
          expect(ring.write(file.fileno, "xy")).to eq(2)
          expect(File.binread(file.path)).to eq("0ab345xy89")
          expect(ring.read(file, 0)).to eq("")
        end
      end

      it "return nil at the end of a file, and past it" do
        everywhere do |ring|
          file = closing(File.open(file_with("x")))
          expect([ring.read(file, 1, offset: 1), ring.read(file, 1, offset: 1 << 40)]).to eq([nil, nil])
          expect(ring.read(file, 0, offset: 1)).to eq("")
        end
      end

      it "leave a hole when they write past the end" do
        everywhere do |ring|
          file = closing(File.open(file_with("x"), "r+"))
          expect(ring.write(file, "y", offset: 3)).to eq(1)
          expect(File.binread(file.path)).to eq("x\0\0y")
        end
      end

      it "transfer megabytes" do
        bytes = pattern(3 << 20)
        everywhere do |ring|
          file = closing(File.open(free_path, "w+"))
          expect(ring.write(file, bytes, offset: 0)).to eq(bytes.bytesize)
          expect(ring.read(file, bytes.bytesize, offset: 0)).to eq(bytes)
        end
      end

      it "read in binary, and write the bytes of any encoding" do
        everywhere do |ring|
          file = closing(File.open(free_path, "w+"))
          expect(ring.write(file, "é", offset: 0)).to eq(2)
          read = ring.read(file, 2, offset: 0)
          expect([read.encoding, read]).to eq([Encoding::BINARY, "\xC3\xA9".b])
          expect(read.frozen?).to be(false)
        end
      end

      it "read from and write to pipes and devices, and wait for them" do
        everywhere do |ring|
          reader, writer = pipe
          expect(ring.write(writer, "through")).to eq(7)
          expect(ring.read(reader, 99)).to eq("through")
          writer.close
          expect(ring.read(reader, 1)).to be_nil
          zeros = closing(File.open("/dev/zero"))
          expect(ring.read(zeros, 3)).to eq("\0\0\0")
        end
      end

      it "raise the errors of pread and pwrite" do
        everywhere do |ring|
          path = file_with("x")
          to_read, to_write = %w[r w].map { |mode| closing(File.open(path, mode)) }
          directory = closing(File.open("/"))
          full = closing(File.open("/dev/full", "r+"))
          expect(raised { ring.write(to_read, "x", offset: 0) }).to be_a(Errno::EBADF)
          expect(raised { ring.read(to_write.fileno, 1, offset: 0) }).to be_a(Errno::EBADF)
          expect_same_errno(-> { ring.read(directory, 1) }, -> { directory.sysread(1) })
          expect_same_errno(-> { ring.write(full, "x") }, -> { full.syswrite("x") })
          expect(raised { ring.read(9999, 1, offset: 0) }).to be_a(Errno::EBADF).and(have_attributes(message: /read/))
        end
      end
    end

    describe "#open and #close_descriptor" do
      it "open a descriptor of the process, and close it" do
        everywhere do |ring|
          path = free_path
          descriptor = ring.open(path, "w", 0o600)
          expect(IO.for_fd(descriptor, autoclose: false).close_on_exec?).to be(true)
          ring.write(descriptor, "one")
          expect(ring.close_descriptor(descriptor)).to be_nil
          expect(raised { ring.close_descriptor(9999) }).to be_a(Errno::EBADF)
          expect([File.read(path), File.stat(path).mode & 0o777]).to eq(["one", 0o600])
        end
      end

      it "take Ruby's modes" do
        access_mode = File::RDONLY | File::WRONLY | File::RDWR | File::APPEND
        everywhere do |ring|
          %w[r r+ w w+ a a+ rb r+b wb+ at].each do |mode|
            paths = Array.new(2) { file_with("content") }
            ours = adopted(ring.open(paths[0], mode))
            rubys = closing(File.open(paths[1], mode))
            of_ours, of_rubys = [ours, rubys].zip(paths).map do |file, path|
              [mode, file.fcntl(Fcntl::F_GETFL) & access_mode, File.size(path)]
            end
            expect(of_ours).to eq(of_rubys)
          end
        end
      end

      it "take modes as numbers, and path objects" do
        everywhere do |ring|
          path = free_path
          file = adopted(ring.open(Pathname(path), File::CREAT | File::EXCL | File::RDWR))
          expect(ring.write(file, "x")).to eq(1)
          expect(raised { ring.open(Pathname(path), File::CREAT | File::EXCL) }).to be_a(Errno::EEXIST)
        end
      end

      it "resolve relative paths from a given directory" do
        everywhere do |ring|
          path = file_with("inside")
          Dir.open(File.dirname(path)) do |directory|
            inside = ring.open(File.basename(path), dir: directory.fileno)
            expect(ring.read(inside, 9)).to eq("inside")
            ring.close_descriptor(inside)
          end
          Dir.chdir(File.dirname(path)) do
            expect(adopted(ring.open(File.basename(path))).read).to eq("inside")
          end
        end
      end

      it "obey the umask" do
        everywhere do |ring|
          paths = Array.new(2) { free_path }
          adopted(ring.open(paths[0], "w", 0o666))
          closing(File.open(paths[1], "w", 0o666))
          expect(File.stat(paths[0]).mode).to eq(File.stat(paths[1]).mode)
        end
      end

      it "obey the restrictions of resolve:" do
        everywhere do |ring|
          path = file_with("x")
          directory = closing(File.open(File.dirname(path)))
          name = File.basename(path)
          File.symlink(path, link = free_path)
          expect(adopted(ring.open(name, dir: directory, resolve: :beneath)).read).to eq("x")
          expect(raised { ring.open("../etc", dir: directory, resolve: :beneath) }).to be_a(Errno::EXDEV)
          expect(raised { ring.open(link, resolve: %i[no_symlinks no_magiclinks]) }).to be_a(Errno::ELOOP)
          expect(raised { ring.open("/proc/self/mounts", resolve: :no_xdev) }).to be_a(Errno::EXDEV)
          expect(adopted(ring.open("/#{name}", dir: directory, resolve: :in_root)).read).to eq("x")
          made = free_path
          adopted(ring.open(made, "w", 0o600, resolve: 0))
          expect(File.stat(made).mode & 0o777).to eq(0o600)
        end
      end

      it "raise the errors of File.open" do
        everywhere do |ring|
          path = file_with("x")
          File.symlink(loop = free_path, loop)
          [[free_path], ["#{path}/below"], [path, "wx"], ["/", "w"], [loop], ["x" * 300], [""]].each do |arguments|
            expect_same_errno(-> { ring.open(*arguments) }, -> { File.open(*arguments) })
          end
          expect(raised { ring.open(free_path) }.message).to match(/openat/)
        end
      end
    end

    describe "#ftruncate and #fallocate", needs: :ftruncate do
      it "set the length of files, and allocate space and holes in them" do
        everywhere do |ring|
          file = closing(File.open(file_with("12345"), "r+"))
          expect(ring.ftruncate(file, 2)).to be_nil
          expect(File.read(file.path)).to eq("12")
          ring.ftruncate(file, 4)
          expect(File.read(file.path)).to eq("12\0\0")
          expect(ring.fallocate(file, 100)).to be_nil
          expect(file.size).to eq(100)
          ring.fallocate(file, 50, offset: 100)
          expect(file.size).to eq(150)
          keep_size = 1
          punch_hole = 2
          ring.fallocate(file, 1, mode: keep_size | punch_hole)
          expect(file.pread(3, 0)).to eq("\0002\0")
        end
      end

      it "raise the errors of their calls" do
        everywhere do |ring|
          reader, writer = pipe
          to_read = closing(File.open(file_with("x")))
          expect(raised { ring.ftruncate(to_read, 0) }).to be_a(Errno::EINVAL)
          expect(raised { ring.ftruncate(writer, 0) }).to be_a(Errno::EINVAL)
          expect(raised { ring.fallocate(to_read, 1) }).to be_a(Errno::EBADF)
          expect(raised { ring.fallocate(reader, 1) }).to be_a(Errno::EBADF)
          expect(raised { ring.fallocate(writer, 1) }).to be_a(Errno::ESPIPE)
          expect(raised { ring.fallocate(9999, 0) }).to be_a(SystemCallError)
        end
      end
    end

    describe "#fsync, #fdatasync, #sync_file_range and #fadvise" do
      it "return nil on success" do
        everywhere do |ring|
          file = closing(File.open(file_with("12345"), "r+"))
          expect([ring.fsync(file), ring.fdatasync(file), ring.sync_file_range(file)]).to eq([nil, nil, nil])
          expect(ring.sync_file_range(file, offset: 1, length: 2, flags: :write)).to be_nil
          UringIO::Ring::Operations::ADVICE.each_key { |advice| expect(ring.fadvise(file, advice)).to be_nil }
          expect(ring.fadvise(file, :willneed, offset: 1, length: 2)).to be_nil
        end
      end

      it "raise the errors of IO#fsync, IO#fdatasync and IO#advise" do
        everywhere do |ring|
          reader, writer = pipe
          expect_same_errno(-> { ring.fsync(writer) }, -> { writer.fsync })
          expect_same_errno(-> { ring.fdatasync(writer) }, -> { writer.fdatasync })
          expect(raised { ring.sync_file_range(writer) }).to be_a(Errno::ESPIPE)
          expect(raised { ring.fadvise(reader, :normal) }).to be_a(Errno::ESPIPE)
          expect(raised { ring.fsync(9999) }).to be_a(Errno::EBADF)
        end
      end
    end
  end
end

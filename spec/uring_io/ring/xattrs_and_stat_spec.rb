# frozen_string_literal: true

RSpec.describe UringIO::Ring do
  each_backend do |_backend|
    describe "#stat" do
      it "returns the same as File.stat and File.lstat" do
        everywhere do |ring|
          path = file_with("12345")
          File.symlink(path, link = free_path)
          told = ring.stat(path)
          known = File.stat(path)
          %i[ino mode nlink uid gid size blocks blksize atime mtime ctime dev_major dev_minor file? directory? symlink?
             pipe? socket? blockdev? chardev?].each do |name|
            expect([name, told.public_send(name)]).to eq([name, known.public_send(name)])
          end
          expect([ring.stat(link).size, ring.stat(link, follow: false).symlink?]).to eq([5, true])
          expect(ring.stat(link, follow: false).ino).to eq(File.lstat(link).ino)
        end
      end

      it "takes an open file as an object or a number" do
        everywhere do |ring|
          File.open(file_with("12345")) do |file|
            expect([ring.stat(file).size, ring.stat(file.fileno).ino]).to eq([5, file.stat.ino])
          end
          expect(ring.stat(pipe.first).pipe?).to be(true)
          expect(ring.stat(unix_pair.first).socket?).to be(true)
          expect(ring.stat(File::NULL).chardev?).to be(true)
          expect(ring.stat("/").directory?).to be(true)
        end
      end

      it "returns the time of a file's birth where File.birthtime does" do
        path = file_with("x")
        born = begin
          File.birthtime(path)
        rescue NotImplementedError
          skip "this file system does not know"
        end
        everywhere { |ring| expect(ring.stat(path).birthtime).to eq(born) }
      end

      it "raises the errors of File.stat" do
        everywhere do |ring|
          path = file_with("x")
          ["#{path}/below", free_path, "", "x" * 300].each do |name|
            expect_same_errno(-> { ring.stat(name) }, -> { File.stat(name) })
          end
          expect(raised { ring.stat(9999) }).to be_a(Errno::EBADF)
        end
      end
    end

    describe "#setxattr and #getxattr", needs: %i[setxattr getxattr] do
      # Not every file system has extended attributes.
      def with_attributes
        everywhere do |ring|
          path = file_with("x")
          begin
            ring.setxattr(path, "user.probe", "")
          rescue Errno::EOPNOTSUPP
            skip "this file system has no attributes of users"
          end
          yield ring, path
        end
      end

      it "store bytes with a file, by its path, object or number" do
        with_attributes do |ring, path|
          value = pattern(100)
          expect(ring.setxattr(path, "user.one", value)).to be_nil
          File.open(path) do |file|
            expect([ring.getxattr(file, "user.one"), ring.getxattr(file.fileno, "user.one")]).to eq([value, value])
            ring.setxattr(file, "user.two", "x")
          end
          expect(ring.getxattr(path, "user.two")).to eq("x")
          expect(ring.getxattr(path, "user.one").encoding).to eq(Encoding::BINARY)
        end
      end

      it "distinguish an empty value from none, and return a value's size" do
        with_attributes do |ring, path|
          ring.setxattr(path, "user.empty", "")
          ring.setxattr(path, "user.five", "12345")
          expect(ring.getxattr(path, "user.empty")).to eq("")
          expect([ring.getxattr(path, "user.five", 0), ring.getxattr(path, "user.five", 5)]).to eq([5, "12345"])
          expect(raised { ring.getxattr(path, "user.five", 4) }).to be_a(Errno::ERANGE)
          expect(raised { ring.getxattr(path, "user.none") }).to be_a(Errno::ENODATA)
        end
      end

      it "insist on a new or an existing attribute on demand" do
        with_attributes do |ring, path|
          ring.setxattr(path, "user.one", "1", flags: :create)
          expect(raised { ring.setxattr(path, "user.one", "2", flags: :create) }).to be_a(Errno::EEXIST)
          ring.setxattr(path, "user.one", "3", flags: :replace)
          expect(raised { ring.setxattr(path, "user.two", "4", flags: [:replace]) }).to be_a(Errno::ENODATA)
          expect(ring.getxattr(path, "user.one")).to eq("3")
        end
      end

      it "raise the errors of their system calls, with the name of the call" do
        with_attributes do |ring, path|
          expect(raised { ring.getxattr(free_path, "user.one") }).to be_a(Errno::ENOENT)
          expect(raised { ring.setxattr(9999, "user.one", "") }).to be_a(Errno::EBADF)
          expect(raised { ring.setxattr(path, "none", "") }.class).to be(Errno::EOPNOTSUPP)
          expect(raised { ring.getxattr(path, "user.#{'x' * 300}") }).to be_a(Errno::ERANGE)
          expect(raised { ring.setxattr(path, "user.one", "x", flags: 64) }).to be_a(Errno::EINVAL)
          expect(raised { ring.getxattr(path, "user.none") }.message).to match(/getxattr/)
        end
      end
    end
  end
end

# frozen_string_literal: true

require "socket"

module UringIO
  class Trace
    # The names of a recording in words: the kinds of descriptors, and the reasons of waits.
    module Peers
      class << self
        # @param names [Array<String>] as recorder/mod.rs writes them
        # @return [Array<String>]
        def names(names)
          names.map do |name|
            kind, rest = name.split(" ", 2)
            case kind
            when "socket" then "socket #{address([rest.to_s].pack('H*'))}".rstrip
            when "file" then file(rest.to_s)
            else name.scrub
            end.gsub(/[[:cntrl:]]/, "?")
          end
        end

        private

        def file(link) = link.start_with?("pipe:") ? "pipe" : link.scrub

        def address(bytes)
          found = Addrinfo.new(bytes)
          return found.inspect_sockaddr unless found.unix?

          found.unix_path.sub(/\A\0/, "@").force_encoding(Encoding::UTF_8).scrub
        rescue SocketError, ArgumentError
          ""
        end
      end
    end
    private_constant :Peers
  end
end

# frozen_string_literal: true

require "uring_io"

# Has every scheduler and selector of this process made with restrict: true. Required by spec_helper.rb where
# URING_IO_SPEC_RESTRICT=1 is set, and by programs of specs.
module Restricted
  def initialize(*arguments, **options)
    super(*arguments, restrict: true, **options)
  end

  [UringIO::Scheduler, UringIO::Selector].each { |restricted| restricted.prepend(self) }
end

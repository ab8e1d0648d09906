# frozen_string_literal: true

# The compiled extension. It is built for one minor version of Ruby: platform gems carry one for
# each, in a folder of that name.
begin
  require_relative "#{RUBY_VERSION[/\A\d+\.\d+/]}/uring_io"
rescue LoadError => error
  raise LoadError, "#{error.message}\nuring_io is not compiled for Ruby #{RUBY_VERSION}: " \
                   "run `rake compile` in a checkout, or reinstall the gem"
end

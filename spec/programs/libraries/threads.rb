# frozen_string_literal: true

# Libraries that start threads or processes of their own, for which fibers wait.

get = ->(server, word) { Net::HTTP.get(URI("#{server[:url]}/#{word}")) }

Libraries.row "concurrent-ruby, promises", gem: "concurrent-ruby", server: :http do
  require "concurrent"
  require "net/http"

  each_fiber do |index|
    echoes(index) { |word| Concurrent::Promises.future { get.call(server, word) }.value! }
  end
end

Libraries.row "concurrent-ruby, thread pools", gem: "concurrent-ruby", server: :http do
  require "concurrent"
  require "net/http"
  pool = Concurrent::FixedThreadPool.new(Libraries::FIBERS)

  each_fiber do |index|
    echoes(index) do |word|
      answer = Concurrent::IVar.new
      pool.post { answer.set(get.call(server, word)) }
      answer.value
    end
  end
  pool.shutdown
  pool.wait_for_termination
end

Libraries.row "rake, `multitask`", gem: "rake", server: :http do
  require "rake"
  require "net/http"

  each_fiber do |index|
    echoes(index) do |word|
      answers = Thread::Queue.new
      application = Rake::Application.new
      %w[one two].each do |name|
        application.define_task(Rake::Task, name) { answers << get.call(server, name == "one" ? word : "another") }
      end
      application.define_task(Rake::MultiTask, all: %w[one two]).invoke
      (Array.new(2) { answers.pop } - ["another"]).first
    end
  end
end

Libraries.row "open3", gem: nil, server: :http do
  require "open3"

  each_fiber do |index|
    echoes(index) { |word| Open3.capture3("curl", "-s", "#{server[:url]}/#{word}").first }
    text = "#{index} " * 100_000
    same(text, Open3.capture2("cat", stdin_data: text).first)
  end
end

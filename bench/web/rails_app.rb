# frozen_string_literal: true

require "logger"
require "net/http"
require "action_controller/railtie"
require "active_record/railtie"

# PGHOST and so on say where the database is.
ENV["DATABASE_URL"] = "postgresql:///#{ENV.fetch('PGDATABASE')}?pool=#{ENV.fetch('WEB_BENCH_POOL')}"

# A Rails app in one file, with the middleware that `rails new` gives in production, and no log.
class BenchApp < Rails::Application
  config.load_defaults Rails::VERSION::STRING.to_f
  config.root = __dir__
  config.eager_load = true
  config.cache_classes = true
  config.logger = Logger.new(nil)
  config.secret_key_base = "of nobody"
  config.active_support.isolation_level = ENV.fetch("WEB_BENCH_ISOLATION").to_sym
end

class Item < ActiveRecord::Base
end

# GET /queries, /pg_sleep, /two_urls and /file
class BenchController < ActionController::Base
  URLS = [URI(ENV.fetch("WEB_BENCH_URL"))].freeze * 2

  def queries
    item = Item.find(42)
    same_kind = Item.where(kind: item.kind).order(:id).pluck(:name)
    render json: { count: Item.count, item:, same_kind: }
  end

  def pg_sleep
    render plain: "#{Item.with_connection { |database| database.select_value("SELECT 'slept' FROM pg_sleep(0.05)") }}\n"
  end

  # A thread of Puma has no scheduler. Async has one.
  def two_urls
    render plain: Fiber.scheduler ? fetch_all : UringIO.run { fetch_all }
  end

  def file = send_file(ENV.fetch("WEB_BENCH_FILE"))

  private

  def fetch_all
    pages = Thread::Queue.new
    URLS.each do |url|
      Fiber.schedule do
        pages << Net::HTTP.get(url)
      rescue StandardError => error
        pages << "#{error.message} (#{error.class})\n"
      end
    end
    URLS.map { pages.pop }.join
  end
end

BenchApp.initialize!
BenchApp.routes.draw do
  %w[queries pg_sleep two_urls file].each { |route| get route, to: "bench##{route}" }
end

# frozen_string_literal: true

Rails.application.routes.draw do
  get "up" => "rails/health#show", as: :rails_health_check
  resources :accounts, only: %i[index show]
  resources :transfers, only: %i[create]
  get "slow" => "queries#slow"
  get "locked" => "queries#locked"
  get "limited" => "limits#show"
  get "file" => "downloads#show"
  get "live" => "live_streams#show"
  get "body", to: BodyStream
  get "version" => "versions#show"
end

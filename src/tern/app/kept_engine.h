// An engine whose runs on the right sides of many comparisons are computed once and read again later.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "tern/peer/peer.h"

namespace tern::app {

class KeptEngine final : public peer::Peer {
 public:
  // Keeps runs below `folder`, which exists and holds the right sides' run folders, too: a run is kept where its inputs
  // are the prompt alone or one of those. All requests must be of one model and setting.
  KeptEngine(std::unique_ptr<peer::Peer> engine, std::string name, std::filesystem::path folder)
      : engine_(std::move(engine)), name_(std::move(name)), folder_(std::move(folder)) {}

  peer::Abilities abilities() const override { return engine_->abilities(); }
  int usual_threads(const peer::RunSetting& setting) const override { return engine_->usual_threads(setting); }
  Result<peer::PeerRun> run(const peer::RunRequest& request) const override;

 private:
  std::unique_ptr<peer::Peer> engine_;
  std::string name_;
  std::filesystem::path folder_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, std::filesystem::path> kept_;  // run folders by what was asked for
};

}  // namespace tern::app

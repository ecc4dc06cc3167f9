// Until the others exist.
#include "tern/estimate/estimators.h"
namespace tern::estimate {
#if !__has_include("tern/estimate/rope.cc")
std::vector<Proposal> estimate_rope(const StageFacts&) { return {}; }
#endif
#if !__has_include("tern/estimate/scores.cc")
std::vector<Proposal> estimate_scores(const StageFacts&) { return {}; }
#endif
#if !__has_include("tern/estimate/mixing.cc")
std::vector<Proposal> estimate_mixing(const StageFacts&) { return {}; }
#endif
#if !__has_include("tern/estimate/activation.cc")
std::vector<Proposal> estimate_activation(const StageFacts&) { return {}; }
#endif
#if !__has_include("tern/estimate/projection.cc")
std::vector<Proposal> estimate_projection(const StageFacts&) { return {}; }
std::vector<Proposal> estimate_head(const StageFacts&) { return {}; }
#endif
#if !__has_include("tern/estimate/embeddings.cc")
std::vector<Proposal> estimate_embeddings(const StageFacts&) { return {}; }
#endif
#if !__has_include("tern/estimate/residual.cc")
std::vector<Proposal> estimate_residual(const StageFacts&) { return {}; }
#endif
}  // namespace tern::estimate

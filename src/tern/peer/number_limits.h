// The largest numbers that `tern run` and the settings "threads" and "ubatch" of tern and of commands take.
#pragma once

namespace tern::peer {

inline constexpr int kMostThreads = 1024;
inline constexpr int kMostTokensAtOnce = 1 << 16;

}  // namespace tern::peer

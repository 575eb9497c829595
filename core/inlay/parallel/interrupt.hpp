// How a wait or a long computation notices Ctrl-C: it asks, from time to time, the function it was given.
#pragma once

#include <chrono>

namespace inlay {

// True once a signal handler has raised: the Python exception is set, and whoever asked returns. It takes the
// GIL, so it must not be asked while holding a lock that somebody who has the GIL may want.
using Interrupted = bool (*)();

constexpr std::chrono::milliseconds PATIENCE{
    100};  // between two looks: soon enough for a person, too rare to cost

}  // namespace inlay

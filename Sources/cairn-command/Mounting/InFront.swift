// What `make run` needs of a mount in front: Ctrl-C ends the mount and not make, so that both end
// with status 0.

import Glibc

enum InFront {
    /// A hidden subcommand, before another one.
    static let subcommand = "__in-front"

    /// Runs `body` in a process group of its own that has the terminal, if we have one.
    static func run(_ body: () -> Int32) -> Int32 {
        let group = getpgrp()
        guard tcgetpgrp(0) == group, group != getpid(), setpgid(0, 0) == 0 else { return body() }
        // Giving the terminal away, and back, is something that a background group is stopped for.
        signal(SIGTTOU, SIG_IGN)
        tcsetpgrp(0, getpgrp())
        defer { tcsetpgrp(0, group) }
        return body()
    }
}

// What the daemon of a mount and those who ask it say to one another.

import CairnBase
import Glibc
import Testing

@testable import cairn_command

@Suite struct ControlSocketTests {
    // umount waits for the daemon's last word, and the mount may end as soon as it does.
    @Test func whoWaitsHearsOfTheEndHoweverSoonItComes() throws {
        for round in 0..<64 {
            let path = FilePath("/tmp/cairn-control-\(getpid())-\(round)")
            let server = try ControlServer(at: path) { _ in [:] }
            defer { path.withCString { _ = unlink($0) } }
            server.start()
            let client = try #require(ControlClient(at: path))
            let late = try #require(ControlClient(at: path))
            #expect(client.ask("wait") != nil)
            server.finish(["closed": true])
            #expect(client.hasAnswer(withinMilliseconds: 1000))
            #expect(client.nextAnswer()?["closed"] != nil)
            #expect(late.ask("wait") != nil)
            #expect(late.nextAnswer()?["closed"] != nil)
        }
    }
}

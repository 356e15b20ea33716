// The control socket: what it acknowledged, it must keep.

import Glibc
import Testing

@testable import cairn_command

@Suite struct ControlSocketTests {
    private static func place(_ round: Int) -> FilePath {
        FilePath("/tmp/cairn-control-\(getpid())-\(round).sock")
    }

    /// Else `cairn umount` would take the end of the daemon for its death.
    @Test func whoeverWasToldToWaitHearsOfTheEnd() throws {
        for round in 0..<100 {
            let place = ControlSocketTests.place(round)
            defer { _ = place.withCString { unlink($0) } }
            let server = try ControlServer(at: place) { _ in [:] }
            server.start()
            let client = try #require(ControlClient(at: place))
            #expect(client.ask("wait") != nil)
            server.finish(["closed": true])
            try #require(client.hasAnswer(withinMilliseconds: 2000), "round \(round)")
            #expect(client.nextAnswer()?["closed"] != nil)
        }
    }

    @Test func whoeverComesAfterTheEndHearsOfItToo() throws {
        let place = ControlSocketTests.place(-1)
        defer { _ = place.withCString { unlink($0) } }
        let server = try ControlServer(at: place) { _ in [:] }
        server.start()
        server.finish(["closed": true])
        let client = try #require(ControlClient(at: place))
        #expect(client.ask("wait") != nil)
        try #require(client.hasAnswer(withinMilliseconds: 2000))
        #expect(client.nextAnswer()?["closed"] != nil)
    }
}

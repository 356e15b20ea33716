// Signals that come while a call waits in the filesystem: one that is caught breaks no call, as on any
// local filesystem, and one that kills ends it at once.

import CTestCalls
import CairnBase
import CairnVFS
import Glibc
import Testing

@testable import CairnFUSE

extension MountTests {
    @Suite(.serialized) struct Signals {
        @Test(arguments: transports)
        func aSignalThatIsCaughtBreaksNoCall(over transport: FUSEMountOptions.Transport)
            async throws
        {
            let slow = ScratchFileSystem()
            try await withMount(over: transport, slow) { mounted in
                cairn_test_catch_signal()
                #expect(put(mounted("f"), "12345"))
                slow.holdBack()
                defer { slow.letGo() }
                let code = Counter()
                let path = mounted("f")
                let caller = SharedThreadID()
                let thread = OwnThread {
                    caller.set(pthread_self())
                    if truncate(path, 2) == -1 { code.add(Int(errno)) }
                }
                #expect(eventually { mounted.mount.statistics.waiting == 1 })
                _ = caller.value.map { pthread_kill($0, SIGUSR1) }
                usleep(100_000)
                #expect(mounted.mount.statistics.waiting == 1)
                slow.letGo()
                thread.join()
                #expect(code.value == 0)
                #expect(status(mounted("f")).map { $0.st_size } == 2)
            }
        }

        // V3: also if it caught another signal before, of which alone the kernel tells.
        @Test(arguments: transports, [false, true])
        func aProcessThatIsKilledLeavesItsCall(
            over transport: FUSEMountOptions.Transport, afterAnother: Bool
        ) async throws {
            let slow = ScratchFileSystem()
            try await withMount(over: transport, slow) { mounted in
                #expect(put(mounted("f"), "12345"))
                slow.holdBack()
                defer { slow.letGo() }
                let process = try start("trap : USR1; echo more >> '\(mounted("f"))'")
                #expect(eventually { mounted.mount.statistics.waiting == 1 })
                if afterAnother {
                    kill(process, SIGUSR1)
                    usleep(100_000)
                    #expect(mounted.mount.statistics.waiting == 1)
                }
                kill(process, SIGKILL)
                #expect(eventually { waitpid(process, nil, WNOHANG) == process })
                #expect(eventually { mounted.mount.statistics.waiting == 0 })
                slow.letGo()
                #expect(status(mounted("f")).map { $0.st_size } == 5)
            }
        }

        // Also one that is over and only becomes durable: then the kernel knows what it did.
        @Test(
            arguments: transports,
            [
                ": > made", "exec mkdir made", "exec mv f made", "exec ln f made", ": > f",
                "exec chmod 640 f",
            ])
        func aProcessThatIsKilledLeavesItsSync(
            over transport: FUSEMountOptions.Transport, script: String
        ) async throws {
            let slow = ScratchFileSystem()
            var options = FUSEMountOptions()
            options.openless = .off
            try await withMount(over: transport, slow, options: options, prepare: synchronous) {
                mounted in
                #expect(put(mounted("f"), "12345"))
                #expect(status(mounted("made")) == nil)
                slow.holdSyncsBack()
                defer { slow.letGo() }
                let process = try start("cd '\(mounted.path)'; exec 2>/dev/null; \(script)")
                #expect(eventually { mounted.mount.statistics.waiting == 1 })
                kill(process, SIGKILL)
                #expect(eventually { waitpid(process, nil, WNOHANG) == process })
                #expect(eventually { mounted.mount.statistics.waiting == 0 })
                let isMade = script.contains("made")
                #expect((status(mounted("made")) != nil) == isMade)
                #expect((status(mounted("f")) == nil) == script.hasPrefix("exec mv"))
                if script == ": > f" { #expect(status(mounted("f"))?.st_size == 0) }
                slow.letGo()
                #expect(put(mounted("f"), "again"))
                #expect(contents(mounted("f")) == Array("again".utf8))
            }
        }

        @Test func whatIsPendingSaysWhetherAProcessEnds() {
            func ends(_ own: String, _ shared: String, caught: String = "0") -> Bool {
                ProcessSignals.willEnd(
                    "Name:\tx\nSigQ:\t0/1\nSigPnd:\t\(own)\nShdPnd:\t\(shared)\nSigBlk:\t4000\n"
                        + "SigIgn:\t1000\nSigCgt:\t\(caught)\n")
            }
            #expect(!ends("0", "0"))
            #expect(ends("100", "0"))  // KILL
            #expect(ends("0", "4"))  // QUIT
            #expect(!ends("0", "4", caught: "4"))
            #expect(!ends("0", "4000") && !ends("1000", "0"))  // blocked, ignored
            #expect(!ends("80000", "8010000"))  // TSTP, WINCH, CHLD
            #expect(ProcessSignals.willEnd("Name:\tx\n"))
            #expect(ProcessSignals.willEnd(0))
            #expect(!ProcessSignals.willEnd(UInt32(getpid())))
        }

        /// A shell that runs `script`.
        private func start(_ script: String) throws -> pid_t {
            var process: pid_t = 0
            let texts = ["sh", "-c", script]
            let words: [UnsafeMutablePointer<CChar>?] = texts.map { text in strdup(text) } + [nil]
            defer { for word in words { free(word) } }
            let result = posix_spawn(&process, "/bin/sh", nil, nil, words, environ)
            guard result == 0 else { throw Errno(rawValue: result) }
            return process
        }
    }
}

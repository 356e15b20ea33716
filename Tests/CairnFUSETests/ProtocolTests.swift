// The dispatcher without a kernel: what comes over the device may be anything.

import CairnBase
import CairnTestPace
import CairnVFS
import Testing

@testable import CairnFUSE

/// A session with nobody behind it, and what is needed to ask it.
private struct Bench {
    let session: Session
    let worker = Worker()
    let reply = ReplyMemory(capacity: 1 << 20)

    init(openless: Bool = true, _ fileSystem: FileSystem = ScratchFileSystem()) throws {
        let namespace = try Namespace(vfs: VFS(), root: fileSystem)
        let day = WireTimeout(seconds: 86_400, nanoseconds: 0)
        session = Session(
            namespace: namespace,
            options: SessionOptions(
                entryTimeout: day, attributeTimeout: day, negativeTimeout: day,
                writebackCache: true, isOpenless: openless, sharesLocks: !openless,
                wantsRing: false, maximumTransfer: 1 << 20, maximumReadAhead: 1 << 20),
            notifier: Notifier())
    }

    /// Gives the message to the dispatcher; nil if it was refused as malformed.
    func ask(_ message: [UInt8]) -> Result<Session.Outcome, Errno>? {
        message.withUnsafeBytes { bytes in
            guard let request = try? Request.parse(bytes) else { return nil }
            var progress = Session.Progress()
            do throws(Pause) {
                return .success(
                    try session.perform(request, into: reply.body, by: worker, &progress))
            } catch {
                switch error {
                case .failed(let errno): return .failure(errno)
                case .wait: return .failure(.EAGAIN)
                }
            }
        }
    }

    /// What a well-formed message failed with.
    func error(of message: [UInt8]) -> Errno? {
        if case .failure(let errno) = ask(message) { return errno }
        return nil
    }

    func u64(_ offset: Int) -> UInt64 {
        reply.body.bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
    }
}

/// A message as the kernel makes them.
private func message(
    _ opcode: UInt32, node: UInt64 = 1, _ arguments: [UInt8] = [], _ text: String? = nil,
    data: [UInt8] = []
) -> [UInt8] {
    let payload = arguments + (text.map { Array($0.utf8) + [0] } ?? []) + data
    var bytes = [UInt8](repeating: 0, count: 40) + payload
    bytes.withUnsafeMutableBytes {
        $0.storeBytes(of: UInt32($0.count), as: UInt32.self)
        $0.storeBytes(of: opcode, toByteOffset: 4, as: UInt32.self)
        $0.storeBytes(of: 77, toByteOffset: 8, as: UInt64.self)
        $0.storeBytes(of: node, toByteOffset: 16, as: UInt64.self)
    }
    return bytes
}

private func words(_ values: UInt64...) -> [UInt8] {
    values.flatMap { value in (0..<8).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) } }
}

@Suite struct ProtocolTests {
    @Test func messagesThatAreTooShortAreRefused() throws {
        let bench = try Bench()
        for opcode in Opcode.allCases {
            let whole = message(
                opcode.rawValue, [UInt8](repeating: 0, count: opcode.argumentSize))
            for length in 0..<whole.count {
                #expect(bench.ask(Array(whole[..<length])) == nil)
            }
            // A length that is not the message's.
            #expect(bench.ask(whole + [0]) == nil)
        }
        // Extensions longer than the message.
        var long = message(Opcode.lookup.rawValue, [], "name")
        long[36] = 0xff
        long[37] = 0xff
        #expect(bench.ask(long) == nil)
    }

    @Test func badNamesAreRefused() throws {
        let bench = try Bench()
        for name in ["", ".", "..", "a/b"] {
            #expect(bench.error(of: message(1, [], name)) == .EINVAL)
        }
        let long = String(repeating: "n", count: 256)
        #expect(bench.error(of: message(1, [], long)) == .ENAMETOOLONG)
        // No NUL at the end.
        #expect(bench.error(of: message(1, [], nil, data: [65, 66])) == .EINVAL)
    }

    @Test func aKernelThatIsTooOldIsRefused() throws {
        let bench = try Bench()
        #expect(bench.error(of: message(26, words(7 | 31 << 32, 0))) == .EPROTO)
        #expect(bench.session.isRefused)
        // A newer major version is not refused: the kernel asks again.
        let other = try Bench()
        #expect(other.error(of: message(26, words(8, 0))) == nil)
        #expect(!other.session.isRefused && other.session.negotiated.minor == 0)
        #expect(other.error(of: message(26, words(7 | 45 << 32, 0))) == nil)
        #expect(!other.session.isRefused && other.session.negotiated.minor > 0)
    }

    /// A change after the attributes were read must find the node, to be told to the kernel.
    @Test func aNodeIsKnownBeforeItsAttributesAreRead() throws {
        let fileSystem = WitnessFileSystem()
        let bench = try Bench(openless: true, fileSystem)
        let session = bench.session
        var known: [Int] = []
        fileSystem.file?.whenAsked = { file throws(Pause) in
            known.append(session.nodes.numbers(of: file).count)
        }
        #expect(bench.error(of: message(1, [], "file")) == nil)
        #expect(known == [1])
        let node = bench.u64(0)
        fileSystem.file?.whenAsked = { _ throws(Pause) in throw .failed(.EIO) }
        #expect(bench.error(of: message(1, [], "file")) == .EIO)
        // The kernel was told of it once.
        #expect(session.nodes.count == 1)
        _ = bench.ask(message(2, node: node, words(1)))
        #expect(session.nodes.count == 0)
        #expect(bench.error(of: message(1, [], "file")) == .EIO)
        #expect(session.nodes.count == 0)
        // What is found each time and gone each time is not absent for the kernel to keep.
        fileSystem.file?.whenAsked = { _ throws(Pause) in throw .failed(.ENOENT) }
        #expect(bench.error(of: message(1, [], "file")) == .ENOENT)
        #expect(bench.error(of: message(1, [], "none")) == nil)
        #expect(bench.u64(0) == 0)
    }

    @Test func reservedNodeNumbersAreSkipped() {
        #expect(NodeTable.use(after: 0) == 1)
        #expect(NodeTable.use(after: (1 << 24) - 1) == (1 << 24) + 1)
        #expect(NodeTable.use(after: (1 << 24) + 1) == (1 << 24) + 2)
    }

    @Test func aWriteCannotReadBehindItsMessage() throws {
        let bench = try Bench()
        let create = message(35, words(0x41 | 0o644 << 32, 0), "f")
        #expect(bench.error(of: create) == nil)
        let node = bench.u64(0)
        // 100 bytes announced, 3 sent.
        let write = message(16, node: node, words(0, 0, 100, 0, 0), nil, data: [1, 2, 3])
        #expect(bench.error(of: write) == .EINVAL)
    }

    /// What a fuzzer found stays found: the seed is printed with any failure.
    @Test(arguments: [UInt64(1), 2, 3, 4, 5, 6])
    func randomMessagesNeverCrash(seed: UInt64) throws {
        var random = SplitMix(seed)
        let bench = try Bench(openless: seed % 2 == 0)
        _ = bench.ask(message(26, words(7 | 45 << 32, 0xffff_ffff << 32)))
        var known: [UInt64] = [1]
        for round in 0..<rounds(20_000) {
            var bytes = randomMessage(&random, known)
            if random.next() % 4 == 0, !bytes.isEmpty {
                for _ in 0..<Int(random.next() % 4) {
                    bytes[Int(random.next() % UInt64(bytes.count))] = UInt8(
                        truncatingIfNeeded: random.next())
                }
            }
            let opcode = bytes.count > 4 ? bytes[4] : 0
            if case .success(.reply(let count)) = bench.ask(bytes) {
                #expect(count <= 1 << 20, "seed \(seed), round \(round)")
                if [1, 8, 9, 35].contains(opcode), count >= 128, bench.u64(0) != 0,
                    known.count < 500
                {
                    known.append(bench.u64(0))
                }
            }
        }
        bench.session.nodes.forgetAll()
        #expect(bench.session.nodes.count == 0)
    }

    /// A message with a sensible shape and senseless content.
    private func randomMessage(_ random: inout SplitMix, _ known: [UInt64]) -> [UInt8] {
        let all = Opcode.allCases.filter { $0 != .interrupt && $0 != .initialize }
        let opcode = all[Int(random.next() % UInt64(all.count))]
        let node = known[Int(random.next() % UInt64(known.count))]
        var arguments = (0..<opcode.argumentSize).map { index -> UInt8 in
            // Small numbers mean more than large ones.
            let value = random.next()
            return index % 4 == 0 || value % 8 == 0 ? UInt8(truncatingIfNeeded: value >> 8) : 0
        }
        if [.rename, .rename2, .link].contains(opcode), arguments.count >= 8 {
            arguments.replaceSubrange(
                0..<8, with: words(known[Int(random.next() % UInt64(known.count))]))
        }
        // Sparse ends of files would make a test file huge.
        if [.write, .setAttributes, .allocate, .copyRange, .copyRange64].contains(opcode) {
            for index in arguments.indices where index % 8 >= 2 && index < 56 {
                arguments[index] = 0
            }
        }
        let name = "n\(random.next() % 20)"
        let data = (0..<Int(random.next() % 64)).map { _ in
            UInt8(truncatingIfNeeded: random.next())
        }
        return message(opcode.rawValue, node: node, arguments, name, data: data)
    }

    @Test func devicesSurviveTheirPacking() {
        let numbers: [(UInt64, UInt64)] = [(0, 0), (8, 1), (259, 300_000), (4095, 0xfffff)]
        for (major, minor) in numbers {
            let device = major << 32 | minor
            #expect(Wire.decodeDevice(Wire.encodeDevice(device)) == device)
        }
    }
}

/// A small generator that gives the same numbers everywhere (Steele, Lea and Flood 2014).
private struct SplitMix {
    private var state: UInt64
    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
        return value ^ value >> 31
    }
}

@Suite struct NodeTableTests {
    private static func makeTable() throws -> (Namespace, NodeTable, [Inode]) {
        let fileSystem = ScratchFileSystem()
        let namespace = try Namespace(vfs: VFS(), root: fileSystem)
        let inodes = try (0..<200).map { number in
            try blocking { () throws(Pause) in
                try FileName("\(number)").withName { (name) throws(Pause) in
                    try fileSystem.root.create(
                        name, NewNode(kind: .regular, permissions: []), by: .root)
                }
            }
        }
        return (namespace, NodeTable(root: namespace.root), inodes)
    }

    @Test func countsAreExactUnderThreads() async throws {
        let (namespace, table, inodes) = try Self.makeTable()
        try await onOwnThread {
            let threads = (0..<4).map { seed in
                OwnThread {
                    var random = SplitMix(UInt64(seed))
                    for _ in 0..<rounds(50_000) {
                        let inode = inodes[Int(random.next() % 200)]
                        let place = Location(mount: namespace.rootMount, inode: inode)
                        guard let known = table.reference(place) else { continue }
                        // While it is counted, its number leads to it.
                        guard table.place(known.nodeID)?.inode === inode else {
                            Issue.record("node \(known.nodeID) leads elsewhere")
                            return
                        }
                        table.forget(known.nodeID, count: 1)
                    }
                }
            }
            for thread in threads { thread.join() }
        }
        #expect(table.count == 0)
        #expect(inodes.allSatisfy { !$0.isHeld })
    }

    @Test func numbersAreNotUsedTwice() throws {
        let (namespace, table, inodes) = try Self.makeTable()
        var seen: Set<[UInt64]> = []
        for round in 0..<50 {
            for inode in inodes {
                let place = Location(mount: namespace.rootMount, inode: inode)
                let known = try #require(table.reference(place))
                #expect(seen.insert([known.nodeID, known.generation]).inserted, "round \(round)")
                let again = try #require(table.reference(place))
                #expect(again.nodeID == known.nodeID)
                #expect(table.numbers(of: inode) == [known.nodeID])
                table.forget(known.nodeID, count: 1)
                #expect(inode.isHeld)
                table.forget(known.nodeID, count: 1)
                #expect(!inode.isHeld && table.place(known.nodeID) == nil)
            }
        }
    }
}

/// A filesystem of one file, "file", that says when its attributes are asked for.
private final class WitnessFileSystem: FileSystem, @unchecked Sendable {
    // Sendable: set by init.
    private var directory: WitnessNode?
    private(set) var file: WitnessNode?

    init() {
        super.init(typeName: "witness", time: SystemTime())
        directory = WitnessNode(number: 1, kind: .directory, fileSystem: self)
        file = WitnessNode(number: 2, kind: .regular, fileSystem: self)
    }

    override var root: Inode {
        guard let directory else { preconditionFailure("made by init") }
        return directory
    }
}

private final class WitnessNode: Inode, @unchecked Sendable {
    // Sendable: of one test, which is one thread.
    var whenAsked: ((Inode) throws(Pause) -> Void)?

    override func attributes() throws(Pause) -> Attributes {
        try whenAsked?(self)
        return Attributes(
            number: number, kind: kind, permissions: Permissions(rawValue: 0o755),
            time: Timestamp(seconds: 1))
    }

    override func lookup(_ name: Name) throws(Pause) -> Inode? {
        guard isDirectory, name.bytes.elementsEqual("file".utf8) else { return nil }
        return (fileSystem as? WitnessFileSystem)?.file
    }
}

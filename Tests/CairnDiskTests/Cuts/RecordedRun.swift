// RecordedRun: a mount of mfs_disk under the calls of a process, on a device that writes everything down;
// and a ShadowTree that says what each acknowledged call has made of it.
//
// Used by one thread.

import CairnBase
import CairnIO
import CairnTestSupport
import CairnTree
import CairnVFS

@testable import CairnDisk

/// A filesystem that a stepper runs.
struct SteppedMount {
    let stepper: Stepper
    let fileSystem: DiskFileSystem
    let vfs: VFS
    let reports: Reports

    init(
        _ device: any BlockDevice, _ options: DiskOptions, _ stepper: Stepper,
        nodeLimit: Int? = 1 << 10
    ) throws {
        self.stepper = stepper
        let reports = Reports()
        self.reports = reports
        let environment = DiskEnvironment(
            openDevice: { (_, _) throws(MountFailure) in OpenedDevice(device) {} },
            timers: stepper.timers, executor: stepper, work: { stepper.perform($0) },
            perform: { stepper.perform($0) }, report: { reports.add($0) })
        let time = stepper.time
        fileSystem = try stepper.run {
            try await DiskFileSystemType.open(
                OpenedDevice(device) {}, "image", options, environment, time: time,
                nodeLimit: nodeLimit)
        }
        vfs = VFS(time: time, dentryLimit: nodeLimit ?? 64)
    }

    func attempt<Value>(_ body: @escaping () throws(Pause) -> Value) throws -> Value {
        try stepper.finish { completion throws(Errno) in
            callingBack(body, completion: completion)
        }
    }

    /// Commits, and lets go of the device.
    func close() throws {
        try attempt { () throws(Pause) in try fileSystem.close() }
        stepper.settle()
    }

    // MARK: What is there

    /// All of it.
    func contents() throws -> ShadowTree.Found {
        var found = ShadowTree.Found()
        var names: [UInt64: Set<String>] = [:]
        var pending: [(path: String, inode: Inode)] = [("", fileSystem.root)]
        while let (path, directory) = pending.popLast() {
            var entries: [FileName] = []
            try attempt { () throws(Pause) in
                entries = []
                try directory.readDirectory(after: 0) { entry in
                    entries.append(entry.name.owned)
                    return true
                }
            }
            for name in entries {
                let child = try attempt { () throws(Pause) in
                    try name.withName { (name) throws(Pause) in try directory.lookup(name) }
                }
                guard let child else { throw Errno.EIO }
                let childPath = path + "/" + name.description
                found.nodes[childPath] = try node(child)
                names[child.number, default: []].insert(childPath)
                if child.isDirectory { pending.append((childPath, child)) }
            }
        }
        for all in names.values {
            for path in all { found.nodes[path]?.names = all }
        }
        return found
    }

    private func node(_ inode: Inode) throws -> ShadowTree.Node {
        let attributes = try attempt { () throws(Pause) in try inode.attributes() }
        var node = ShadowTree.Node(
            kind: inode.kind, permissions: attributes.permissions.rawValue)
        node.isInPlace = attributes.flags.contains(.noCopyOnWrite)
        switch inode.kind {
        case .regular: node.content = try content(inode, Int(attributes.size))
        case .symbolicLink:
            node.content = try attempt { () throws(Pause) in try inode.readLink() }
        default: break
        }
        let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 65536, alignment: 8)
        defer { room.deallocate() }
        let count = try attempt { () throws(Pause) in
            try inode.extendedAttributeNames(into: room)
        }
        for bytes in Array(room[..<count]).split(separator: 0) {
            let name = FileName(Array(bytes))
            let length = try attempt { () throws(Pause) in
                try name.withName { (name) throws(Pause) in
                    try inode.extendedAttribute(name, into: room)
                }
            }
            node.attributes[name.description] = Array(room[..<length])
        }
        return node
    }

    private func content(_ inode: Inode, _ size: Int) throws -> [UInt8] {
        guard size > 0 else { return [] }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 4096)
        defer { buffer.deallocate() }
        var done = 0
        while done < size {
            let part = UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
            let offset = UInt64(done)
            let count = try attempt { () throws(Pause) in
                try inode.read(into: part, at: offset)
            }
            guard count > 0 else { throw Errno.EIO }
            done += count
        }
        return Array(buffer)
    }
}

/// What was done, and when it was acknowledged.
final class RecordedRun {
    let mount: SteppedMount
    let recorder: RecordingDevice
    let process: Process
    private let namespace: Namespace
    var stepper: Stepper { mount.stepper }

    private(set) var tree: ShadowTree
    /// `digests[n]`: of the state after n operations.
    private(set) var digests: [UInt64]
    /// `states[n]`: the state after n operations; empty unless files are overwritten in place.
    private var states: [ShadowTree] = []
    private(set) var operations: [ShadowTree.Operation] = []
    /// When operation n had been acknowledged, in the recorder's moments; the first is before any.
    private(set) var acknowledged: [Int]
    /// Syncs that returned: when, and how many operations came before they began.
    private(set) var synced: [(moment: Int, operations: Int)]

    /// On a device that is changed. `overwrites`: some files are overwritten in place.
    convenience init(
        _ device: any BlockDevice, _ options: DiskOptions, seed: UInt64, holds: Bool,
        overwrites: Bool = false
    ) throws {
        let stepper = Stepper(seed: seed)
        let recorder = RecordingDevice(holds ? HeldDevice(device, stepper) : device)
        try self.init(
            try SteppedMount(recorder, options, stepper), recorder,
            ShadowTree(
                isLoose: overwrites || !options.copiesOnWrite,
                makesInPlace: !options.copiesOnWrite))
    }

    /// Goes on from what was found on a mount.
    convenience init(
        _ mount: SteppedMount, _ recorder: RecordingDevice, _ found: [String: ShadowTree.Node]
    ) throws {
        try self.init(mount, recorder, ShadowTree(found))
    }

    private init(
        _ mount: SteppedMount, _ recorder: RecordingDevice, _ tree: ShadowTree
    ) throws {
        self.mount = mount
        self.recorder = recorder
        self.tree = tree
        digests = [tree.digest]
        if tree.isLoose { states = [tree] }
        namespace = try Namespace(vfs: mount.vfs, root: mount.fileSystem)
        process = try Process(in: namespace)
        acknowledged = [recorder.moment]
        synced = [(recorder.moment, 0)]
    }

    /// Calls, and what is under way meanwhile.
    private func call<Value>(
        _ submit: (@escaping @Sendable (Result<Value, Errno>) -> Void) throws(Errno)
            -> PendingOperation
    ) throws -> Value {
        stepper.spin()
        return try stepper.finish(submit)
    }

    private func note(_ operation: ShadowTree.Operation) {
        tree.apply(operation)
        if tree.isLoose { states.append(tree) }
        operations.append(operation)
        digests.append(tree.digest)
        acknowledged.append(recorder.moment)
    }

    private func noteSync() { synced.append((recorder.moment, operations.count)) }

    // MARK: Calls

    func makeDirectory(_ path: String) throws {
        try call { completion in
            process.submitMakeDirectory(
                Path(path), permissions: Permissions(rawValue: 0o755), completion: completion)
        }
        note(.make(path, .directory, permissions: 0o755, content: []))
    }

    func makeLink(_ path: String, to target: String) throws {
        try call { process.submitMakeLink(Path(path), to: Path(target), completion: $0) }
        note(
            .make(path, .symbolicLink, permissions: 0o777, content: Array(target.utf8)))
    }

    /// Opens a file, which is made or cut to nothing if the flags say so.
    func open(_ path: String, _ flags: OpenFlags) throws -> Descriptor {
        let descriptor: Descriptor
        do {
            descriptor = try call {
                process.submitOpen(
                    Path(path), flags, permissions: Permissions(rawValue: 0o644), completion: $0)
            }
        } catch {
            // It was made, and could not be synced; or it was not made.
            if flags.contains([.create, .dataSync]), tree[path] == nil {
                note(.make(path, .regular, permissions: 0o644, content: []))
            }
            throw error
        }
        if tree[path] == nil {
            note(.make(path, .regular, permissions: 0o644, content: []))
        } else if flags.contains(.truncate) {
            note(.truncate(path, 0))
        }
        if flags.contains(.dataSync), flags.contains(.create) { return descriptor }
        return descriptor
    }

    func close(_ descriptor: Descriptor) throws { try process.close(descriptor) }

    /// Writes all, in as many calls as it takes. Gives how much there was room for.
    @discardableResult
    func write(
        _ descriptor: Descriptor, _ path: String, _ bytes: [UInt8], at offset: Int,
        isSynchronous: Bool = false
    ) throws -> Int {
        let buffer = UnsafeMutableRawBufferPointer.allocate(
            byteCount: max(1, bytes.count), alignment: 1)
        defer { buffer.deallocate() }
        buffer.copyBytes(from: bytes)
        var done = 0
        while done < bytes.count {
            let part = UnsafeRawBufferPointer(rebasing: buffer[done..<bytes.count])
            do {
                let count = try call { (completion) throws(Errno) in
                    try process.submitWrite(
                        part, to: descriptor, at: UInt64(offset + done), completion: completion)
                }
                note(.write(path, offset: offset + done, Array(bytes[done..<done + count])))
                if isSynchronous { noteSync() }
                done += count
            } catch let error as Errno where error == .ENOSPC {
                if done == 0 { throw Errno.ENOSPC }
                return done
            } catch {
                // It was written, and could not be synced; or it was not written.
                if isSynchronous {
                    note(.write(path, offset: offset + done, Array(bytes[done...])))
                }
                throw error
            }
        }
        return done
    }

    func truncate(_ path: String, _ size: Int) throws {
        try call { process.submitTruncate(Path(path), to: UInt64(size), completion: $0) }
        note(.truncate(path, size))
    }

    func allocate(
        _ descriptor: Descriptor, _ path: String, _ mode: AllocateMode, _ range: Range<Int>
    ) throws {
        try call { (completion) throws(Errno) in
            try process.submitAllocate(
                descriptor, mode, offset: UInt64(range.lowerBound), length: UInt64(range.count),
                completion: completion)
        }
        switch mode {
        case .punchHole: note(.punch(path, range))
        default: note(.grow(path, range.upperBound))
        }
    }

    func fsync(_ descriptor: Descriptor, dataOnly: Bool = false) throws {
        try call { (completion) throws(Errno) in
            dataOnly
                ? try process.submitFdatasync(descriptor, completion: completion)
                : try process.submitFsync(descriptor, completion: completion)
        }
        noteSync()
    }

    func sync() throws {
        try call { process.submitSync(completion: $0) }
        // As sync(2), it tells nobody of errors.
        if mount.reports.all.isEmpty { noteSync() }
    }

    func remove(_ path: String) throws {
        let isDirectory = tree[path]?.kind == .directory
        try call {
            isDirectory
                ? process.submitRemoveDirectory(Path(path), completion: $0)
                : process.submitUnlink(Path(path), completion: $0)
        }
        note(.remove(path))
    }

    func rename(_ path: String, _ other: String, exchanging: Bool = false) throws {
        try call {
            process.submitRename(
                Path(path), to: Path(other), flags: exchanging ? .exchange : [], completion: $0)
        }
        note(exchanging ? .exchange(path, other) : .rename(path, other))
    }

    func link(_ path: String, _ other: String) throws {
        try call { process.submitLink(Path(path), to: Path(other), completion: $0) }
        note(.link(path, other))
    }

    func setPermissions(_ path: String, _ permissions: UInt32) throws {
        try call {
            process.submitChmod(
                Path(path), Permissions(rawValue: permissions), completion: $0)
        }
        note(.permissions(path, permissions))
    }

    /// As chattr +C does, of an empty file.
    func overwriteInPlace(_ descriptor: Descriptor, _ path: String) throws {
        try call { (completion) throws(Errno) in
            try process.submitSetFlags(descriptor, .noCopyOnWrite, completion: completion)
        }
        note(.overwriteInPlace(path))
    }

    func setAttribute(_ path: String, _ name: String, _ value: [UInt8]) throws {
        try call {
            process.submitSetExtendedAttribute(
                FileName(name), of: Path(path), to: value, completion: $0)
        }
        note(.attribute(path, name, value))
    }

    /// Time passes: commits come.
    func tick(milliseconds: UInt64) {
        stepper.timers.advance(nanoseconds: milliseconds * 1_000_000)
        stepper.spin()
    }

    /// The end of the record; what is open may stay so.
    func unmount() throws {
        process.exit()
        try mount.close()
        noteSync()
    }

    // MARK: Judging

    /// The states that may be there after a cut at that moment: after as many operations as the last
    /// sync covered that had returned, or more, up to one that had not returned.
    func allowed(at moment: Int) -> ClosedRange<Int> {
        let least = synced.last { $0.moment <= moment }?.operations ?? 0
        let most = min(
            (acknowledged.lastIndex { $0 <= moment } ?? 0) + 1, operations.count)
        return least...max(most, least)
    }

    /// Nil: it may be there. Otherwise what is wrong with it.
    func judge(_ found: ShadowTree.Found, at moment: Int) -> String? {
        let allowed = allowed(at: moment)
        let digest = found.digest(isLoose: tree.isLoose)
        var wrong: [String] = []
        for count in allowed where digests[count] == digest {
            guard let fault = mixture(found, after: count...allowed.upperBound) else { return nil }
            wrong.append("after \(count) of \(allowed) operations: \(fault)")
        }
        if !wrong.isEmpty { return wrong.joined(separator: "; ") }
        let other = digests.firstIndex(of: digest)
        var nearest = ShadowTree()
        for operation in operations[..<allowed.lowerBound] { nearest.apply(operation) }
        var best = nearest.difference(found)
        for (index, operation) in operations[allowed.lowerBound..<allowed.upperBound].enumerated() {
            nearest.apply(operation)
            let difference = nearest.difference(found)
            if difference.count < best.count {
                best = "after \(allowed.lowerBound + index + 1): \(difference)"
            }
        }
        let what = other.map { "it is the state after \($0) operations" } ?? "it never was so"
        return "after \(allowed) operations: \(what): \(best)"
    }

    /// Each byte of a file that is overwritten in place is one that it was at some moment from that of the
    /// state on. (Not each sector: the log has bytes, which are put over what came after them.) Nil: all are.
    private func mixture(_ found: ShadowTree.Found, after counts: ClosedRange<Int>) -> String? {
        guard tree.isLoose else { return nil }
        let state = states[counts.lowerBound]
        for (path, node) in found.nodes.sorted(by: { $0.key < $1.key }) where node.isInPlace {
            guard let number = state.numbers[path] else { continue }
            func byte(_ place: Int, _ count: Int) -> UInt8? {
                guard let content = states[count].nodes[number]?.content else { return nil }
                return place < content.count ? content[place] : 0
            }
            let wrong = node.content.indices.first { place in
                !counts.contains { byte(place, $0) == node.content[place] }
            }
            guard let wrong else { continue }
            let before = (0..<counts.lowerBound).last { byte(wrong, $0) == node.content[wrong] }
            return "\(path), byte \(wrong) of \(node.content.count): "
                + (before.map { "as it was after \($0) operations" } ?? "it never was so")
        }
        return nil
    }
}

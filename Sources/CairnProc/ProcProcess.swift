// /<pid>: one process.
//
//     status  cwd→  root→  mounts  mountinfo  stdin  stdout  stderr  fd/<n>→  fdinfo/<n>
//
// The nodes refer to the process weakly: a directory that somebody keeps open does not keep a
// process in memory, and is empty once it has ended.

import CairnBase
import CairnVFS

final class ProcProcess: ProcDirectory, @unchecked Sendable {
    // Sendable: set before anybody sees it.
    private(set) weak var process: Process?
    private var children: [(name: String, node: ProcNode)] = []

    /// The process has ended.
    var isOver: Bool { process == nil }

    /// Inode numbers: the process above bit 32, the kind of node from bit 24, a descriptor below.
    static func number(of process: Process, _ kind: UInt64 = 0, _ descriptor: Int32 = 0) -> UInt64 {
        UInt64(process.identifier) << 32 | kind << 24 | UInt64(descriptor)
    }

    init(_ process: Process, parent: ProcDirectory, in fileSystem: FileSystem) {
        self.process = process
        let owner = process.credentials
        super.init(
            number: Self.number(of: process), owner: owner, parent: parent, in: fileSystem)
        var kind: UInt64 = 0
        func number() -> UInt64 {
            kind += 1
            return Self.number(of: process, kind)
        }
        func file(
            _ name: String, _ permissions: UInt32 = 0o444,
            _ make: @escaping @Sendable (Process) -> [UInt8]
        ) {
            let node = ProcFile(
                number: number(), permissions: permissions, owner: owner, in: fileSystem
            ) { [weak process] () throws(Errno) in
                guard let process else { throw .ENOENT }
                return make(process)
            }
            children.append((name, node))
        }
        func link(_ name: String, _ target: @escaping @Sendable (Process) -> [UInt8]?) {
            let node = ProcLink(number: number(), owner: owner, in: fileSystem) {
                [weak process] in process.flatMap(target)
            }
            children.append((name, node))
        }
        file("status") { Array(Self.status(of: $0).utf8) }
        link("cwd") { Self.path(of: $0.workingLocation, in: $0) }
        link("root") { Self.path(of: $0.rootLocation, in: $0) }
        file("mounts") { MountTable($0.namespace, from: $0.rootLocation).mounts }
        file("mountinfo") { MountTable($0.namespace, from: $0.rootLocation).mountInfo }
        for stream in CapturedStreams.Kind.allCases {
            file(stream.name, 0o400) { $0.streams.existing(stream)?.contents.bytes ?? [] }
        }
        children.append(
            ("fd", ProcDescriptors(process, .links, number(), parent: self, in: fileSystem)))
        children.append(
            ("fdinfo", ProcDescriptors(process, .details, number(), parent: self, in: fileSystem)))
    }

    override func lookup(_ name: Name) throws(Pause) -> Inode? {
        guard !isOver else { return nil }
        return children.first { FileName($0.name).withName { $0 == name } }?.node
    }

    override func entries(after cookie: UInt64) -> [Entry] {
        guard !isOver else { return [] }
        return children.enumerated().compactMap { index, child in
            guard index >= cookie else { return nil }
            return Entry(
                name: child.name, number: child.node.number, kind: child.node.kind,
                cookie: UInt64(index) + 1)
        }
    }

    // MARK: Text

    /// As seen from the namespace's root, as a link on the outside must be.
    private static func path(of place: Location, in process: Process) -> [UInt8] {
        process.namespace.path(of: place) ?? Array("(unreachable)".utf8)
    }

    private static func status(of process: Process) -> String {
        let who = process.credentials
        let groups = who.groups.map(String.init).joined(separator: " ")
        let files = process.openFiles
        let mask = String(process.currentUmask.rawValue, radix: 8)
        let capabilities = String(who.capabilities.rawValue, radix: 16)
        return """
            Name:\t\(process.name)
            Umask:\t\(String(repeating: "0", count: max(0, 4 - mask.count)))\(mask)
            State:\tR (running)
            Pid:\t\(process.identifier)
            PPid:\t\(process.parentIdentifier)
            Uid:\t\(who.user)
            Gid:\t\(who.group)
            FDSize:\t\((files.last?.descriptor.rawValue ?? -1) + 1)
            FDCount:\t\(files.count)
            Groups:\t\(groups)
            CapEff:\t\(String(repeating: "0", count: max(0, 16 - capabilities.count)))\
            \(capabilities)

            """
    }
}

/// /<pid>/fd and /<pid>/fdinfo: an entry for each open descriptor, read by the owner alone.
final class ProcDescriptors: ProcDirectory, @unchecked Sendable {
    // Sendable: immutable.
    enum Shows {
        case links
        case details
    }

    private weak var process: Process?
    private let shows: Shows

    init(
        _ process: Process, _ shows: Shows, _ number: UInt64, parent: ProcDirectory,
        in fileSystem: FileSystem
    ) {
        self.process = process
        self.shows = shows
        super.init(
            number: number, permissions: 0o500, owner: process.credentials, parent: parent,
            in: fileSystem)
    }

    private var numberKind: UInt64 { shows == .links ? 100 : 101 }

    override func lookup(_ name: Name) throws(Pause) -> Inode? {
        guard let process, let number = decimal(name) else { return nil }
        let descriptor = Descriptor(rawValue: number)
        guard process.openFile(descriptor) != nil else { return nil }
        let inodeNumber = ProcProcess.number(of: process, numberKind, number)
        switch shows {
        case .links:
            return ProcLink(
                number: inodeNumber, owner: process.credentials, in: fileSystem
            ) { [weak process] in
                guard let process, let file = process.openFile(descriptor) else {
                    return nil
                }
                return Self.target(of: file, in: process)
            }
        case .details:
            return ProcFile(
                number: inodeNumber, permissions: 0o400, owner: process.credentials,
                in: fileSystem
            ) { [weak process] () throws(Errno) in
                guard let process, let file = process.openFile(descriptor) else {
                    throw .ENOENT
                }
                return Array(Self.details(of: file, descriptor, in: process).utf8)
            }
        }
    }

    override func entries(after cookie: UInt64) -> [Entry] {
        guard let process else { return [] }
        return process.openFiles.compactMap { descriptor, _ in
            let place = UInt64(descriptor.rawValue) + 1
            guard place > cookie else { return nil }
            return Entry(
                name: "\(descriptor.rawValue)",
                number: ProcProcess.number(of: process, numberKind, descriptor.rawValue),
                kind: shows == .links ? .symbolicLink : .regular, cookie: place)
        }
    }

    /// The path that it was opened by, or what it is where it has none.
    private static func target(of file: OpenFile, in process: Process) -> [UInt8] {
        guard let path = process.path(of: file) else {
            return Array("\(file.inode.fileSystem.typeName):[\(file.inode.number)]".utf8)
        }
        return file.inode.hasNoName ? path + Array(" (deleted)".utf8) : path
    }

    private static func details(
        of file: OpenFile, _ descriptor: Descriptor, in process: Process
    ) -> String {
        var flags = file.status
        if (try? process.closesOnExec(descriptor)) == true { flags.insert(.closeOnExec) }
        var text = """
            pos:\t\(file.offset)
            flags:\t0\(String(flags.rawValue, radix: 8))
            mnt_id:\t\(file.location.mount.identity)
            ino:\t\(file.inode.number)

            """
        let owners: [LockOwner] = [process.lockOwner, .description(file.identity)]
        for lock in file.inode.fileLocks where owners.contains(lock.owner) && !lock.isWaiting {
            text += "lock:\t\(LockTable.line(lock, number: 1))\n"
        }
        return text
    }
}

extension Inode {
    /// The file has lost its last name. A filesystem that would have to fetch the answer is not
    /// waited for, and counts as no.
    fileprivate var hasNoName: Bool { (try? attributes())?.linkCount == 0 }
}

// The state directory: one entry for each mount, by the number of its FUSE connection.
//
//   /run/cairn/42-1234.json   mount point, types: process 1234 serves connection 42
//   /run/cairn/42-1234.sock   the daemon's control socket
//   /run/cairn/42-1234.log    what the daemon had to say; stays if it died
//
// The kernel gives the number of a connection away again while its last daemon may still be
// writing things out, so the process is in the name too: nobody removes what is another's.
//
// Root's is /run/cairn; a user's is $XDG_RUNTIME_DIR/cairn, or /tmp/cairn-UID where there is no
// such directory. An entry is only a hint: whether a daemon lives is told by its socket.

import CairnBase
import CairnVFS
import Glibc

struct StateEntry: Sendable {
    let directory: FilePath
    let connection: UInt32
    let pid: Int32

    private func file(_ ending: String) -> FilePath {
        directory.appending("\(connection)-\(pid).\(ending)".utf8)
    }
    var description: FilePath { file("json") }
    var socket: FilePath { file("sock") }
    var log: FilePath { file("log") }

    /// The entry of a mount, for the user who asks and, if that is root, for any. Where the mount
    /// was made, XDG_RUNTIME_DIR may have been another or none.
    static func find(for mount: KernelMount) -> StateEntry? {
        let user = mount.user ?? geteuid()
        var directories =
            user == 0
            ? [FilePath("/run/cairn")]
            : [FilePath("/run/user/\(user)/cairn"), FilePath("/tmp/cairn-\(user)")]
        if user == geteuid(), !directories.contains(own()) { directories.append(own()) }
        // In another's directory, another could say what he likes of this mount.
        let entries = directories.filter { isPrivate($0, of: user) }
            .flatMap { all(in: $0, of: mount.connection) }
        return entries.max { $0.madeAt < $1.madeAt }
    }

    /// Whether it is a directory that only this user can write to.
    private static func isPrivate(_ directory: FilePath, of user: UInt32) -> Bool {
        var status = stat()
        return directory.withCString { lstat($0, &status) } == 0
            && status.st_mode & S_IFMT == S_IFDIR && status.st_uid == user
            && status.st_mode & 0o022 == 0
    }

    /// The entries of a connection, those of daemons that died among them.
    private static func all(in directory: FilePath, of connection: UInt32) -> [StateEntry] {
        let names = (try? HostTree().entries(of: directory)) ?? []
        let prefix = "\(connection)-"
        return names.compactMap { entry in
            let name = entry.name.text
            guard name.hasPrefix(prefix), name.hasSuffix(".json"),
                let pid = Int32(name.dropFirst(prefix.count).dropLast(5))
            else { return nil }
            return StateEntry(directory: directory, connection: connection, pid: pid)
        }
    }

    private var madeAt: Timestamp {
        let status = try? HostTree().status(of: description, following: false)
        return status?.attributes.modificationTime ?? Timestamp(seconds: 0)
    }

    /// A new entry in the user's own directory, which is made if it is missing.
    static func make(connection: UInt32) throws(Failure) -> StateEntry {
        let directory = own()
        let made = directory.withCString { mkdir($0, 0o700) }
        if made < 0, errno != EEXIST { throw Failure(directory.text, currentErrno()) }
        // Somebody else's directory (in /tmp) must not be trusted.
        guard isPrivate(directory, of: geteuid()) else {
            throw Failure(
                directory.text, "is not a directory that only this user can write to",
                wayOut: "remove it, or set XDG_RUNTIME_DIR")
        }
        for old in all(in: directory, of: connection) where ControlClient(at: old.socket) == nil {
            old.remove()
        }
        let entry = StateEntry(directory: directory, connection: connection, pid: getpid())
        entry.remove()
        return entry
    }

    static func own() -> FilePath {
        if geteuid() == 0 { return FilePath("/run/cairn") }
        if let runtime = getenv("XDG_RUNTIME_DIR"), runtime.pointee != 0 {
            return FilePath(String(cString: runtime)).appending("cairn".utf8)
        }
        return FilePath("/tmp/cairn-\(geteuid())")
    }

    func write(_ content: JSON) throws(Failure) {
        let temporary = file("json.new")
        let tree = HostTree()
        do throws(Errno) {
            let output = try tree.open(temporary, for: .overwriting(permissions: 0o600))
            try Array(content.pretty.utf8).withUnsafeBytesTyped { bytes throws(Errno) in
                try output.write(bytes, at: 0)
            }
            try output.close()
            try tree.rename(temporary, to: description)
        } catch {
            throw Failure(description.text, error)
        }
    }

    /// What the daemon wrote into its log; empty if that is not a file of the mount's user.
    func logText(of user: UInt32) -> [UInt8] {
        readWholeFile(log, limit: 1 << 20, ownedBy: user) ?? []
    }

    /// The entry goes; the log too unless `keepingLog`.
    func remove(keepingLog: Bool = false) {
        for path in [description, socket] + (keepingLog ? [] : [log]) {
            _ = path.withCString { unlink($0) }
        }
    }
}

extension Array where Element == UInt8 {
    /// `withUnsafeBytes` with a typed error.
    func withUnsafeBytesTyped<Failure: Error>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Void
    ) throws(Failure) {
        var failure: Failure?
        withUnsafeBytes { bytes in
            do throws(Failure) {
                try body(bytes)
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
    }
}

// The root of procfs: reports on the whole, and a directory for each process.

import CairnBase
import CairnVFS

final class ProcRoot: ProcDirectory, @unchecked Sendable {
    // Sendable: `lock` guards the table of processes; `reports` is set before anybody sees it.
    private var reports: [(name: String, node: ProcNode)] = []

    private let lock = Lock()
    /// Directories of processes that somebody looked up; guarded by lock.
    private var known: [Int32: ProcProcess] = [:]

    /// Cookies of processes follow those of the reports.
    private static var firstProcessCookie: UInt64 { 1 << 16 }

    init(in fileSystem: ProcFileSystem) {
        super.init(number: 1, parent: nil, in: fileSystem)
        reports = ProcReports(fileSystem).all.enumerated().map { index, report in
            let make = report.make
            let node = ProcFile(number: UInt64(index) + 2, in: fileSystem) {
                () throws(Errno) in make()
            }
            return (report.name, node)
        }
    }

    /// The end of the filesystem: nodes hold it, and it holds this root.
    func forgetNodes() {
        reports = []
        let forgotten = lock.withLock {
            defer { known = [:] }
            return known
        }
        _ = forgotten
    }

    private var vfs: VFS? { (fileSystem as? ProcFileSystem)?.vfs }

    override func lookup(_ name: Name) throws(Pause) -> Inode? {
        if let identifier = decimal(name) {
            guard let process = vfs?.process(identifier) else { return nil }
            return directory(of: process)
        }
        return reports.first { FileName($0.name).withName { $0 == name } }?.node
    }

    /// The same object as long as the process lives, so that it can be a working directory.
    private func directory(of process: Process) -> ProcProcess {
        lock.withLock {
            if let directory = known[process.identifier], directory.process === process {
                return directory
            }
            known = known.filter { !$0.value.isOver }
            let directory = ProcProcess(process, parent: self, in: fileSystem)
            known[process.identifier] = directory
            return directory
        }
    }

    override func entries(after cookie: UInt64) -> [Entry] {
        var result: [Entry] = []
        for (index, report) in reports.enumerated() where index >= cookie {
            result.append(
                Entry(
                    name: report.name, number: report.node.number, kind: .regular,
                    cookie: UInt64(index) + 1))
        }
        for process in vfs?.processes ?? [] {
            let place = Self.firstProcessCookie + UInt64(process.identifier)
            guard place > cookie else { continue }
            result.append(
                Entry(
                    name: "\(process.identifier)", number: ProcProcess.number(of: process),
                    kind: .directory, cookie: place))
        }
        return result
    }
}

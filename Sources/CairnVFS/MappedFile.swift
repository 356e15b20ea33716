// MappedFile: a file in the memory of a program that embeds Cairn (mmap(2), requirement C7).
//
// The memory is the cache's own, where the filesystem has one that can be mapped: what `write` changes
// is seen in it at once, and `read` sees at once what is changed in it. As with mmap(2):
//
//  - Writing to memory that is not writable ends the program (SIGSEGV), touching pages behind the
//    file's end does too (SIGBUS).
//  - What a shared mapping changes is the file's, and survives `unmap`. It is durable after `sync`.
//
// Unlike there:
//
//  - The pages are brought when the file is mapped, and stay in memory: ENOMEM where all mappings
//    would take more than half of the filesystem's cache.
//  - What was changed is stored when somebody calls `sync` or `unmap`, and at no other time; ENOSPC
//    comes from these.
//  - A file that was made longer without a write there is shown further by the next `sync`.
//
// Whoever lets the last reference go without `unmap` unmaps it in the background, and hears of no error.
//
// Threading: any thread. The memory is the program's to share among threads. A call that unmaps must
// be the last to touch it.

public import CairnBase

public final class MappedFile: @unchecked Sendable {
    // Sendable: immutable, or guarded by `lock`.

    public enum Kind: Sendable {
        /// MAP_SHARED
        case shared
        /// MAP_PRIVATE: what is written stays in this mapping.
        case personal
    }

    /// What is needed to store what was changed.
    private final class Target: Sendable {
        let vfs: VFS
        let kept: KeptFile
        let credentials: Credentials
        let request: MappingRequest

        init(_ vfs: VFS, _ kept: KeptFile, _ credentials: Credentials, _ request: MappingRequest) {
            self.vfs = vfs
            self.kept = kept
            self.credentials = credentials
            self.request = request
        }

        /// Writes what was changed to where it is mapped: of the memory nothing is copied then.
        func makeKnown(_ range: Range<Int>, of mapped: any MappedMemory) throws(Pause) {
            guard request.isShared, request.mayWrite else { return }
            for changed in mapped.changes(in: range) {
                var done = changed.lowerBound
                while done < changed.upperBound {
                    let bytes = UnsafeRawBufferPointer(
                        rebasing: mapped.memory[done..<changed.upperBound])
                    let written = try vfs.write(
                        bytes, to: kept.file.inode,
                        at: .offset(request.offset + UInt64(done)), options: .withinFile,
                        by: Caller(credentials))
                    if written.count <= 0 { break }
                    done += written.count
                }
            }
        }
    }

    /// What is mapped, and the open file that it keeps.
    private struct State {
        let target: Target
        let mapped: any MappedMemory

        var all: Range<Int> { 0..<mapped.memory.count }
    }

    private let lock = Lock()
    /// Guarded by `lock`; nil: it was unmapped.
    private var state: State?
    /// Where in the file it begins.
    public let offset: UInt64

    fileprivate init(
        _ vfs: VFS, _ kept: KeptFile, _ credentials: Credentials, _ request: MappingRequest,
        _ mapped: any MappedMemory
    ) {
        offset = request.offset
        state = State(target: Target(vfs, kept, credentials, request), mapped: mapped)
    }

    deinit {
        guard let state else { return }
        callingBack(
            { () throws(Pause) in try state.target.makeKnown(state.all, of: state.mapped) },
            completion: { _ in })
    }

    /// EINVAL when it was unmapped.
    private func current() throws(Errno) -> State {
        guard let state = lock.withLock({ state }) else { throw .EINVAL }
        return state
    }

    private func attemptCurrent() throws(Pause) -> State {
        do throws(Errno) {
            return try current()
        } catch {
            throw .failed(error)
        }
    }

    /// Empty when it was unmapped.
    public var memory: UnsafeMutableRawBufferPointer {
        lock.withLock { state }?.mapped.memory
            ?? UnsafeMutableRawBufferPointer(start: nil, count: 0)
    }

    /// mprotect(2), for whole pages of 4096 bytes; nil: for all. EACCES to make a shared mapping
    /// writable whose file was not opened for writing.
    public func protect(
        _ range: Range<Int>? = nil, _ protection: MemoryProtection
    ) throws(Errno) {
        let state = try current()
        try state.mapped.protect(range ?? state.all, protection)
    }

    /// How far a sync has come.
    private struct Syncing {
        var isKnown = false
        var hasGrown = false
        var point = SyncPoint()
    }

    private func attemptSync(
        _ range: Range<Int>?, _ waits: Bool, _ done: inout Syncing
    ) throws(Pause) {
        let state = try attemptCurrent()
        let inode = state.target.kept.file.inode
        if !done.hasGrown {
            var same: (any MappedMemory)? = state.mapped
            try inode.map(state.target.request, &same)
            done.hasGrown = true
        }
        if !done.isKnown {
            try state.target.makeKnown(range ?? state.all, of: state.mapped)
            done.isKnown = true
        }
        if waits { try inode.sync(dataOnly: true, &done.point) }
    }

    /// msync(2): what was changed in the range (nil: all) is durable after it; with `waits` false
    /// (MS_ASYNC) it is on its way.
    public func sync(_ range: Range<Int>? = nil, waits: Bool = true) throws(Errno) {
        var done = Syncing()
        try blocking { () throws(Pause) in try attemptSync(range, waits, &done) }
    }

    /// The same, suspending the task.
    nonisolated(nonsending)
        public func sync(_ range: Range<Int>? = nil, waits: Bool = true) async throws(Errno)
    {
        var done = Syncing()
        try await suspending { () throws(Pause) in try attemptSync(range, waits, &done) }
    }

    private func attemptUnmap(_ range: Range<Int>?) throws(Pause) {
        let state = try attemptCurrent()
        let range = range ?? state.all
        do throws(Pause) {
            try state.target.makeKnown(range, of: state.mapped)
        } catch {
            // A file that nothing can be written to any more is unmapped all the same.
            if case .failed = error, range == state.all { letGo() }
            throw error
        }
        if range == state.all { return letGo() }
        do throws(Errno) {
            try state.mapped.unmap(range)
        } catch {
            throw .failed(error)
        }
    }

    /// The memory goes, and the open file.
    private func letGo() {
        // It goes when the lock is free.
        let last = lock.withLock {
            defer { state = nil }
            return state
        }
        withExtendedLifetime(last) {}
    }

    /// munmap(2), for whole pages; nil: for all, and the file is let go. What was changed is the
    /// file's, not yet durable.
    public func unmap(_ range: Range<Int>? = nil) throws(Errno) {
        try blocking { () throws(Pause) in try attemptUnmap(range) }
    }

    /// The same, suspending the task.
    nonisolated(nonsending)
        public func unmap(_ range: Range<Int>? = nil) async throws(Errno)
    {
        try await suspending { () throws(Pause) in try attemptUnmap(range) }
    }
}

extension Process {
    /// What a map has so far.
    private struct Mapping {
        var kept: KeptFile?
        var mapped: (any MappedMemory)?
    }

    /// mmap(2). `offset`: a multiple of 4096. The descriptor may be closed after it. EACCES where the
    /// file is not open for reading, or a shared mapping shall be writable and it is not open for
    /// writing; ENODEV for what cannot be mapped: other than regular files, and filesystems that do
    /// not keep their files in a cache of pages.
    public func map(
        _ descriptor: Descriptor, offset: UInt64 = 0, length: Int,
        _ protection: MemoryProtection = .read, as kind: MappedFile.Kind = .shared
    ) throws(Errno) -> MappedFile {
        var progress = Mapping()
        return try blocking { () throws(Pause) in
            try attemptMap(descriptor, offset, length, protection, kind, &progress)
        }
    }

    /// The same, suspending the task.
    nonisolated(nonsending)
        public func map(
            _ descriptor: Descriptor, offset: UInt64 = 0, length: Int,
            _ protection: MemoryProtection = .read, as kind: MappedFile.Kind = .shared
        ) async throws(Errno) -> MappedFile
    {
        var progress = Mapping()
        return try await suspending { () throws(Pause) in
            try attemptMap(descriptor, offset, length, protection, kind, &progress)
        }
    }

    private func attemptMap(
        _ descriptor: Descriptor, _ offset: UInt64, _ length: Int, _ protection: MemoryProtection,
        _ kind: MappedFile.Kind, _ progress: inout Mapping
    ) throws(Pause) -> MappedFile {
        var mapped = progress.mapped
        defer { progress.mapped = mapped }
        return try withFile(descriptor, keptIn: &progress.kept) { (file) throws(Pause) in
            guard !file.isPathOnly else { throw .failed(.EBADF) }
            guard file.canRead else { throw .failed(.EACCES) }
            let inode = file.inode
            guard file.opening == nil, inode.kind == .regular else { throw .failed(.ENODEV) }
            var mayWrite = true
            if kind == .shared {
                mayWrite = file.canWrite && !file.location.mount.flags.contains(.readOnly)
                if mayWrite {
                    mayWrite = try !inode.attributes().flags.contains(.appendOnly)
                }
            }
            if protection.contains(.write), !mayWrite { throw .failed(.EACCES) }
            let request = MappingRequest(
                offset: offset, length: length, protection: protection,
                isShared: kind == .shared, mayWrite: mayWrite)
            try inode.map(request, &mapped)
            guard let mapped else { throw .failed(.ENODEV) }
            noteAccess(to: file)
            do throws(Errno) {
                return MappedFile(vfs, try KeptFile(file), credentials, request, mapped)
            } catch {
                throw .failed(error)
            }
        }
    }
}

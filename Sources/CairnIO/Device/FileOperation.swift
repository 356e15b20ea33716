// FileOperation: one request of a FileDevice, as an operation of its reactor.
//
// Threading: as IOOperation. `isWaiting`, `device` and the ticket are guarded by the device's lock.

import CairnBase

final class FileOperation: IOOperation, @unchecked Sendable {
    // Sendable: as IOOperation.
    private let index: Int
    /// The device, kept as long as the operation is in use.
    private(set) var device: FileDevice?
    private(set) var request = BlockRequest.flush
    private(set) var completion: (@Sendable (BlockResult) -> Void)?
    /// By the reactor's clock.
    private(set) var startedAt: UInt64 = 0
    /// It is in the device's queue.
    var isWaiting = false
    private var attempts = 0
    private var segmentRoom = 0

    /// IOV_MAX.
    private static let segmentLimit = 1024
    /// What one read(2) transfers at most, in pages.
    private static let byteLimit = 0x7fff_f000
    private static let indexBits: UInt64 = 24
    /// How many there can be in a device: requests that are submitted and not completed.
    static let limit = 1 << 24
    private static let attemptLimit = 64

    init(_ file: ReactorFile, index: Int) {
        self.index = index
        super.init(file)
    }

    deinit {
        segments?.deallocate()
    }

    var ticket: BlockTicket {
        BlockTicket(rawValue: generation << Self.indexBits | UInt64(index))
    }

    static func index(of ticket: BlockTicket) -> Int? {
        Int(ticket.rawValue & (1 << indexBits - 1))
    }

    // MARK: Filling

    func fill(
        _ request: BlockRequest, _ completion: @escaping @Sendable (BlockResult) -> Void,
        _ device: FileDevice
    ) {
        self.request = request
        self.completion = completion
        self.device = device
        startedAt = device.reactor.monotonicNanoseconds()
        attempts = 0
        offset = request.offset
        file = device.files.main
        switch request.operation {
        case .flush:
            action = .syncData
        case .discard:
            action = device.isBlockDevice ? .discardBlocks : .punchHole
            count = request.length
        case .read, .write:
            fillMemory(request, device)
        }
    }

    private func fillMemory(_ request: BlockRequest, _ device: FileDevice) {
        let isRead = request.operation == .read
        request.withSegments { pieces in
            if !device.files.takesDirectly(offset: offset, pieces) {
                file = device.files.buffered
            }
            if pieces.count <= 1 {
                action = isRead ? .read : .write
                address = pieces.first?.address
                count = min(request.length, Self.byteLimit)
            } else {
                action = isRead ? .readSegments : .writeSegments
                count = min(pieces.count, Self.segmentLimit)
                let room = makeRoom(count)
                for position in 0..<count { room[position] = pieces[position] }
            }
        }
    }

    private func makeRoom(_ count: Int) -> UnsafeMutablePointer<BlockSegment> {
        if let segments, segmentRoom >= count { return segments }
        segments?.deallocate()
        segmentRoom = max(count, 32)
        let room = UnsafeMutablePointer<BlockSegment>.allocate(capacity: segmentRoom)
        segments = room
        return room
    }

    /// It is over: the next use has another ticket.
    func empty() {
        generation &+= 1
        request = .flush
        completion = nil
        device = nil
    }

    // MARK: What came of it

    override func completed(_ result: Int) {
        // Kept by this until it is done with the operation.
        let device = device
        device?.completed(self, result)
    }

    /// Whether another try makes sense after this error, and prepares it.
    func canTryAgain(after error: Errno) -> Bool {
        guard let device, !isCancelled else { return false }
        switch error {
        case .EINTR, .EAGAIN:
            attempts += 1
            return attempts < Self.attemptLimit
        case .EINVAL where file === device.files.main && device.files.isDirect:
            // Some filesystems take O_DIRECT when a file is opened, and refuse it later.
            guard request.operation == .read || request.operation == .write else { return false }
            file = device.files.buffered
            return true
        default:
            return false
        }
    }

    func result(of value: Int, _ length: Int, blockSize: Int) -> BlockResult {
        if value < 0 {
            let error = Errno(rawValue: Int32(-value))
            return .failed(isCancelled && error == .EINTR ? .ECANCELED : error)
        }
        if request.operation == .flush || request.operation == .discard || value == length {
            return .complete(length)
        }
        // Less than a block is nothing: a file that has become shorter, for one.
        let whole = value & ~(blockSize - 1)
        return whole > 0 ? .partial(whole) : .failed(.EIO)
    }
}

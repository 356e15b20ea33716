// DeviceHandle: an open device, handed on with rights of its own.
//
// What the rights do not cover fails with EACCES. A handle made from a handle has no right that the
// first has not. Nothing else is changed: requests go to the device as they are.
//
// Threading: immutable; any thread.

public import CairnBase

/// What may be done through a handle.
public struct DeviceRights: OptionSet, Hashable, Sendable {
    public let rawValue: UInt8

    @inlinable
    public init(rawValue: UInt8) {
        self.rawValue = rawValue
    }

    public static var read: DeviceRights { DeviceRights(rawValue: 1) }
    public static var write: DeviceRights { DeviceRights(rawValue: 2) }
    public static var discard: DeviceRights { DeviceRights(rawValue: 4) }
    public static var flush: DeviceRights { DeviceRights(rawValue: 8) }
    /// Closing the device for everybody, and setting its queue depth.
    public static var manage: DeviceRights { DeviceRights(rawValue: 16) }
    public static var all: DeviceRights { [.read, .write, .discard, .flush, .manage] }

    /// What a request of this kind needs.
    static func needed(for operation: BlockRequest.Operation) -> DeviceRights {
        switch operation {
        case .read: .read
        case .write: .write
        case .flush: .flush
        case .discard: .discard
        }
    }
}

public final class DeviceHandle: BlockDevice {
    private let device: any BlockDevice
    public let rights: DeviceRights

    private init(_ device: any BlockDevice, _ rights: DeviceRights) {
        self.device = device
        self.rights = rights
    }

    fileprivate static func make(
        _ device: any BlockDevice, _ rights: DeviceRights
    ) -> DeviceHandle {
        // A handle of a handle would only cost a call more.
        guard let handle = device as? DeviceHandle else { return DeviceHandle(device, rights) }
        return DeviceHandle(handle.device, handle.rights.intersection(rights))
    }

    public var size: UInt64 { device.size }
    public var blockSize: Int { device.blockSize }
    public var memoryAlignment: Int { device.memoryAlignment }
    public var isReadOnly: Bool { device.isReadOnly || !rights.contains(.write) }
    public var canDiscard: Bool { device.canDiscard && rights.contains(.discard) }
    public var queueDepth: Int { device.queueDepth }
    public var statistics: BlockStatistics { device.statistics }

    private func require(_ needed: DeviceRights) throws(Errno) {
        guard rights.contains(needed) else { throw .EACCES }
    }

    @discardableResult
    public func submit(
        _ request: BlockRequest, completion: @escaping @Sendable (BlockResult) -> Void
    ) throws(Errno) -> BlockTicket {
        try require(.needed(for: request.operation))
        return try device.submit(request, completion: completion)
    }

    @discardableResult
    public func submit(_ batch: [BlockSubmission]) throws(Errno) -> [BlockTicket] {
        let refused = batch.firstIndex {
            !rights.contains(.needed(for: $0.request.operation))
        }
        guard let refused else { return try device.submit(batch) }
        guard refused > 0 else { throw .EACCES }
        return try device.submit(Array(batch[..<refused]))
    }

    public func cancel(_ ticket: BlockTicket) {
        device.cancel(ticket)
    }

    public func setQueueDepth(_ depth: Int) throws(Errno) {
        try require(.manage)
        try device.setQueueDepth(depth)
    }

    public func close() throws(Errno) {
        try require(.manage)
        try device.close()
    }
}

extension BlockDevice {
    /// This device with these rights at most, to be handed on.
    public func handle(_ rights: DeviceRights) -> DeviceHandle {
        DeviceHandle.make(self, rights)
    }
}

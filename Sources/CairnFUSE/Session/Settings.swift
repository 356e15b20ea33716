// What one connection with the kernel has agreed on, and the reply to INIT.

import CairnBase
import CairnVFS

/// A length of time as the protocol has it.
struct WireTimeout: Sendable {
    var seconds: UInt64
    var nanoseconds: UInt32

    static let zero = WireTimeout(seconds: 0, nanoseconds: 0)

    init(seconds: UInt64, nanoseconds: UInt32) {
        self.seconds = seconds
        self.nanoseconds = nanoseconds
    }

    init(_ duration: Duration) {
        let (seconds, attoseconds) = duration.components
        self.seconds = seconds < 0 ? 0 : UInt64(seconds)
        self.nanoseconds = seconds < 0 ? 0 : UInt32(attoseconds / 1_000_000_000)
    }
}

/// Fixed when the connection is made, before INIT.
struct SessionOptions: Sendable {
    var entryTimeout: WireTimeout
    var attributeTimeout: WireTimeout
    var negativeTimeout: WireTimeout
    var writebackCache: Bool
    /// OPEN and OPENDIR are answered with ENOSYS, once.
    var isOpenless: Bool
    /// Locks are kept by us, for all doors, and not by the kernel for its own.
    var sharesLocks: Bool
    /// Ask for io_uring, if the kernel offers it.
    var wantsRing: Bool
    var maximumTransfer: Int
    var maximumReadAhead: UInt32
    /// 0: processors may halt between requests.
    var idlePollMicroseconds = 0
}

/// What INIT settled.
struct Negotiated: Sendable {
    var minor: UInt32 = 0
    var flags: InitFlags = []

    var usesRing: Bool { flags.contains(.overRing) }
    var writebackCache: Bool { flags.contains(.writebackCache) }
}

enum Negotiation {
    /// The newest minor version that we know.
    static let newestMinor: UInt32 = 45
    /// That of Linux 5.17: older kernels lack what we rely on (the extended INIT and SETXATTR).
    static let oldestMinor: UInt32 = 36

    /// From this minor version on the kernel drops its pages before it writes past them: it began between
    /// Linux 6.6 and 6.7, which both speak 7.39.
    static let dropsPagesMinor: UInt32 = 40

    /// Background requests (read-ahead, write-back) that the kernel sends before it holds back.
    /// High, because one filesystem that is slow must not keep those of others in the kernel.
    static let backgroundLimit: UInt16 = 16384

    static func wanted(_ options: SessionOptions) -> InitFlags {
        var flags: InitFlags = [
            .asynchronousRead, .bigWrites, .doNotMask, .controlOnDirectories,
            .readDirectoryPlus, .readDirectoryPlusAdaptive, .asynchronousDirect,
            .parallelDirectoryOperations, .posixACL, .maximumPages, .cacheSymbolicLinks,
            .explicitInvalidation, .clearsPrivileges, .longSetExtendedAttribute, .extended,
            .supplementaryGroup, .expireOnly, .mapsDirectFiles, .noExport,
        ]
        if options.writebackCache { flags.insert(.writebackCache) }
        if options.sharesLocks { flags.formUnion([.posixLocks, .wholeFileLocks]) }
        if options.isOpenless {
            flags.formUnion([.openless, .openlessDirectories])
        } else {
            // Without OPEN nobody would truncate: the kernel must then send SETATTR.
            flags.insert(.atomicTruncate)
        }
        if options.wantsRing { flags.insert(.overRing) }
        return flags
    }

    /// Answers INIT: fills the reply and says what was agreed.
    static func answer(
        _ arguments: Fields, _ options: SessionOptions, into reply: ReplyBuffer
    ) throws(Errno) -> Negotiated {
        let major = arguments.u32(0)
        let minor = arguments.u32(4)
        guard major >= 7 else { throw .EPROTO }
        reply.zero(0, Wire.initReplySize)
        reply.put(UInt32(7), at: 0)
        reply.put(newestMinor, at: 4)
        // A newer major version: the kernel asks again with ours.
        guard major == 7 else { return Negotiated() }
        guard minor >= oldestMinor else { throw .EPROTO }

        var offered = UInt64(arguments.u32(12))
        if offered & InitFlags.extended.rawValue != 0, arguments.bytes.count >= 20 {
            offered |= UInt64(arguments.u32(16)) << 32
        }
        let flags = wanted(options).intersection(InitFlags(rawValue: offered))
        reply.put(min(minor, newestMinor), at: 4)
        reply.put(min(arguments.u32(8), options.maximumReadAhead), at: 8)
        reply.put(UInt32(truncatingIfNeeded: flags.rawValue), at: 12)
        reply.put(backgroundLimit, at: 16)
        reply.put(backgroundLimit / 4 * 3, at: 18)
        reply.put(UInt32(options.maximumTransfer), at: 20)
        reply.put(UInt32(1), at: 24)  // time_gran, in nanoseconds
        reply.put(UInt16(options.maximumTransfer / 4096), at: 28)
        reply.put(UInt32(truncatingIfNeeded: flags.rawValue >> 32), at: 32)
        return Negotiated(minor: min(minor, newestMinor), flags: flags)
    }
}

// Errno: why a call failed, as Linux numbers it.
//
// The one error type of the VFS and of everything that a caller of it sees. Richer errors live
// inside a filesystem; each maps to an Errno in one place there.

import Glibc

/// An error number of Linux (errno(3)).
public struct Errno: Error, RawRepresentable, Hashable, Sendable {
    public let rawValue: Int32

    @inlinable
    public init(rawValue: Int32) {
        self.rawValue = rawValue
    }

    /// Operation not permitted.
    @inlinable public static var EPERM: Errno { Errno(rawValue: 1) }
    /// No such file or directory.
    @inlinable public static var ENOENT: Errno { Errno(rawValue: 2) }
    /// No such process.
    @inlinable public static var ESRCH: Errno { Errno(rawValue: 3) }
    /// Interrupted system call.
    @inlinable public static var EINTR: Errno { Errno(rawValue: 4) }
    /// Input/output error.
    @inlinable public static var EIO: Errno { Errno(rawValue: 5) }
    /// No such device or address.
    @inlinable public static var ENXIO: Errno { Errno(rawValue: 6) }
    /// Argument list too long.
    @inlinable public static var E2BIG: Errno { Errno(rawValue: 7) }
    /// Bad file descriptor.
    @inlinable public static var EBADF: Errno { Errno(rawValue: 9) }
    /// Resource temporarily unavailable.
    @inlinable public static var EAGAIN: Errno { Errno(rawValue: 11) }
    /// Cannot allocate memory.
    @inlinable public static var ENOMEM: Errno { Errno(rawValue: 12) }
    /// Permission denied.
    @inlinable public static var EACCES: Errno { Errno(rawValue: 13) }
    /// Bad address.
    @inlinable public static var EFAULT: Errno { Errno(rawValue: 14) }
    /// Block device required.
    @inlinable public static var ENOTBLK: Errno { Errno(rawValue: 15) }
    /// Device or resource busy.
    @inlinable public static var EBUSY: Errno { Errno(rawValue: 16) }
    /// File exists.
    @inlinable public static var EEXIST: Errno { Errno(rawValue: 17) }
    /// Invalid cross-device link.
    @inlinable public static var EXDEV: Errno { Errno(rawValue: 18) }
    /// No such device.
    @inlinable public static var ENODEV: Errno { Errno(rawValue: 19) }
    /// Not a directory.
    @inlinable public static var ENOTDIR: Errno { Errno(rawValue: 20) }
    /// Is a directory.
    @inlinable public static var EISDIR: Errno { Errno(rawValue: 21) }
    /// Invalid argument.
    @inlinable public static var EINVAL: Errno { Errno(rawValue: 22) }
    /// Too many open files in system.
    @inlinable public static var ENFILE: Errno { Errno(rawValue: 23) }
    /// Too many open files.
    @inlinable public static var EMFILE: Errno { Errno(rawValue: 24) }
    /// Inappropriate ioctl for device.
    @inlinable public static var ENOTTY: Errno { Errno(rawValue: 25) }
    /// Text file busy.
    @inlinable public static var ETXTBSY: Errno { Errno(rawValue: 26) }
    /// File too large.
    @inlinable public static var EFBIG: Errno { Errno(rawValue: 27) }
    /// No space left on device.
    @inlinable public static var ENOSPC: Errno { Errno(rawValue: 28) }
    /// Illegal seek.
    @inlinable public static var ESPIPE: Errno { Errno(rawValue: 29) }
    /// Read-only file system.
    @inlinable public static var EROFS: Errno { Errno(rawValue: 30) }
    /// Too many links.
    @inlinable public static var EMLINK: Errno { Errno(rawValue: 31) }
    /// Broken pipe.
    @inlinable public static var EPIPE: Errno { Errno(rawValue: 32) }
    /// Numerical result out of range.
    @inlinable public static var ERANGE: Errno { Errno(rawValue: 34) }
    /// Resource deadlock avoided.
    @inlinable public static var EDEADLK: Errno { Errno(rawValue: 35) }
    /// File name too long.
    @inlinable public static var ENAMETOOLONG: Errno { Errno(rawValue: 36) }
    /// No locks available.
    @inlinable public static var ENOLCK: Errno { Errno(rawValue: 37) }
    /// Function not implemented.
    @inlinable public static var ENOSYS: Errno { Errno(rawValue: 38) }
    /// Directory not empty.
    @inlinable public static var ENOTEMPTY: Errno { Errno(rawValue: 39) }
    /// Too many levels of symbolic links.
    @inlinable public static var ELOOP: Errno { Errno(rawValue: 40) }
    /// No data available.
    @inlinable public static var ENODATA: Errno { Errno(rawValue: 61) }
    /// Value too large for defined data type.
    @inlinable public static var EOVERFLOW: Errno { Errno(rawValue: 75) }
    /// Bad message.
    @inlinable public static var EBADMSG: Errno { Errno(rawValue: 74) }
    /// Protocol error.
    @inlinable public static var EPROTO: Errno { Errno(rawValue: 71) }
    /// Operation not supported.
    @inlinable public static var EOPNOTSUPP: Errno { Errno(rawValue: 95) }
    /// Socket operation on non-socket.
    @inlinable public static var ENOTSOCK: Errno { Errno(rawValue: 88) }
    /// No buffer space available.
    @inlinable public static var ENOBUFS: Errno { Errno(rawValue: 105) }
    /// Operation already in progress.
    @inlinable public static var EALREADY: Errno { Errno(rawValue: 114) }
    /// Operation now in progress.
    @inlinable public static var EINPROGRESS: Errno { Errno(rawValue: 115) }
    /// Stale file handle.
    @inlinable public static var ESTALE: Errno { Errno(rawValue: 116) }
    /// Disk quota exceeded.
    @inlinable public static var EDQUOT: Errno { Errno(rawValue: 122) }
    /// Operation canceled.
    @inlinable public static var ECANCELED: Errno { Errno(rawValue: 125) }
    /// Transport endpoint is not connected.
    @inlinable public static var ENOTCONN: Errno { Errno(rawValue: 107) }
    /// Software caused connection abort.
    @inlinable public static var ECONNABORTED: Errno { Errno(rawValue: 103) }
    /// Connection timed out.
    @inlinable public static var ETIMEDOUT: Errno { Errno(rawValue: 110) }
    /// Structure needs cleaning.
    @inlinable public static var EUCLEAN: Errno { Errno(rawValue: 117) }

    /// Linux gives ENODATA where other systems give ENOATTR.
    @inlinable public static var ENOATTR: Errno { ENODATA }
}

extension Errno: CustomStringConvertible {
    /// The C library's text for the number, such as "No such file or directory".
    public var description: String {
        guard let text = strerror(rawValue) else { return "error \(rawValue)" }
        return String(cString: text)
    }
}

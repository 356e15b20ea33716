// SystemCall: the calls that are counted, by Linux's names.

/// A call of requirement V7, for statistics.
public enum SystemCall: Int, CaseIterable, Sendable {
    case open, read, write, seek, truncate, fallocate, copyFileRange
    case stat, statfs, access, getdents
    case mkdir, rmdir, link, symlink, readlink, unlink, rename, mknod
    case chmod, chown, utimens, setflags
    case getxattr, setxattr, listxattr, removexattr
    case sync, syncfs, fsync, fdatasync
    case flock, lock
    case mount, umount, chdir
}

// Attributes, extended attributes, permissions and locks through a mount.

import CTestCalls
import CairnBase
import CairnFUSE
import CairnVFS
import Glibc
import Testing

@testable import CairnFUSE

extension MountTests {
    @Suite(.serialized) struct FileAttributes {
        @Test func largeExtendedAttributesPassSmallTransfers() async throws {
            var options = FUSEMountOptions()
            options.transferKiB = 16
            try await withMount(over: .device, options: options) { mounted in
                let path = mounted("f")
                #expect(put(path, "x"))
                let value = [UInt8](repeating: 5, count: 65_536)
                #expect(cairn_test_set_attribute(path, "user.large", value, 65_536, 0) == 0)
                var read = [UInt8](repeating: 0, count: 65_536)
                #expect(cairn_test_get_attribute(path, "user.large", &read, 65_536) == 65_536)
                #expect(read == value)
            }
        }

        @Test(arguments: transports)
        func modesOwnersAndTimesAreSet(over transport: FUSEMountOptions.Transport)
            async throws
        {
            try await withMount(over: transport) { mounted in
                #expect(put(mounted("f"), "x"))
                #expect(chmod(mounted("f"), 0o4751) == 0)
                #expect(status(mounted("f")).map { $0.st_mode & 0o7777 } == 0o4751)
                #expect(chown(mounted("f"), 12, 34) == 0)
                let owned = try #require(status(mounted("f")))
                #expect(owned.st_uid == 12 && owned.st_gid == 34)
                #expect(owned.st_mode & 0o7777 == 0o751)
                let times = [
                    timespec(tv_sec: 1_000_000, tv_nsec: 123_456_789),
                    timespec(tv_sec: -5, tv_nsec: 987_654_321),
                ]
                #expect(utimensat(AT_FDCWD, mounted("f"), times, 0) == 0)
                let timed = try #require(status(mounted("f")))
                #expect(timed.st_atim.tv_sec == 1_000_000 && timed.st_atim.tv_nsec == 123_456_789)
                #expect(timed.st_mtim.tv_sec == -5 && timed.st_mtim.tv_nsec == 987_654_321)
                #expect(abs(cairn_test_birth_seconds(mounted("f")) - Int64(time(nil))) < 60)
                var whole = statvfs()
                #expect(statvfs(mounted.path, &whole) == 0)
                #expect(whole.f_blocks == 1000 && whole.f_bavail == 500 && whole.f_ffree == 50)
                #expect(whole.f_namemax == 255)
            }
        }

        @Test(arguments: transports)
        func writingByOthersClearsSetIDBits(over transport: FUSEMountOptions.Transport)
            async throws
        {
            try await withMount(over: transport) { mounted in
                #expect(chmod(mounted.path, 0o777) == 0)
                #expect(put(mounted("f"), "x"))
                #expect(chmod(mounted("f"), 0o6777) == 0)
                #expect(cairn_test_open_as(mounted("f"), O_WRONLY | O_TRUNC, 1234) == 0)
                #expect(status(mounted("f")).map { $0.st_mode & 0o7777 } == 0o777)
            }
        }

        @Test(arguments: transports)
        func accessIsChecked(over transport: FUSEMountOptions.Transport) async throws {
            try await withMount(over: transport) { mounted in
                #expect(put(mounted("secret"), [], mode: 0o600))
                #expect(cairn_test_open_as(mounted("secret"), O_RDONLY, 1234) == -EACCES)
                #expect(cairn_test_open_as(mounted("new"), O_CREAT | O_WRONLY, 1234) == -EACCES)
                #expect(chmod(mounted("secret"), 0o604) == 0)
                #expect(cairn_test_open_as(mounted("secret"), O_RDONLY, 1234) == 0)
            }
        }

        @Test(arguments: transports)
        func extendedAttributesAreKept(over transport: FUSEMountOptions.Transport)
            async throws
        {
            try await withMount(over: transport) { mounted in
                let path = mounted("f")
                #expect(put(path, "x"))
                let value = [UInt8](repeating: 5, count: 5000)
                #expect(cairn_test_set_attribute(path, "user.a/b", value, 5000, 0) == 0)
                #expect(cairn_test_set_attribute(path, "user.a/b", value, 1, 1) == -EEXIST)
                #expect(cairn_test_set_attribute(path, "user.none", value, 1, 2) == -ENODATA)
                #expect(cairn_test_get_attribute(path, "user.a/b", nil, 0) == 5000)
                var read = [UInt8](repeating: 0, count: 6000)
                #expect(cairn_test_get_attribute(path, "user.a/b", &read, 6000) == 5000)
                #expect(Array(read.prefix(5000)) == value)
                #expect(cairn_test_get_attribute(path, "user.a/b", &read, 10) == -ERANGE)
                #expect(cairn_test_get_attribute(path, "user.none", &read, 10) == -ENODATA)
                var list = [CChar](repeating: 0, count: 100)
                #expect(cairn_test_list_attributes(path, &list, 100) == 9)
                #expect(cairn_test_list_attributes(path, nil, 0) == 9)
                #expect(cairn_test_list_attributes(path, &list, 3) == -ERANGE)
                #expect(cairn_test_remove_attribute(path, "user.a/b") == 0)
                #expect(cairn_test_remove_attribute(path, "user.a/b") == -ENODATA)
            }
        }

        @Test func trustedNamesAreHidden() {
            var list = Array("user.a\0trusted.b\0trusted.\0security.c\0trusted.d\0".utf8)
            let size = list.withUnsafeMutableBytes { Session.dropTrusted($0, $0.count) }
            #expect(Array(list[..<size]) == Array("user.a\0security.c\0".utf8))
        }

        @Test(arguments: transports)
        func fileFlagsAreSetByIoctl(over transport: FUSEMountOptions.Transport) async throws {
            try await withMount(over: transport) { mounted in
                #expect(put(mounted("f"), "x"))
                var flags: UInt32 = 0
                #expect(cairn_test_set_flags(mounted("f"), 0x40) == 0)
                #expect(cairn_test_get_flags(mounted("f"), &flags) == 0)
                #expect(flags & 0x40 != 0)
            }
        }

        // V11: what has the flag S is durable before it is answered, where the kernel gathers nothing
        @Test(arguments: transports, [false, true])
        func theFlagForSynchronousChangesIsKept(
            over transport: FUSEMountOptions.Transport, gathersWrites: Bool
        ) async throws {
            let scratch = ScratchFileSystem()
            var options = FUSEMountOptions()
            options.writebackCache = gathersWrites
            try await withMount(over: transport, scratch, options: options) { mounted in
                #expect(put(mounted("f"), "x"))
                #expect(mkdir(mounted("d"), 0o755) == 0)
                #expect(scratch.syncCount == 0)
                for name in ["f", "d"] {
                    let result = cairn_test_set_flags(mounted(name), 0x8)
                    #expect(result == (gathersWrites ? -EOPNOTSUPP : 0))
                }
                if gathersWrites { return }
                #expect(scratch.syncCount == 2)
                #expect(put(mounted("d/new"), "") && scratch.syncCount == 3)
                #expect(rename(mounted("d/new"), mounted("new")) == 0 && scratch.syncCount == 5)
                #expect(put(mounted("new"), "text") && scratch.syncCount == 5)
                // Cut, and written.
                #expect(put(mounted("f"), "text") && scratch.syncCount == 7)
                #expect(chmod(mounted("f"), 0o600) == 0 && scratch.syncCount == 8)
            }
        }
    }

    @Suite(.serialized) struct Locks {
        @Test(arguments: [false, true])
        func locksExcludeAndEnd(shared: Bool) async throws {
            var options = FUSEMountOptions()
            options.sharesLocks = shared
            try await withMount(over: .device, options: options) { mounted in
                #expect(put(mounted("f"), "x"))
                let file = open(mounted("f"), O_RDWR)
                let other = open(mounted("f"), O_RDWR)
                #expect(cairn_test_lock(file, 1, 0) == 0)
                #expect(cairn_test_lock_in_child(mounted("f"), 1) == -EAGAIN)
                // POSIX: closing any descriptor of the file ends the process's locks.
                close(other)
                #expect(cairn_test_lock_in_child(mounted("f"), 1) == 0)

                let again = open(mounted("f"), O_RDWR)
                #expect(cairn_test_lock(again, 1, 1) == 0)
                #expect(cairn_test_lock(file, 1, 1) == -EAGAIN)
                close(again)
                #expect(eventually { cairn_test_lock(file, 1, 1) == 0 })
                #expect(cairn_test_lock(file, 2, 1) == 0)

                let third = open(mounted("f"), O_RDWR)
                #expect(flock(file, LOCK_EX) == 0)
                #expect(flock(third, LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK)
                close(file)
                #expect(eventually { flock(third, LOCK_EX | LOCK_NB) == 0 })
                close(third)
            }
        }

        @Test func sharedLocksAreSeenByOtherDoors() async throws {
            var options = FUSEMountOptions()
            options.sharesLocks = true
            try await withMount(over: .device, options: options) { mounted in
                #expect(put(mounted("f"), "x"))
                let found = try mounted.find("f")
                let mine = LockOwner.process(99)
                let lock = FileLock(.write, .whole, processID: 99)
                try blocking { () throws(Pause) in
                    try found.setLock(lock, owner: mine, wait: false)
                }
                let file = open(mounted("f"), O_RDWR)
                #expect(cairn_test_lock(file, 1, 0) == -EAGAIN)
                found.releaseLocks(of: mine)
                #expect(cairn_test_lock(file, 1, 0) == 0)
                #expect(found.testLock(lock, owner: mine) != nil)
                close(file)
                #expect(eventually { found.testLock(lock, owner: mine) == nil })
            }
        }
    }
}

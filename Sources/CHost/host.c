#include "CHost.h"

#include <errno.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

int32_t cairn_host_unmount(const char *path, int32_t detach, int32_t force) {
    int flags = UMOUNT_NOFOLLOW | (detach ? MNT_DETACH : 0) | (force ? MNT_FORCE : 0);
    return umount2(path, flags) < 0 ? -errno : 0;
}

int32_t cairn_host_open_process(int32_t pid) {
    long descriptor = syscall(SYS_pidfd_open, pid, 0);
    return descriptor < 0 ? -errno : (int32_t)descriptor;
}

int32_t cairn_host_signal_process(int32_t process, int32_t number) {
    return syscall(SYS_pidfd_send_signal, process, number, NULL, 0) < 0 ? -errno : 0;
}

int32_t cairn_host_peer(int32_t socket, int32_t *pid, uint32_t *user) {
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) return -errno;
    *pid = peer.pid;
    *user = peer.uid;
    return 0;
}

void cairn_host_close_inherited(int32_t kept) {
    /* close_range(2), since Linux 5.9; without it they stay open, which does no harm by itself. */
    if (kept > 3) (void)syscall(SYS_close_range, 3u, (unsigned)kept - 1, 0u);
    (void)syscall(SYS_close_range, (unsigned)kept + 1, ~0u, 0u);
}

void cairn_host_name_thread(const char *name) { (void)prctl(PR_SET_NAME, name, 0, 0, 0); }

uint32_t cairn_host_major(uint64_t device) { return major(device); }
uint32_t cairn_host_minor(uint64_t device) { return minor(device); }
uint64_t cairn_host_device(uint32_t high, uint32_t low) { return makedev(high, low); }

int64_t cairn_host_list_attributes(const char *path, char *buffer, size_t size) {
    ssize_t count = llistxattr(path, buffer, size);
    return count < 0 ? -errno : count;
}

int64_t cairn_host_attribute(const char *path, const char *name, void *buffer, size_t size) {
    ssize_t count = lgetxattr(path, name, buffer, size);
    return count < 0 ? -errno : count;
}

int32_t cairn_host_set_attribute(
    const char *path, const char *name, const void *value, size_t size) {
    return lsetxattr(path, name, value, size, 0) < 0 ? -errno : 0;
}

int32_t cairn_host_parse_time(
    const char *text, const char *pattern, int32_t utc, int64_t *seconds) {
    struct tm parts = {0};
    const char *end = strptime(text, pattern, &parts);
    if (end == NULL || *end != '\0') return -EINVAL;
    parts.tm_isdst = -1;
    *seconds = utc ? timegm(&parts) : mktime(&parts);
    return 0;
}

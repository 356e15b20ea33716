#include "CSystem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#define RESULT(call)                                                                           \
    ({                                                                                         \
        __typeof__(call) value_ = (call);                                                      \
        value_ < 0 ? -errno : value_;                                                          \
    })

/* -- Opening -------------------------------------------------------------------------- */

int32_t cairn_device_open(const char *path, int32_t flags) {
    int mode = O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    mode |= flags & CAIRN_DEVICE_WRITE ? O_RDWR : O_RDONLY;
    if (flags & CAIRN_DEVICE_DIRECT) mode |= O_DIRECT;
    if (flags & CAIRN_DEVICE_EXCLUSIVE) mode |= O_EXCL;
    if (flags & CAIRN_DEVICE_CREATE) mode |= O_CREAT | O_EXCL;
    int descriptor = open(path, mode, 0600);
    if (descriptor < 0) return -errno;
    /* O_NONBLOCK was for opening; on a block device io_uring would take it for "do not wait". */
    int status = fcntl(descriptor, F_GETFL);
    if (status < 0 || fcntl(descriptor, F_SETFL, status & ~O_NONBLOCK) < 0) {
        int error = errno;
        close(descriptor);
        return -error;
    }
    return descriptor;
}

/* Whether the queue of a block device, or of the disk that it is a part of, takes discards. */
static int queue_discards(dev_t device) {
    static const char *const places[] = {"", "/.."};
    for (int index = 0; index < 2; index++) {
        char path[96], text[32];
        snprintf(path, sizeof path, "/sys/dev/block/%u:%u%s/queue/discard_max_bytes",
                 major(device), minor(device), places[index]);
        int64_t count = cairn_read_text(path, text, sizeof text);
        if (count > 0) return text[0] != '0';
    }
    return 0;
}

int32_t cairn_device_describe(int32_t descriptor, struct cairn_device_facts *facts) {
    memset(facts, 0, sizeof *facts);
    struct stat status;
    if (fstat(descriptor, &status) < 0) return -errno;
    facts->device = status.st_dev;
    facts->inode = status.st_ino;
    facts->block_size = 512;
    if (S_ISBLK(status.st_mode)) {
        int read_only = 0, block_size = 0;
        if (ioctl(descriptor, BLKGETSIZE64, &facts->size) < 0 ||
            ioctl(descriptor, BLKSSZGET, &block_size) < 0 ||
            ioctl(descriptor, BLKROGET, &read_only) < 0)
            return -errno;
        facts->is_block_device = 1;
        facts->is_read_only = read_only != 0;
        if (block_size > 512) facts->block_size = (uint32_t)block_size;
        facts->direct_memory_alignment = facts->block_size;
        facts->direct_offset_alignment = facts->block_size;
        facts->can_discard = (uint32_t)queue_discards(status.st_rdev);
    } else if (S_ISREG(status.st_mode)) {
        facts->size = (uint64_t)status.st_size;
        /* Beyond the end, so that nothing changes. */
        facts->can_discard =
            fallocate(descriptor, CAIRN_PUNCH_HOLE, status.st_size, 4096) == 0;
    } else {
        return -EINVAL;
    }
    struct statx more;
    if (statx(descriptor, "", AT_EMPTY_PATH, STATX_DIOALIGN, &more) == 0 &&
        more.stx_mask & STATX_DIOALIGN && more.stx_dio_offset_align > 0) {
        facts->direct_memory_alignment = more.stx_dio_mem_align;
        facts->direct_offset_alignment = more.stx_dio_offset_align;
    }
    return 0;
}

int32_t cairn_device_lock(int32_t descriptor, int32_t is_shared) {
    return RESULT(flock(descriptor, (is_shared ? LOCK_SH : LOCK_EX) | LOCK_NB));
}

void cairn_device_unlock(int32_t descriptor) { (void)flock(descriptor, LOCK_UN); }

int32_t cairn_device_resize(int32_t descriptor, uint64_t size) {
    if (size > INT64_MAX) return -EFBIG;
    return RESULT(ftruncate(descriptor, (off_t)size));
}

/* -- Requests ------------------------------------------------------------------------- */

int64_t cairn_device_read(int32_t descriptor, const void *segments, int32_t count,
                          uint64_t offset) {
    return RESULT(preadv2(descriptor, segments, count, (off_t)offset, 0));
}

int64_t cairn_device_write(int32_t descriptor, const void *segments, int32_t count,
                           uint64_t offset) {
    return RESULT(pwritev2(descriptor, segments, count, (off_t)offset, 0));
}

int32_t cairn_device_sync(int32_t descriptor) { return RESULT(fdatasync(descriptor)); }

int32_t cairn_device_punch_hole(int32_t descriptor, uint64_t offset, uint64_t length) {
    return RESULT(fallocate(descriptor, CAIRN_PUNCH_HOLE, (off_t)offset, (off_t)length));
}

int32_t cairn_device_discard(int32_t descriptor, uint64_t offset, uint64_t length) {
    uint64_t range[2] = {offset, length};
    return RESULT(ioctl(descriptor, BLKDISCARD, range));
}

/* -- The loop ------------------------------------------------------------------------- */

static _Thread_local void *current_loop;

void *cairn_current_loop(void) { return current_loop; }
void cairn_set_current_loop(void *loop) { current_loop = loop; }

int32_t cairn_eventfd_waiting(void) { return RESULT(eventfd(0, EFD_CLOEXEC)); }

int32_t cairn_wait_readable(int32_t descriptor, int64_t timeout_nanoseconds) {
    struct pollfd place = {descriptor, POLLIN, 0};
    struct timespec timeout = {timeout_nanoseconds / 1000000000, timeout_nanoseconds % 1000000000};
    int result = ppoll(&place, 1, timeout_nanoseconds < 0 ? NULL : &timeout, NULL);
    return result < 0 ? -errno : result;
}

/* What CairnIO needs of Linux: files and block devices as devices, and the loop of a thread.
   Every function gives a negative errno where it fails. */
#ifndef CSYSTEM_IO_H
#define CSYSTEM_IO_H

#include <features.h>
#include <stddef.h>
#include <stdint.h>

/* -- Opening -------------------------------------------------------------------------- */

static const int32_t CAIRN_DEVICE_WRITE = 1;     /* O_RDWR, else O_RDONLY */
static const int32_t CAIRN_DEVICE_DIRECT = 2;    /* O_DIRECT */
static const int32_t CAIRN_DEVICE_EXCLUSIVE = 4; /* O_EXCL: nobody else who claims a block device */
static const int32_t CAIRN_DEVICE_CREATE = 8;    /* O_CREAT | O_EXCL, mode 0600 */

/* open(2), closed on exec, never a controlling terminal, never waiting for a FIFO's other end. */
int32_t cairn_device_open(const char *path, int32_t flags);

struct cairn_device_facts {
    uint64_t size;      /* bytes: BLKGETSIZE64, or of the file */
    uint64_t device;    /* st_dev and st_ino: which file it is */
    uint64_t inode;
    uint32_t is_block_device;
    uint32_t is_read_only;            /* BLKROGET */
    uint32_t block_size;              /* BLKSSZGET, or 512 */
    uint32_t direct_memory_alignment; /* statx(2) STATX_DIOALIGN; 0: not known */
    uint32_t direct_offset_alignment;
    uint32_t can_discard; /* a file that is open for writing is tried */
};

/* Looks at an open file. EINVAL for what is neither a regular file nor a block device. */
int32_t cairn_device_describe(int32_t descriptor, struct cairn_device_facts *facts);

/* flock(2), shared or exclusive, without waiting (-EWOULDBLOCK); and its end. */
int32_t cairn_device_lock(int32_t descriptor, int32_t is_shared);
void cairn_device_unlock(int32_t descriptor);

/* ftruncate(2) */
int32_t cairn_device_resize(int32_t descriptor, uint64_t size);

/* -- Requests, as a worker thread carries them out ------------------------------------- */

/* preadv2(2) and pwritev2(2): `segments` is an array of struct iovec. An offset of all ones is the
   file's own position, as on a ring: what a pipe has. */
int64_t cairn_device_read(int32_t descriptor, const void *segments, int32_t count,
                          uint64_t offset);
int64_t cairn_device_write(int32_t descriptor, const void *segments, int32_t count,
                           uint64_t offset);
/* fdatasync(2) */
int32_t cairn_device_sync(int32_t descriptor);
/* fallocate(2) with FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, and those flags. */
int32_t cairn_device_punch_hole(int32_t descriptor, uint64_t offset, uint64_t length);
static const int32_t CAIRN_PUNCH_HOLE = 3;
/* BLKDISCARD */
int32_t cairn_device_discard(int32_t descriptor, uint64_t offset, uint64_t length);

/* -- The loop ------------------------------------------------------------------------- */

/* The reactor whose loop the calling thread is; NULL: none. */
void *cairn_current_loop(void);
void cairn_set_current_loop(void *loop);

/* eventfd(2), closed on exec; reading it waits. */
int32_t cairn_eventfd_waiting(void);

/* Waits until the descriptor can be read: 1, or 0 when the time is over. Below zero: no end. */
int32_t cairn_wait_readable(int32_t descriptor, int64_t timeout_nanoseconds);

#endif

/* What CairnFUSE needs of Linux: mounting, the FUSE device, threads on given processors.
   Every function gives a negative errno where it fails. */
#ifndef CSYSTEM_FUSE_H
#define CSYSTEM_FUSE_H

#include <stdbool.h>
#include <features.h>
#include <stddef.h>
#include <stdint.h>

/* -- Mounting ------------------------------------------------------------------------- */

/* open(2) of /dev/fuse, to read and write, closed on exec. */
int32_t cairn_fuse_open_device(void);

/* mount(2); `flags` are MS_* below. */
int32_t cairn_fuse_mount(const char *source, const char *target, const char *type,
                         uint64_t flags, const char *data);

/* umount2(2); `flags` are MNT_* below. */
int32_t cairn_fuse_unmount(const char *target, int32_t flags);

/* Mounts through the set-user-id program `helper` (fusermount3) and gives the descriptor of
   the FUSE device that it hands back. What it says on stderr goes to `message`. */
int32_t cairn_fuse_mount_by_helper(const char *helper, const char *options, const char *target,
                                   char *message, size_t message_size);

/* Runs `helper -u` (with -z when `lazy`); 0, or -EBUSY and the like, by its exit code. */
int32_t cairn_fuse_unmount_by_helper(const char *helper, const char *target, int32_t lazy,
                                     char *message, size_t message_size);

static const uint64_t CAIRN_MS_RDONLY = 1;
static const uint64_t CAIRN_MS_NOSUID = 2;
static const uint64_t CAIRN_MS_NODEV = 4;
static const uint64_t CAIRN_MS_NOEXEC = 8;
static const uint64_t CAIRN_MS_SYNCHRONOUS = 16;
static const uint64_t CAIRN_MS_NOATIME = 1024;
static const uint64_t CAIRN_MS_NODIRATIME = 2048;
static const uint64_t CAIRN_MS_STRICTATIME = 1 << 24;
static const int32_t CAIRN_MNT_FORCE = 1;
static const int32_t CAIRN_MNT_DETACH = 2;
static const int32_t CAIRN_UMOUNT_NOFOLLOW = 8;

/* -- The device ----------------------------------------------------------------------- */

/* read(2) and write(2), with a negative errno for failures. */
int64_t cairn_read(int32_t descriptor, void *buffer, size_t size);
int64_t cairn_write(int32_t descriptor, const void *buffer, size_t size);

/* A further descriptor of the same connection, with a queue of its own
   (FUSE_DEV_IOC_CLONE). */
int32_t cairn_fuse_clone_device(int32_t descriptor);

/* Mode, and the device number (major << 32 | minor) of the filesystem, of a path. */
int32_t cairn_stat_path(const char *path, uint32_t *mode, uint64_t *device);

/* As cairn_stat_path, but asks no server: what the kernel knows (AT_STATX_DONT_SYNC). */
int32_t cairn_stat_path_cached(const char *path, uint32_t *mode, uint64_t *device);

/* Writes a small text to a file that exists, such as one under /sys. */
int32_t cairn_write_text(const char *path, const char *text);
/* Reads a small file; gives the number of bytes. */
int64_t cairn_read_text(const char *path, char *buffer, size_t size);

int32_t cairn_close(int32_t descriptor);
/* eventfd(2), non-blocking and closed on exec. */
int32_t cairn_eventfd(void);

/* -- Threads -------------------------------------------------------------------------- */

/* Starts a thread that calls `body(context)`; it is to be joined with cairn_thread_join. */
int32_t cairn_thread_start(uint64_t *thread, const char *name, void (*body)(void *),
                           void *context);
void cairn_thread_join(uint64_t thread);
/* Keeps the calling thread on one processor. */
int32_t cairn_thread_pin(int32_t processor);
/* The processors that the calling thread may run on, as a mask; 0 if there are others than the
   first 64. */
uint64_t cairn_thread_processors(void);
/* Keeps the calling thread on these. */
int32_t cairn_thread_confine(uint64_t processors);
/* The processor that a thread of any process ran on last; negative if that cannot be known. */
int32_t cairn_last_processor(uint32_t thread);
/* Gives the calling thread the lowest priority of the normal class. */
int32_t cairn_thread_lowest_priority(void);
/* Whether the processors are a hypervisor's. Known on x86-64; elsewhere false. */
bool cairn_is_virtual_machine(void);
/* Whether a control group (version 2) limits the processor time of this process. */
bool cairn_has_processor_quota(void);
/* Processors that this process may run on; and that the machine can ever have. */
int32_t cairn_processor_count(void);
int32_t cairn_possible_processor_count(void);

#endif

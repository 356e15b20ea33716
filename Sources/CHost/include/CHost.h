/* Calls of the host that only the command needs and that Swift's Glibc module leaves out.
   Results below zero are negative errnos. */
#ifndef CHOST_H
#define CHOST_H

#include <features.h>
#include <stddef.h>
#include <stdint.h>

/* -- Mounts --------------------------------------------------------------------------- */

/* umount2(2) with UMOUNT_NOFOLLOW, MNT_DETACH if `detach`, MNT_FORCE if `force`. */
int32_t cairn_host_unmount(const char *path, int32_t detach, int32_t force);

/* -- Processes ------------------------------------------------------------------------ */

/* pidfd_open(2): readable once the process is gone. */
int32_t cairn_host_open_process(int32_t pid);
/* pidfd_send_signal(2): to that process, and never to one that has its number later. */
int32_t cairn_host_signal_process(int32_t process, int32_t number);
/* The process and user at the other end of a unix socket. */
int32_t cairn_host_peer(int32_t socket, int32_t *pid, uint32_t *user);
/* Closes what was inherited: all descriptors from 3 on but `kept`. */
void cairn_host_close_inherited(int32_t kept);
/* The name that ps(1) and top(1) show of the calling thread; at most 15 bytes. */
void cairn_host_name_thread(const char *name);

/* -- Files ---------------------------------------------------------------------------- */

/* st_dev and st_rdev, as the C library has them, from and to their two numbers. */
uint32_t cairn_host_major(uint64_t device);
uint32_t cairn_host_minor(uint64_t device);
uint64_t cairn_host_device(uint32_t major, uint32_t minor);

/* Extended attributes of the file itself, not of what a symbolic link points to. */
int64_t cairn_host_list_attributes(const char *path, char *buffer, size_t size);
int64_t cairn_host_attribute(const char *path, const char *name, void *buffer, size_t size);
int32_t cairn_host_set_attribute(
    const char *path, const char *name, const void *value, size_t size);

/* -- Times ---------------------------------------------------------------------------- */

/* Seconds since 1970 of a date by a pattern of strptime(3), in local time or UTC.
   -EINVAL unless the whole text is one. */
int32_t cairn_host_parse_time(
    const char *text, const char *pattern, int32_t utc, int64_t *seconds);

#endif

/* System calls that tests make and Swift cannot import. A negative errno where they fail. */
#ifndef CTESTCALLS_H
#define CTESTCALLS_H

#include <features.h>
#include <stddef.h>
#include <stdint.h>

int32_t cairn_test_rename(const char *old_path, const char *new_path, uint32_t flags);
int32_t cairn_test_fallocate(int32_t file, int32_t mode, int64_t offset, int64_t length);
int64_t cairn_test_copy_range(int32_t source, int64_t from, int32_t target, int64_t to,
                              size_t length);
int32_t cairn_test_open_temporary(const char *directory, uint32_t mode);
int32_t cairn_test_link_file(int32_t file, const char *path);
int64_t cairn_test_birth_seconds(const char *path);
int32_t cairn_test_set_attribute(const char *path, const char *name, const void *value,
                                 size_t size, int32_t flags);
int64_t cairn_test_get_attribute(const char *path, const char *name, void *value, size_t size);
int64_t cairn_test_list_attributes(const char *path, char *list, size_t size);
int32_t cairn_test_remove_attribute(const char *path, const char *name);
int32_t cairn_test_get_flags(const char *path, uint32_t *flags);
int32_t cairn_test_set_flags(const char *path, uint32_t flags);
/* F_SETLK (or F_OFD_SETLK) of the whole file: type 0 read, 1 write, 2 unlock. */
int32_t cairn_test_lock(int32_t file, int32_t type, int32_t by_description);
/* Forks; the child takes the lock without waiting and exits; gives what its call gave. */
int32_t cairn_test_lock_in_child(const char *path, int32_t type);
/* Runs a program to its end; its exit code. */
int32_t cairn_test_run(const char *program, const char *argument);
/* Forks a child with user and group `id`, which opens the path; what open gave. */
int32_t cairn_test_open_as(const char *path, int32_t flags, uint32_t id);
/* Makes SIGUSR1 interrupt calls. */
void cairn_test_catch_signal(void);

/* From now on io_uring_setup(2) fails with EPERM for the calling thread and those that it starts
   (seccomp(2)). */
int32_t cairn_test_refuse_rings(void);

/* -- Calls that a supervisor answers (seccomp_unotify(2)) ------------------------------- */

enum {
    CAIRN_TEST_EVENTFD,
    CAIRN_TEST_RING_SETUP,
    CAIRN_TEST_RING_ENTER,
    CAIRN_TEST_RING_REGISTER,
    CAIRN_TEST_MAP_RING,
    CAIRN_TEST_MAP_STACK,
    CAIRN_TEST_CLONE,
    CAIRN_TEST_OPEN,
    CAIRN_TEST_STATUS,
    CAIRN_TEST_LOCK,
    CAIRN_TEST_TRUNCATE,
    CAIRN_TEST_ALLOCATE,
    CAIRN_TEST_READ,
    CAIRN_TEST_WRITE,
    CAIRN_TEST_SYNC,
    CAIRN_TEST_POLL,
};
/* From now on calls of these kinds (a bit each) of the calling thread, and of the threads that it
   starts, wait for an answer. Gives the descriptor of who answers, which those threads must not be
   the last to have. */
int32_t cairn_test_supervise(uint32_t calls);
/* From now on the calling thread, and those that it starts, have a table of descriptors of their
   own, with 0, 1 and 2. */
int32_t cairn_test_own_descriptors(void);

struct cairn_test_call {
    uint64_t id;
    int32_t kind;
};
/* 1: `call` waits for an answer. 0: none came in that time. -EPIPE: all those threads have ended. */
int32_t cairn_test_next_call(int32_t listener, int32_t milliseconds, struct cairn_test_call *call);
/* 0: the kernel carries it out; else it fails with that errno. */
void cairn_test_answer_call(int32_t listener, uint64_t id, int32_t error);

/* Makes a block device (loop(4)) of a file; its path goes to `device`. */
int32_t cairn_test_loop_attach(const char *path, uint32_t block_size, char *device, size_t size);
int32_t cairn_test_loop_detach(const char *device);

#endif

/* System calls of one thread, and of those that it starts, that another answers: with an error, or
   by letting the kernel carry them out. What fails so fails as the kernel would have it fail, also
   inside of libraries, and nothing in the tested code knows. */

#include "CTestCalls.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct {
    uint32_t number;
    int32_t call;
} watched[] = {
    {SYS_eventfd2, CAIRN_TEST_EVENTFD},
    {SYS_io_uring_setup, CAIRN_TEST_RING_SETUP},
    {SYS_io_uring_enter, CAIRN_TEST_RING_ENTER},
    {SYS_io_uring_register, CAIRN_TEST_RING_REGISTER},
    {SYS_clone3, CAIRN_TEST_CLONE},
    {SYS_clone, CAIRN_TEST_CLONE},
    {SYS_openat, CAIRN_TEST_OPEN},
    {SYS_newfstatat, CAIRN_TEST_STATUS},
    {SYS_statx, CAIRN_TEST_STATUS},
    {SYS_flock, CAIRN_TEST_LOCK},
    {SYS_ftruncate, CAIRN_TEST_TRUNCATE},
    {SYS_fallocate, CAIRN_TEST_ALLOCATE},
    {SYS_preadv2, CAIRN_TEST_READ},
    {SYS_pwritev2, CAIRN_TEST_WRITE},
    {SYS_fdatasync, CAIRN_TEST_SYNC},
    {SYS_ppoll, CAIRN_TEST_POLL},
};
#define WATCHED (sizeof watched / sizeof *watched)

int32_t cairn_test_supervise(uint32_t calls) {
    struct sock_filter filter[2 * WATCHED + 6], *next = filter;
    *next++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                           offsetof(struct seccomp_data, nr));
    for (size_t index = 0; index < WATCHED; index++) {
        if (!(calls >> watched[index].call & 1)) continue;
        *next++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
                                               watched[index].number, 0, 1);
        *next++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
    }
    /* mmap(2) of a ring or of a thread's stack; what else is mapped is the language's own memory,
       which does not outlive a failure. */
    uint32_t mapping = (calls >> CAIRN_TEST_MAP_RING & 1 ? MAP_SHARED : 0) |
                       (calls >> CAIRN_TEST_MAP_STACK & 1 ? MAP_STACK : 0);
    *next++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 3);
    /* The lower half of the flags: both kinds of machine that there are store it first. */
    *next++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                           offsetof(struct seccomp_data, args[3]));
    *next++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, mapping, 0, 1);
    *next++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
    *next++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);

    struct sock_fprog program = {(unsigned short)(next - filter), filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return -errno;
    int listener = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                                SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    return listener < 0 ? -errno : listener;
}

int32_t cairn_test_own_descriptors(void) {
    return syscall(SYS_close_range, 3, ~0u, 1u << 1 /* CLOSE_RANGE_UNSHARE */) < 0 ? -errno : 0;
}

static int32_t kind_of(const struct seccomp_data *data) {
    if (data->nr == SYS_mmap)
        return data->args[3] & MAP_STACK ? CAIRN_TEST_MAP_STACK : CAIRN_TEST_MAP_RING;
    for (size_t index = 0; index < WATCHED; index++)
        if (watched[index].number == (uint32_t)data->nr) return watched[index].call;
    return -1;
}

int32_t cairn_test_next_call(int32_t listener, int32_t milliseconds,
                             struct cairn_test_call *call) {
    struct pollfd place = {listener, POLLIN, 0};
    int ready = poll(&place, 1, milliseconds);
    if (ready <= 0) return ready < 0 && errno != EINTR ? -errno : 0;
    if (!(place.revents & POLLIN)) return -EPIPE;
    struct seccomp_notif notice;
    memset(&notice, 0, sizeof notice);
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &notice) < 0)
        return errno == EINTR || errno == ENOENT ? 0 : -errno;
    call->id = notice.id;
    call->kind = kind_of(&notice.data);
    return 1;
}

void cairn_test_answer_call(int32_t listener, uint64_t id, int32_t error) {
    struct seccomp_notif_resp answer = {
        .id = id,
        .error = -error,
        .flags = error == 0 ? SECCOMP_USER_NOTIF_FLAG_CONTINUE : 0,
    };
    (void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
}

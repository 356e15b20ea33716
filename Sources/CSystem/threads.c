#include "CSystem.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

_Static_assert(offsetof(struct cairn_thread_slot, announced) == CAIRN_THREAD_SLOT_SHARED, "");
_Static_assert(offsetof(struct cairn_thread_slot, is_taken) == CAIRN_THREAD_SLOT_SHARED + 8, "");
_Static_assert(offsetof(struct cairn_thread_slot, read_locks) == CAIRN_THREAD_SLOT_SHARED + 16, "");

_Thread_local struct cairn_thread_slot *cairn_thread_slot_value;
static pthread_key_t exit_key;
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;

static void thread_ends(void *value) {
    cairn_thread_slot_value = NULL;
    struct cairn_thread_slot *slot = value;
    atomic_store((_Atomic uint64_t *)&slot->is_taken, 0);
}

static void make_exit_key(void) { (void)pthread_key_create(&exit_key, thread_ends); }

void cairn_set_thread_slot(struct cairn_thread_slot *slot) {
    pthread_once(&exit_once, make_exit_key);
    cairn_thread_slot_value = slot;
    (void)pthread_setspecific(exit_key, slot);
}

int32_t cairn_gettid(void) { return (int32_t)syscall(SYS_gettid); }

int32_t cairn_futex_wait(const uint32_t *word, uint32_t expected, int64_t timeout_nanoseconds) {
    struct timespec timeout = {timeout_nanoseconds / 1000000000, timeout_nanoseconds % 1000000000};
    long result = syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected,
                          timeout_nanoseconds < 0 ? NULL : &timeout, NULL, 0);
    return result < 0 ? -errno : 0;
}

int32_t cairn_futex_wake(const uint32_t *word, int32_t count) {
    long result = syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
    return result < 0 ? -errno : (int32_t)result;
}

#include "CSystem.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static _Thread_local void *thread_value;
static pthread_key_t exit_key;
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;
static _Atomic(void (*)(void *)) exit_handler;

static void thread_ends(void *value) {
    void (*handler)(void *) = atomic_load(&exit_handler);
    thread_value = NULL;
    if (handler != NULL) handler(value);
}

static void make_exit_key(void) { (void)pthread_key_create(&exit_key, thread_ends); }

void *cairn_thread_value(void) { return thread_value; }

void cairn_thread_set_value(void *value) {
    pthread_once(&exit_once, make_exit_key);
    thread_value = value;
    (void)pthread_setspecific(exit_key, value);
}

void cairn_thread_exit_handler(void (*at_exit)(void *)) { atomic_store(&exit_handler, at_exit); }

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

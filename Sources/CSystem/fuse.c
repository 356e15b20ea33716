#include "CSystem.h"

#include <errno.h>
#include <fcntl.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

int32_t cairn_fuse_open_device(void) {
    int descriptor = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    return descriptor < 0 ? -errno : descriptor;
}

int32_t cairn_fuse_mount(const char *source, const char *target, const char *type,
                         uint64_t flags, const char *data) {
    return mount(source, target, type, flags, data) < 0 ? -errno : 0;
}

int32_t cairn_fuse_unmount(const char *target, int32_t flags) {
    return umount2(target, flags) < 0 ? -errno : 0;
}

/* Reads all that comes from `descriptor` into `message`, cut where it is too long. */
static void collect(int descriptor, char *message, size_t size) {
    size_t filled = 0;
    char chunk[512];
    while (1) {
        ssize_t count = read(descriptor, chunk, sizeof chunk);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) break;
        size_t fits = size - 1 - filled < (size_t)count ? size - 1 - filled : (size_t)count;
        memcpy(message + filled, chunk, fits);
        filled += fits;
    }
    message[filled] = 0;
}

/* Starts a program with stderr going to `error_pipe` and, if `channel` is a descriptor, that
   descriptor kept open and named by _FUSE_COMMFD. */
static int start_helper(pid_t *child, const char *helper, char *const arguments[],
                        int error_pipe, int channel) {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, error_pipe, STDERR_FILENO);

    size_t count = 0;
    while (environ[count] != NULL) count++;
    char **environment = calloc(count + 2, sizeof *environment);
    if (environment == NULL) return ENOMEM;
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (strncmp(environ[i], "_FUSE_COMMFD=", 13) != 0) environment[kept++] = environ[i];
    }
    char variable[40];
    if (channel >= 0) {
        snprintf(variable, sizeof variable, "_FUSE_COMMFD=%d", channel);
        environment[kept++] = variable;
    }
    int result = posix_spawnp(child, helper, &actions, NULL, arguments, environment);
    free(environment);
    posix_spawn_file_actions_destroy(&actions);
    return result;
}

static int wait_for(pid_t child) {
    int status = 0;
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) return -1;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Receives one descriptor; -1 if the other side closed without sending one. */
static int receive_descriptor(int channel) {
    char byte;
    struct iovec part = {&byte, 1};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {0};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.space;
    message.msg_controllen = sizeof control.space;
    ssize_t count;
    do {
        count = recvmsg(channel, &message, MSG_CMSG_CLOEXEC);
    } while (count < 0 && errno == EINTR);
    if (count <= 0) return -1;
    struct cmsghdr *first = CMSG_FIRSTHDR(&message);
    if (first == NULL || first->cmsg_level != SOL_SOCKET || first->cmsg_type != SCM_RIGHTS ||
        first->cmsg_len < CMSG_LEN(sizeof(int))) {
        return -1;
    }
    int descriptor;
    memcpy(&descriptor, CMSG_DATA(first), sizeof descriptor);
    return descriptor;
}

int32_t cairn_fuse_mount_by_helper(const char *helper, const char *options, const char *target,
                                   char *message, size_t message_size) {
    int channel[2], errors[2];
    message[0] = 0;
    if (socketpair(PF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) < 0) return -errno;
    if (pipe2(errors, O_CLOEXEC) < 0) {
        int error = errno;
        close(channel[0]);
        close(channel[1]);
        return -error;
    }
    (void)fcntl(channel[0], F_SETFD, 0);
    char *const arguments[] = {(char *)helper, "-o", (char *)options, "--", (char *)target, NULL};
    pid_t child;
    int error = start_helper(&child, helper, arguments, errors[1], channel[0]);
    close(channel[0]);
    close(errors[1]);
    int descriptor = -1;
    if (error == 0) {
        descriptor = receive_descriptor(channel[1]);
        collect(errors[0], message, message_size);
        (void)wait_for(child);
    }
    close(channel[1]);
    close(errors[0]);
    if (error != 0) return -error;
    return descriptor < 0 ? -EPERM : descriptor;
}

int32_t cairn_fuse_unmount_by_helper(const char *helper, const char *target, int32_t lazy,
                                     char *message, size_t message_size) {
    int errors[2];
    message[0] = 0;
    if (pipe2(errors, O_CLOEXEC) < 0) return -errno;
    char *const plain[] = {(char *)helper, "-u", "--", (char *)target, NULL};
    char *const detached[] = {(char *)helper, "-u", "-z", "--", (char *)target, NULL};
    pid_t child;
    int error = start_helper(&child, helper, lazy ? detached : plain, errors[1], -1);
    close(errors[1]);
    int status = -1;
    if (error == 0) {
        collect(errors[0], message, message_size);
        status = wait_for(child);
    }
    close(errors[0]);
    if (error != 0) return -error;
    if (status == 0) return 0;
    return strstr(message, "busy") != NULL ? -EBUSY : -EPERM;
}

int64_t cairn_read(int32_t descriptor, void *buffer, size_t size) {
    ssize_t count = read(descriptor, buffer, size);
    return count < 0 ? -errno : count;
}

int64_t cairn_write(int32_t descriptor, const void *buffer, size_t size) {
    ssize_t count = write(descriptor, buffer, size);
    return count < 0 ? -errno : count;
}

int32_t cairn_fuse_clone_device(int32_t descriptor) {
    int clone = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (clone < 0) return -errno;
    uint32_t source = (uint32_t)descriptor;
    /* FUSE_DEV_IOC_CLONE of linux/fuse.h */
    if (ioctl(clone, _IOR(229, 0, uint32_t), &source) < 0) {
        int error = errno;
        close(clone);
        return -error;
    }
    return clone;
}

static int32_t stat_with(const char *path, int how, uint32_t *mode, uint64_t *device) {
    struct statx status;
    if (statx(AT_FDCWD, path, how, STATX_TYPE | STATX_MODE, &status) < 0) return -errno;
    *mode = status.stx_mode;
    *device = ((uint64_t)status.stx_dev_major << 32) | status.stx_dev_minor;
    return 0;
}

int32_t cairn_stat_path(const char *path, uint32_t *mode, uint64_t *device) {
    return stat_with(path, 0, mode, device);
}

int32_t cairn_stat_path_cached(const char *path, uint32_t *mode, uint64_t *device) {
    return stat_with(path, AT_STATX_DONT_SYNC, mode, device);
}

int32_t cairn_write_text(const char *path, const char *text) {
    int descriptor = open(path, O_WRONLY | O_CLOEXEC);
    if (descriptor < 0) return -errno;
    ssize_t count = write(descriptor, text, strlen(text));
    int error = errno;
    close(descriptor);
    return count < 0 ? -error : 0;
}

int64_t cairn_read_text(const char *path, char *buffer, size_t size) {
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return -errno;
    ssize_t count = read(descriptor, buffer, size);
    int error = errno;
    close(descriptor);
    return count < 0 ? -error : count;
}

int32_t cairn_close(int32_t descriptor) { return close(descriptor) < 0 ? -errno : 0; }

int32_t cairn_eventfd(void) {
    int descriptor = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return descriptor < 0 ? -errno : descriptor;
}

struct start {
    void (*body)(void *);
    void *context;
    char name[16];
};

static void *run_thread(void *argument) {
    struct start start = *(struct start *)argument;
    free(argument);
    (void)pthread_setname_np(pthread_self(), start.name);
    start.body(start.context);
    return NULL;
}

int32_t cairn_thread_start(uint64_t *thread, const char *name, void (*body)(void *),
                           void *context) {
    struct start *start = calloc(1, sizeof *start);
    if (start == NULL) return -ENOMEM;
    start->body = body;
    start->context = context;
    strncpy(start->name, name, sizeof start->name - 1);

    /* Signals are the affair of the program's own threads. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t handle;
    int error = pthread_create(&handle, NULL, run_thread, start);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        free(start);
        return -error;
    }
    *thread = (uint64_t)handle;
    return 0;
}

void cairn_thread_join(uint64_t thread) { (void)pthread_join((pthread_t)thread, NULL); }

int32_t cairn_thread_pin(int32_t processor) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    return sched_setaffinity(0, sizeof set, &set) < 0 ? -errno : 0;
}

uint64_t cairn_thread_processors(void) {
    cpu_set_t set;
    uint64_t mask = 0;
    if (sched_getaffinity(0, sizeof set, &set) < 0) return 0;
    for (int processor = 0; processor < 64; processor++)
        if (CPU_ISSET(processor, &set)) mask |= 1ull << processor;
    return CPU_COUNT(&set) == __builtin_popcountll(mask) ? mask : 0;
}

int32_t cairn_thread_confine(uint64_t processors) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int processor = 0; processor < 64; processor++)
        if (processors >> processor & 1) CPU_SET(processor, &set);
    return sched_setaffinity(0, sizeof set, &set) < 0 ? -errno : 0;
}

int32_t cairn_last_processor(uint32_t thread) {
    char path[32], text[1024] = {0};
    snprintf(path, sizeof path, "/proc/%u/stat", thread);
    if (thread == 0 || cairn_read_text(path, text, sizeof text - 1) <= 0) return -ENOENT;
    /* Field 39; the second is a name in parentheses, which may contain anything. */
    char *field = strrchr(text, ')');
    for (int number = 2; field != NULL && number < 39; number++) {
        field = strchr(field + 1, ' ');
    }
    return field == NULL ? -ENOENT : (int32_t)strtol(field, NULL, 10);
}

int32_t cairn_thread_lowest_priority(void) {
    /* Linux keeps the value for each thread. */
    return setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 19) < 0 ? -errno : 0;
}

bool cairn_is_virtual_machine(void) {
#if defined(__x86_64__)
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & (1u << 31)) != 0;
#else
    return false;
#endif
}

bool cairn_has_processor_quota(void) {
    char groups[4096] = {0};
    if (cairn_read_text("/proc/self/cgroup", groups, sizeof groups - 1) <= 0) return false;
    char *path = strstr(groups, "0::/");
    if (path == NULL) return false;
    path += 3;
    path[strcspn(path, "\n")] = 0;
    /* The limits of all groups above hold as well. */
    for (;;) {
        char file[4200], text[64] = {0};
        snprintf(file, sizeof file, "/sys/fs/cgroup%s/cpu.max", path);
        if (cairn_read_text(file, text, sizeof text - 1) > 0 && strncmp(text, "max", 3) != 0)
            return true;
        char *last = strrchr(path, '/');
        if (last == NULL) return false;
        *last = 0;
    }
}

int32_t cairn_processor_count(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) < 0) return 1;
    return CPU_COUNT(&set);
}

/* The kernel's num_possible_cpus(), which is what FUSE makes queues for: the last number of
   "0-3" and the like, plus one. */
int32_t cairn_possible_processor_count(void) {
    char text[64] = {0};
    if (cairn_read_text("/sys/devices/system/cpu/possible", text, sizeof text - 1) > 0) {
        char *last = strpbrk(text, "-,") != NULL ? text + strlen(text) : text;
        while (last > text && last[-1] != '-' && last[-1] != ',') last--;
        long value = strtol(last, NULL, 10);
        if (value >= 0 && value < 4096) return (int32_t)value + 1;
    }
    return get_nprocs_conf();
}

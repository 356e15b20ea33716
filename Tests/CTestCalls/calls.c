#include "CTestCalls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define RESULT(call)                                                                           \
    ({                                                                                         \
        __typeof__(call) value_ = (call);                                                      \
        value_ < 0 ? -errno : value_;                                                          \
    })

int32_t cairn_test_rename(const char *old_path, const char *new_path, uint32_t flags) {
    return RESULT(renameat2(AT_FDCWD, old_path, AT_FDCWD, new_path, flags));
}

int32_t cairn_test_fallocate(int32_t file, int32_t mode, int64_t offset, int64_t length) {
    return RESULT(fallocate(file, mode, offset, length));
}

int64_t cairn_test_copy_range(int32_t source, int64_t from, int32_t target, int64_t to,
                              size_t length) {
    loff_t in = from, out = to;
    return RESULT(copy_file_range(source, &in, target, &out, length, 0));
}

int32_t cairn_test_open_temporary(const char *directory, uint32_t mode) {
    return RESULT(open(directory, O_TMPFILE | O_RDWR, mode));
}

int32_t cairn_test_link_file(int32_t file, const char *path) {
    char source[40];
    snprintf(source, sizeof source, "/proc/self/fd/%d", file);
    return RESULT(linkat(AT_FDCWD, source, AT_FDCWD, path, AT_SYMLINK_FOLLOW));
}

int64_t cairn_test_birth_seconds(const char *path) {
    struct statx status;
    if (statx(AT_FDCWD, path, 0, STATX_BTIME, &status) < 0) return -errno;
    return status.stx_mask & STATX_BTIME ? status.stx_btime.tv_sec : 0;
}

int32_t cairn_test_set_attribute(const char *path, const char *name, const void *value,
                                 size_t size, int32_t flags) {
    return RESULT(setxattr(path, name, value, size, flags));
}

int64_t cairn_test_get_attribute(const char *path, const char *name, void *value, size_t size) {
    return RESULT(getxattr(path, name, value, size));
}

int64_t cairn_test_list_attributes(const char *path, char *list, size_t size) {
    return RESULT(listxattr(path, list, size));
}

int32_t cairn_test_remove_attribute(const char *path, const char *name) {
    return RESULT(removexattr(path, name));
}

static int32_t file_flags(const char *path, unsigned long request, uint32_t *flags) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return -errno;
    int32_t result = RESULT(ioctl(file, request, flags));
    close(file);
    return result;
}

int32_t cairn_test_get_flags(const char *path, uint32_t *flags) {
    return file_flags(path, FS_IOC_GETFLAGS, flags);
}

int32_t cairn_test_set_flags(const char *path, uint32_t flags) {
    return file_flags(path, FS_IOC_SETFLAGS, &flags);
}

int32_t cairn_test_lock(int32_t file, int32_t type, int32_t by_description) {
    struct flock lock = {.l_type = (short)type, .l_whence = SEEK_SET};
    return RESULT(fcntl(file, by_description ? F_OFD_SETLK : F_SETLK, &lock));
}

/* A child reports a small number, negative or not, by its exit code. */
static int32_t child_result(pid_t child) {
    int status = 0;
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) return -errno;
    }
    return WIFEXITED(status) ? -WEXITSTATUS(status) : -255;
}

int32_t cairn_test_lock_in_child(const char *path, int32_t type) {
    pid_t child = fork();
    if (child == 0) {
        int file = open(path, O_RDWR);
        if (file < 0) _exit(errno);
        _exit(-cairn_test_lock(file, type, 0));
    }
    return child_result(child);
}

int32_t cairn_test_open_as(const char *path, int32_t flags, uint32_t id) {
    pid_t child = fork();
    if (child == 0) {
        if (setresgid(id, id, id) < 0 || setresuid(id, id, id) < 0) _exit(254);
        _exit(open(path, flags) < 0 ? errno : 0);
    }
    return child_result(child);
}

int32_t cairn_test_run(const char *program, const char *argument) {
    char *const arguments[] = {(char *)program, (char *)argument, NULL};
    pid_t child;
    int error = posix_spawn(&child, program, NULL, NULL, arguments, NULL);
    return error != 0 ? -error : child_result(child);
}

static void ignore(int number) { (void)number; }

void cairn_test_catch_signal(void) {
    struct sigaction action = {.sa_handler = ignore};
    sigaction(SIGUSR1, &action, NULL);
}

int32_t cairn_test_refuse_rings(void) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return -errno;
    return RESULT((int32_t)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
}

int32_t cairn_test_loop_attach(const char *path, uint32_t block_size, char *device, size_t size) {
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (control < 0) return -errno;
    int number = ioctl(control, LOOP_CTL_GET_FREE);
    int error = errno;
    close(control);
    if (number < 0) return -error;
    snprintf(device, size, "/dev/loop%d", number);
    int file = open(path, O_RDWR | O_CLOEXEC), loop = open(device, O_RDWR | O_CLOEXEC);
    struct loop_config config = {.fd = (uint32_t)file, .block_size = block_size};
    int32_t result = file < 0 || loop < 0 ? -errno : RESULT(ioctl(loop, LOOP_CONFIGURE, &config));
    if (file >= 0) close(file);
    if (loop >= 0) close(loop);
    return result;
}

int32_t cairn_test_loop_detach(const char *device) {
    int loop = open(device, O_RDWR | O_CLOEXEC);
    if (loop < 0) return -errno;
    int32_t result = RESULT(ioctl(loop, LOOP_CLR_FD));
    close(loop);
    return result;
}

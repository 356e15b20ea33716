#include "CSystem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int32_t cairn_memory_file(const char *name, uint64_t size) {
    int descriptor = memfd_create(name, MFD_CLOEXEC);
    if (descriptor < 0) return -errno;
    if (ftruncate(descriptor, (off_t)size) != 0) {
        int error = errno;
        close(descriptor);
        return -error;
    }
    return descriptor;
}

void *cairn_map_shared(int32_t descriptor, size_t size) {
    void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    return base == MAP_FAILED ? NULL : base;
}

void *cairn_memory_reserve(size_t size) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *base = mmap(NULL, size, PROT_NONE, flags, -1, 0);
    return base == MAP_FAILED ? NULL : base;
}

int32_t cairn_memory_unmap_reserved(void *address, size_t size) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
    return mmap(address, size, PROT_NONE, flags, -1, 0) == MAP_FAILED ? -errno : 0;
}

int32_t cairn_map_at(void *address, size_t size, int32_t descriptor, uint64_t offset,
                     int32_t protection, int32_t is_shared) {
    int flags = (is_shared ? MAP_SHARED : MAP_PRIVATE) | MAP_FIXED;
    void *base = mmap(address, size, protection, flags, descriptor, (off_t)offset);
    return base == MAP_FAILED ? -errno : 0;
}

int32_t cairn_memory_protect(void *address, size_t size, int32_t protection) {
    return mprotect(address, size, protection) == 0 ? 0 : -errno;
}

int32_t cairn_memory_file_punch(int32_t descriptor, uint64_t offset, uint64_t length) {
    int flags = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    return fallocate(descriptor, flags, (off_t)offset, (off_t)length) == 0 ? 0 : -errno;
}

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
/* Words at a time, because calls of memcpy are looked at in any case. */
__attribute__((no_sanitize("thread"))) void cairn_copy_racing(void *target, const void *source,
                                                              size_t size) {
    uint8_t *to = target;
    const volatile uint8_t *from = source;
    for (size_t at = 0; at < size; at++) to[at] = from[at];
}
#define CAIRN_COPY_RACING
#endif
#endif

#ifndef CAIRN_COPY_RACING
void cairn_copy_racing(void *target, const void *source, size_t size) {
    memcpy(target, source, size);
}
#endif

#include "CSystem.h"

#include <errno.h>
#include <malloc.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>

void cairn_clock_realtime_coarse(int64_t *seconds, uint32_t *nanoseconds) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    *seconds = now.tv_sec;
    *nanoseconds = (uint32_t)now.tv_nsec;
}

uint64_t cairn_clock_monotonic(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int32_t cairn_getrandom(void *buffer, size_t size) {
    size_t done = 0;
    while (done < size) {
        ssize_t n = getrandom((char *)buffer + done, size - done, 0);
        if (n < 0 && errno != EINTR) return -errno;
        if (n > 0) done += (size_t)n;
    }
    return 0;
}

void *cairn_map_anonymous(size_t size, size_t alignment, int32_t huge) {
    size_t span = size + alignment;
    char *base = mmap(NULL, span, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) return NULL;
    char *aligned = (char *)(((uintptr_t)base + alignment - 1) & ~(uintptr_t)(alignment - 1));
    if (aligned > base) munmap(base, (size_t)(aligned - base));
    char *end = base + span;
    if (aligned + size < end) munmap(aligned + size, (size_t)(end - (aligned + size)));
    if (huge) (void)madvise(aligned, size, MADV_HUGEPAGE);
    return aligned;
}

void cairn_unmap(void *address, size_t size) { munmap(address, size); }

void cairn_zero_pages(void *address, size_t size) {
    uintptr_t start = (uintptr_t)address, end = start + size;
    uintptr_t first = (start + 4095) & ~(uintptr_t)4095, last = end & ~(uintptr_t)4095;
    if (first >= last || madvise((void *)first, last - first, MADV_DONTNEED) != 0) {
        memset(address, 0, size);
        return;
    }
    memset(address, 0, first - start);
    memset((void *)last, 0, end - last);
}

void cairn_release_heap(void) { malloc_trim(0); }

/* What Swift needs from Linux and cannot import: calls that Glibc's module map leaves out,
   constants that are macros over expressions, thread-local storage. Fixed-size types only. */
#ifndef CSYSTEM_H
#define CSYSTEM_H

#include <features.h>
#include <stddef.h>
#include <stdint.h>

/* -- Threads -------------------------------------------------------------------------- */

enum {
    CAIRN_THREAD_SLOT_SHARED = 64, /* the offset of what others read */
    CAIRN_THREAD_READ_LOCKS = 4,
};

/* What each thread has: CairnBase's ThreadSlot. Slots are never freed, but used again by a later
   thread. The first cache line is the thread's own; the second is read by others, as atomics. */
struct cairn_thread_slot {
    int64_t depth;
    int64_t index;
    uint32_t tick;
    uint32_t has_deferred;
    uint64_t next_identity; /* those up to identity_end are the thread's to give out */
    uint64_t identity_end;
    void *belongings; /* what the thread has put off; kept for as long as the slot */
    uint32_t read_lock_count; /* how many of read_locks are in use */
    uint32_t padding;
    struct cairn_thread_slot *next; /* of all slots; never changes once it is entered */
    uint64_t announced;             /* epoch of the open section, 0: none */
    uint64_t is_taken;
    uint64_t read_locks[CAIRN_THREAD_READ_LOCKS]; /* see ReadWriteLock; 0: none */
    uint64_t more_padding[2];
};

extern _Thread_local struct cairn_thread_slot *cairn_thread_slot_value;

static inline struct cairn_thread_slot *cairn_thread_slot(void) { return cairn_thread_slot_value; }

/* Gives the thread its slot; `is_taken` is cleared when the thread ends. */
void cairn_set_thread_slot(struct cairn_thread_slot *slot);
int32_t cairn_gettid(void);

/* Tells the processor that this is a spin loop. */
static inline void cairn_spin_hint(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* futex(2), private. Returns 0 or a negative errno. A timeout below zero means none. */
int32_t cairn_futex_wait(const uint32_t *word, uint32_t expected, int64_t timeout_nanoseconds);
int32_t cairn_futex_wake(const uint32_t *word, int32_t count);

/* -- Clocks and random numbers -------------------------------------------------------- */

/* clock_gettime(2) of CLOCK_REALTIME_COARSE, and of CLOCK_MONOTONIC in nanoseconds. */
void cairn_clock_realtime_coarse(int64_t *seconds, uint32_t *nanoseconds);
uint64_t cairn_clock_monotonic(void);
int32_t cairn_getrandom(void *buffer, size_t size);

/* -- Memory --------------------------------------------------------------------------- */

/* Anonymous memory, aligned to `alignment` (a power of two ≥ 4096); `huge` asks for
   transparent huge pages. NULL where there is none. */
void *cairn_map_anonymous(size_t size, size_t alignment, int32_t huge);
void cairn_unmap(void *address, size_t size);
/* Makes a range read as zeros; gives whole pages back to the system. */
void cairn_zero_pages(void *address, size_t size);
void cairn_release_heap(void); /* malloc_trim(0) */

/* -- Checksums ------------------------------------------------------------------------ */

/* CRC32C of the bytes, going on from that of what stands before them (0: nothing does). */
uint32_t cairn_crc32c(uint32_t checksum, const void *bytes, size_t size);
/* The same without the processor's instruction, for machines that lack it. */
uint32_t cairn_crc32c_by_tables(uint32_t checksum, const void *bytes, size_t size);

#include "CSystemFUSE.h"
#include "CSystemIO.h"
#include "CSystemMemory.h"

#endif

/* Memory that is a file without a name, so that it can be mapped more than once: what the page
   cache's pages stand in. Every function gives a negative errno where it fails. */
#ifndef CSYSTEM_MEMORY_H
#define CSYSTEM_MEMORY_H

#include <features.h>
#include <stddef.h>
#include <stdint.h>

/* memfd_create(2), closed on exec, and ftruncate(2). Gives the descriptor. */
int32_t cairn_memory_file(const char *name, uint64_t size);

/* mmap(2) of its first `size` bytes, shared, readable and writable. NULL where that fails. */
void *cairn_map_shared(int32_t descriptor, size_t size);

/* Addresses without memory: whoever touches them gets SIGSEGV. NULL where there are none. */
void *cairn_memory_reserve(size_t size);

/* Makes addresses that were reserved that again, whatever was mapped there. */
int32_t cairn_memory_unmap_reserved(void *address, size_t size);

/* mmap(2) with MAP_FIXED, over addresses that were reserved. `protection`: PROT_READ 1, PROT_WRITE 2. */
int32_t cairn_map_at(void *address, size_t size, int32_t descriptor, uint64_t offset,
                     int32_t protection, int32_t is_shared);

/* mprotect(2) */
int32_t cairn_memory_protect(void *address, size_t size, int32_t protection);

/* Takes memory out of the file; it reads as zeros from then on. */
int32_t cairn_memory_file_punch(int32_t descriptor, uint64_t offset, uint64_t length);

/* memcpy(3) of bytes that somebody may be writing: the caller finds out afterwards, and then makes nothing
   of them. ThreadSanitizer is told not to look. */
void cairn_copy_racing(void *target, const void *source, size_t size);

#endif

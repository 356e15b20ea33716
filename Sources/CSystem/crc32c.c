/* CRC32C (Castagnoli), with the processor's instruction where there is one.

   The instruction has a latency of three cycles and starts one each cycle, so three streams run side
   by side: a block of 3 × N bytes is taken as three pieces, whose remainders are joined at its end.
   Joining means to shift a remainder by N bytes of zeros, which is linear: four lookups in a table
   made for that N. (Mark Adler's crc32c.c; V. Gopal et al., "Fast CRC Computation for iSCSI
   Polynomial Using CRC32 Instruction", Intel 2011.)

   Without the instruction: eight tables, eight bytes a turn. */
#include "CSystem.h"

#include <string.h>

static const uint32_t polynomial = 0x82f63b78; /* 0x1EDC6F41, reflected */

/* What a metadata block of 4096 bytes leaves after its checksum field fits one long block. */
enum { LONG_PIECE = 1344, SHORT_PIECE = 168 };

static uint32_t byte_tables[8][256];
static uint32_t long_shift[4][256], short_shift[4][256];
static int32_t has_instruction;

static uint32_t shift_by_zeros(uint32_t remainder, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        remainder = (remainder >> 8) ^ byte_tables[0][remainder & 0xff];
    return remainder;
}

static void make_shift(uint32_t table[4][256], size_t bytes) {
    uint32_t bits[32];
    for (int bit = 0; bit < 32; bit++) bits[bit] = shift_by_zeros((uint32_t)1 << bit, bytes);
    for (int byte = 0; byte < 4; byte++) {
        for (int value = 0; value < 256; value++) {
            uint32_t sum = 0;
            for (int bit = 0; bit < 8; bit++)
                if (value >> bit & 1) sum ^= bits[byte * 8 + bit];
            table[byte][value] = sum;
        }
    }
}

/* Before main, so that nobody has to ask whether it was done. */
__attribute__((constructor)) static void make_tables(void) {
    for (uint32_t value = 0; value < 256; value++) {
        uint32_t remainder = value;
        for (int bit = 0; bit < 8; bit++)
            remainder = remainder & 1 ? remainder >> 1 ^ polynomial : remainder >> 1;
        byte_tables[0][value] = remainder;
    }
    for (int value = 0; value < 256; value++) {
        for (int table = 1; table < 8; table++) {
            uint32_t before = byte_tables[table - 1][value];
            byte_tables[table][value] = before >> 8 ^ byte_tables[0][before & 0xff];
        }
    }
    make_shift(long_shift, LONG_PIECE);
    make_shift(short_shift, SHORT_PIECE);
#if defined(__x86_64__)
    __builtin_cpu_init();
    has_instruction = __builtin_cpu_supports("sse4.2") != 0;
#endif
}

static uint64_t little_endian(const unsigned char *bytes) {
    uint64_t word;
    memcpy(&word, bytes, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

static uint32_t by_tables(uint32_t remainder, const unsigned char *bytes, size_t size) {
    for (; size >= 8; bytes += 8, size -= 8) {
        uint64_t word = little_endian(bytes) ^ remainder;
        remainder = byte_tables[7][word & 0xff] ^ byte_tables[6][word >> 8 & 0xff] ^
                    byte_tables[5][word >> 16 & 0xff] ^ byte_tables[4][word >> 24 & 0xff] ^
                    byte_tables[3][word >> 32 & 0xff] ^ byte_tables[2][word >> 40 & 0xff] ^
                    byte_tables[1][word >> 48 & 0xff] ^ byte_tables[0][word >> 56];
    }
    for (; size > 0; bytes++, size--)
        remainder = remainder >> 8 ^ byte_tables[0][(remainder ^ *bytes) & 0xff];
    return remainder;
}

#if defined(__x86_64__)

static inline uint32_t shift(uint32_t table[4][256], uint32_t remainder) {
    return table[0][remainder & 0xff] ^ table[1][remainder >> 8 & 0xff] ^
           table[2][remainder >> 16 & 0xff] ^ table[3][remainder >> 24];
}

__attribute__((target("sse4.2"))) static inline uint32_t
three_pieces(uint32_t remainder, const unsigned char *bytes, size_t piece, uint32_t table[4][256]) {
    uint64_t first = remainder, second = 0, third = 0;
    for (const unsigned char *end = bytes + piece; bytes < end; bytes += 8) {
        first = __builtin_ia32_crc32di(first, little_endian(bytes));
        second = __builtin_ia32_crc32di(second, little_endian(bytes + piece));
        third = __builtin_ia32_crc32di(third, little_endian(bytes + 2 * piece));
    }
    uint32_t joined = shift(table, (uint32_t)first) ^ (uint32_t)second;
    return shift(table, joined) ^ (uint32_t)third;
}

__attribute__((target("sse4.2"))) static uint32_t by_instruction(
    uint32_t remainder, const unsigned char *bytes, size_t size) {
    for (; size >= 3 * LONG_PIECE; bytes += 3 * LONG_PIECE, size -= 3 * LONG_PIECE)
        remainder = three_pieces(remainder, bytes, LONG_PIECE, long_shift);
    for (; size >= 3 * SHORT_PIECE; bytes += 3 * SHORT_PIECE, size -= 3 * SHORT_PIECE)
        remainder = three_pieces(remainder, bytes, SHORT_PIECE, short_shift);
    uint64_t word = remainder;
    for (; size >= 8; bytes += 8, size -= 8) word = __builtin_ia32_crc32di(word, little_endian(bytes));
    remainder = (uint32_t)word;
    for (; size > 0; bytes++, size--) remainder = __builtin_ia32_crc32qi(remainder, *bytes);
    return remainder;
}

#endif

uint32_t cairn_crc32c(uint32_t checksum, const void *bytes, size_t size) {
#if defined(__x86_64__)
    if (has_instruction) return ~by_instruction(~checksum, bytes, size);
#endif
    return ~by_tables(~checksum, bytes, size);
}

uint32_t cairn_crc32c_by_tables(uint32_t checksum, const void *bytes, size_t size) {
    return ~by_tables(~checksum, bytes, size);
}

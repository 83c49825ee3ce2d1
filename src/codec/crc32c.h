// SPDX-License-Identifier: Apache-2.0
// CRC-32C (Castagnoli), as Kafka record batches, snappy and iSCSI use it. Pure, any thread.
#ifndef CODEC_CRC32C_H
#define CODEC_CRC32C_H

#include <stddef.h>
#include <stdint.h>

// Continues from `crc` (0 to start): crc32c(crc32c(0, a), b) is the CRC of a then b. crc32c(0, "123456789") = 0xE3069283.
uint32_t crc32c(uint32_t crc, const void *p, size_t n);
// The same without the processor's instruction: the fallback, and the oracle of the test.
uint32_t crc32c_soft(uint32_t crc, const void *p, size_t n);

#endif

// SPDX-License-Identifier: Apache-2.0
// Questions to a Kafka cluster that end in time although a leader is dead.
#ifndef TOPICS_ASK_H
#define TOPICS_ASK_H

#include <librdkafka/rdkafka.h>
#include <stdint.h>

// An offset of a partition by ListOffsets: `at` is a time in ms, RD_KAFKA_OFFSET_END or RD_KAFKA_OFFSET_BEGINNING (the protocol's -1 and -2).
// *offset -1 = no record as late. Returns after timeout_ms at the latest: rd_kafka_query_watermark_offsets (2.0.2) asks a dead leader for ever,
// as every attempt to reach it counts as a change that is worth another try.
rd_kafka_resp_err_t topics_ask_offset(rd_kafka_t *rk, const char *topic, int32_t partition, int64_t at, int timeout_ms, int64_t *offset);

#endif

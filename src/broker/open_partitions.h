// SPDX-License-Identifier: Apache-2.0
// Opening many partitions at a time, while the broker is opened. Inside the broker room.
#ifndef BROKER_OPEN_PARTITIONS_H
#define BROKER_OPEN_PARTITIONS_H

#include <stdint.h>

#include "base/err.h"

struct broker;
struct partition;
struct topic_setting_values;

struct partition_job {
    const char *topic;
    const uint8_t *id;
    const struct topic_setting_values *settings; // all borrowed until the call returns
    int32_t index;
    struct partition *partition; // out; the caller's
    struct err err;
};
// Blocks. After an error no partition is there.
enum err_code partitions_open(struct broker *b, struct partition_job *jobs, size_t n, bool clean, struct err *err);

#endif

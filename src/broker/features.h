// SPDX-License-Identifier: Apache-2.0
// Kafka's features (KIP-584, KIP-1022): what the cluster may do, by levels that administrators set and clients are told.
//
// The levels are durable in the broker's store; one that nobody changed is this program's default. What a level means is asked where it matters: the
// Kafka door refuses the groups of types that are off, clients take the older protocol of transactions by themselves, dead-letter queues need
// share.version 2.
#ifndef BROKER_FEATURES_H
#define BROKER_FEATURES_H

#include "base/err.h"
#include "base/mem.h"

struct broker;
struct broker_features;
struct sys;

enum broker_feature {
#define FEATURE(id, name, min, max, level) FEATURE_##id,
#include "broker/features.def"
#undef FEATURE
    FEATURES
};

struct broker_feature_info {
    const char *name;
    int16_t min, max, level;
};
enum broker_feature_change { FEATURE_UPGRADE = 1, FEATURE_SAFE_DOWNGRADE = 2, FEATURE_UNSAFE_DOWNGRADE = 3 }; // as in the request
struct broker_feature_update {
    struct str name;
    int16_t level;
    int8_t change; // broker_feature_change; others are refused
};

int16_t broker_feature_level(const struct broker *b, enum broker_feature f); // [any], no lock
int64_t broker_features(struct broker *b, struct broker_feature_info out[FEATURES]); // [any] the epoch of these levels: it grows with each change
// [block] All or none; durable when it returns. ERR_INVALID: one is refused, in Kafka's words; nothing changed. Else the errors of store_apply.
enum err_code broker_features_update(struct broker *b, const struct broker_feature_update *updates, size_t n, bool validate_only, struct err *err);

// ---- inside the broker room, while it opens and closes ----
// The levels that a new data directory begins with: "name=level,..." (NULL = none) on top of the defaults, into its store, in one write and whatever an
// earlier start left there that did not come to its end. ERR_CONFIG.
enum err_code features_begin(struct sys *s, const char *store_path, const char *levels, int node_id, struct err *err);
struct broker_features *features_open(struct broker *b, struct err *err); // NULL: ERR_VERSION, a level that this program does not know
void features_free(struct broker_features *f);

#endif

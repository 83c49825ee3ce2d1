// SPDX-License-Identifier: Apache-2.0
// Stand-ins for the broker room's features (broker/features.h), for tests of the door alone: the levels are the test's.
#ifndef UNIT_KAFKA_STUB_FEATURES_H
#define UNIT_KAFKA_STUB_FEATURES_H

#include <stdatomic.h>

#include "broker/features.h"

static _Atomic int16_t stub_levels[FEATURES] = {
#define FEATURE(id, name, min, max, level) level,
#include "broker/features.def"
#undef FEATURE
};
int16_t broker_feature_level(const struct broker *b, enum broker_feature f) {
    (void)b;
    return stub_levels[f];
}
int64_t broker_features(struct broker *b, struct broker_feature_info out[FEATURES]) {
    static const struct broker_feature_info all[FEATURES] = {
#define FEATURE(id, name, min, max, level) {name, min, max, level},
#include "broker/features.def"
#undef FEATURE
    };
    (void)b;
    for (int i = 0; i < FEATURES; i++) {
        out[i] = all[i];
        out[i].level = stub_levels[i];
    }
    return 7;
}
enum err_code broker_features_update(struct broker *b, const struct broker_feature_update *updates, size_t n, bool validate_only, struct err *err) {
    (void)b, (void)updates, (void)n, (void)validate_only;
    return err_set(err, ERR_INVALID, "no levels here");
}

#endif

// SPDX-License-Identifier: Apache-2.0
// Stand-ins for the broker room's dynamic configs (broker/dynamic.h), for tests of the door alone: none is set.
#ifndef UNIT_KAFKA_STUB_DYNAMIC_H
#define UNIT_KAFKA_STUB_DYNAMIC_H

#include "broker/dynamic.h"

size_t broker_resource_describe(struct broker *b, enum broker_resource kind, struct str name, struct arena *a, struct broker_config_entry **out) {
    (void)b, (void)kind, (void)name, (void)a;
    *out = NULL;
    return 0;
}
enum err_code broker_resource_alter(struct broker *b, enum broker_resource kind, struct str name, const struct broker_kv *changes, size_t n,
                                    bool validate_only, struct err *err) {
    (void)b, (void)kind, (void)name, (void)changes, (void)n, (void)validate_only;
    return err_set(err, ERR_CONFIG, "no configs here");
}
size_t broker_resource_names(struct broker *b, enum broker_resource kind, struct arena *a, struct str **out) {
    (void)b, (void)kind, (void)a;
    *out = NULL;
    return 0;
}
const char *broker_config_text(struct broker *b, const char *name) {
    (void)b, (void)name;
    return "";
}
const char *broker_config_of_listener(struct broker *b, const char *name) {
    (void)b;
    (void)name;
    return NULL;
}
int64_t broker_config_i64(struct broker *b, const char *name, int64_t otherwise) {
    (void)b, (void)name;
    return otherwise;
}
uint64_t broker_config_version(struct broker *b) {
    (void)b;
    return 0;
}
const char *broker_group_config(struct broker *b, struct str group, const char *name) {
    (void)b, (void)group, (void)name;
    return "";
}
int64_t broker_group_config_i64(struct broker *b, struct str group, const char *name, int64_t otherwise) {
    (void)b, (void)group, (void)name;
    return otherwise;
}
bool broker_pattern_matches(const char *pattern, const char *text) { return strcmp(pattern, text) == 0; }

#endif

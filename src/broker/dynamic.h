// SPDX-License-Identifier: Apache-2.0
// Configs that are changed while the server runs: of the broker, of groups, of client-metrics subscriptions. (Topics' are in broker.h.)
//
// Kept in the store, one record per resource, durable when broker_resource_alter returns. Values that are handed out as pointers live until
// the broker is closed. A broker config's value is, in this order: set on this broker, set as the cluster's default, given at start, default.
#ifndef BROKER_DYNAMIC_H
#define BROKER_DYNAMIC_H

#include "broker/broker.h"

enum broker_resource {
    RESOURCE_BROKER_SELF,    // name: this node's id
    RESOURCE_BROKER_DEFAULT, // name: ""
    RESOURCE_GROUP,
    RESOURCE_CLIENT_METRICS,
};

// All configs that the resource can have, with values and sources (RESOURCE_BROKER_DEFAULT: those that are set).
size_t broker_resource_describe(struct broker *b, enum broker_resource kind, struct str name, struct arena *a, struct broker_config_entry **out); // [any]
// [block] All or nothing. ERR_CONFIG, ERR_INVALID say which config and why. Changes are sorted out beforehand: a value, or NULL for "delete".
enum err_code broker_resource_alter(struct broker *b, enum broker_resource kind, struct str name, const struct broker_kv *changes, size_t n,
                                    bool validate_only, struct err *err);
size_t broker_resource_names(struct broker *b, enum broker_resource kind, struct arena *a, struct str **out); // [any] those with configs

// [any] One value in force. Moves of the version say that some value changed (also one of a group or a subscription).
const char *broker_config_text(struct broker *b, const char *name); // "" when it has none
int64_t broker_config_i64(struct broker *b, const char *name, int64_t otherwise);
uint64_t broker_config_version(struct broker *b);
// "listener.name.NAME.ssl.keystore.location" and its like, as it was set while the broker ran; NULL = it was not.
const char *broker_config_of_listener(struct broker *b, const char *name);
// A group's config: its own, or what the broker has for all groups.
const char *broker_group_config(struct broker *b, struct str group, const char *name); // [any] "" = no such config
int64_t broker_group_config_i64(struct broker *b, struct str group, const char *name, int64_t otherwise); // [any]
bool broker_group_config_is_set(struct broker *b, struct str group, const char *name); // [any] for it or for the broker: not the default is in force
bool broker_pattern_matches(const char *pattern, const char *text); // PCRE2, the whole text. False also when it is no pattern

#endif

// SPDX-License-Identifier: Apache-2.0
// Small durable records of the cluster: dynamic configs, quotas, credentials, ACLs, tokens, features, descriptions. By kind and key, bytewise.
//
// All are in memory; the file DIR/store is an append-only log of changes. A change is durable when store_apply returns, all of it or nothing.
// Any thread may read; store_apply writes and syncs a file, so it is for threads that may block. Keys are at most 64 KiB, values 1 MiB.
#ifndef BROKER_STORE_H
#define BROKER_STORE_H

#include "base/err.h"
#include "base/mem.h"
#include "sys/sys.h"

struct broker;
struct store;

enum store_kind { // on disk: numbers are for ever
    STORE_BROKER_CONFIG = 1,
    STORE_GROUP_CONFIG = 2,
    STORE_CLIENT_METRICS = 3,
    STORE_QUOTA = 4,
    STORE_SCRAM = 5,
    STORE_ACL = 6,
    STORE_TOKEN = 7,
    STORE_FEATURE = 8,
    STORE_TOPOLOGY_DESCRIPTION = 9, // of streams groups, by group
    STORE_KINDS
};

struct store_change {
    enum store_kind kind;
    struct str key, value; // an empty value is a value
    bool remove;           // of a key that is not there: nothing happens
};

// The file need not exist. ERR_CORRUPT names it when acknowledged changes are damaged; what a crash left half written at its end is dropped.
struct store *store_open(struct sys *s, const char *path, struct err *err);
void store_close(struct store *st);
// [block] Applies the changes in order. ERR_TOO_LARGE, ERR_NO_SPACE, ERR_IO: nothing changed. ERR_SYNC_FAILED (also of any later call): nothing
// changed here, and what the disk has is known only after opening again.
enum err_code store_apply(struct store *st, const struct store_change *changes, size_t n, struct err *err);
bool store_get(struct store *st, enum store_kind kind, struct str key, struct arena *a, struct str *value); // [any] false = none; copied
// [any] Sorted by key. Calls fn for a snapshot taken at once; fn may call the store, and its strings live until it returns.
void store_each(struct store *st, enum store_kind kind, void (*fn)(void *arg, struct str key, struct str value), void *arg);
size_t store_count(struct store *st, enum store_kind kind); // [any]

struct store *broker_store(struct broker *b); // the broker's: DIR/store

#endif

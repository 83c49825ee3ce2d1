// SPDX-License-Identifier: Apache-2.0
// sasl.jaas.config: one login module with its options, "org.apache…PlainLoginModule required user_alice="secret" …;". Pure, any thread.
#ifndef KAFKA_JAAS_H
#define KAFKA_JAAS_H

#include "base/err.h"
#include "base/mem.h"

enum { JAAS_OPTIONS_MAX = 10000 };

struct jaas_option {
    struct str name, value;
};
struct jaas {
    struct str module; // the class's whole name
    struct jaas_option *options;
    size_t n;
};
enum err_code jaas_parse(struct str text, struct arena *a, struct jaas *out, struct err *err); // texts are the arena's

#endif

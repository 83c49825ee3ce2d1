// SPDX-License-Identifier: Apache-2.0
// ssl.principal.mapping.rules: from the distinguished name of a client's certificate to a user's name. Pure, any thread once made.
//
// Rules are separated by commas: DEFAULT, or RULE:pattern/replacement/ with L or U behind it (lower, upper case). The first whose pattern matches
// the whole name counts; $1 to $9 are its groups. A name that no rule matches is refused.
#ifndef KAFKA_PRINCIPAL_H
#define KAFKA_PRINCIPAL_H

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"

struct pcre2_real_code_8; // pcre2_code
struct principal_rule {
    struct pcre2_real_code_8 *pattern; // NULL = DEFAULT
    struct str replacement;
    char change; // 'L', 'U' or 0
};
struct principal_rules {
    struct principal_rule *p;
    size_t n; // 0 = the name as it is
};
enum err_code principal_rules_parse(struct str text, struct arena *a, struct principal_rules *out, struct err *err);
void principal_rules_fini(struct principal_rules *r);
bool principal_map(const struct principal_rules *r, struct str name, struct buf *out); // false = no rule matches

#endif

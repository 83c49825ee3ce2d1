// SPDX-License-Identifier: Apache-2.0
// Words, quoted texts, = and ; as Java's StreamTokenizer cuts them in Kafka's JaasConfig.
#include "kafka/jaas.h"

static bool blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// The next word; "" at the end. A quoted text is a word without its quotes, = and ; are words of their own.
static struct str next_word(struct str *rest, struct arena *a) {
    while (rest->n > 0 && blank(rest->p[0])) *rest = str_n(rest->p + 1, rest->n - 1);
    if (rest->n == 0) return STR("");
    char first = rest->p[0];
    bool quoted = first == '"' || first == '\'';
    char *p = arena_alloc(a, rest->n + 1);
    size_t n = 0, i = quoted ? 1 : 0;
    if (first == '=' || first == ';') p[n++] = first, i = 1;
    for (; i < rest->n && (n == 0 || quoted || (first != '=' && first != ';')); i++) {
        char c = rest->p[i];
        if (quoted && c == first) break;
        if (!quoted && (blank(c) || c == '=' || c == ';' || c == '"')) break;
        if (quoted && c == '\\' && i + 1 < rest->n) c = rest->p[++i];
        p[n++] = c;
    }
    if (quoted && i < rest->n) i++;
    *rest = str_n(rest->p + i, rest->n - i);
    p[n] = 0;
    return str_n(p, n);
}

enum err_code jaas_parse(struct str text, struct arena *a, struct jaas *out, struct err *err) {
    struct str rest = text;
    *out = (struct jaas){.module = next_word(&rest, a)};
    struct str flag = next_word(&rest, a);
    if (out->module.n == 0 || (!str_ieq(flag, STR("required")) && !str_ieq(flag, STR("requisite")) && !str_ieq(flag, STR("sufficient")) &&
                               !str_ieq(flag, STR("optional"))))
        return err_set(err, ERR_CONFIG, "a login module's class and \"required\" are expected");
    size_t max = 1;
    for (size_t i = 0; i < text.n; i++) max += text.p[i] == '=';
    if (max > JAAS_OPTIONS_MAX) return err_set(err, ERR_CONFIG, "more than %d options", JAAS_OPTIONS_MAX);
    out->options = ARENA_ARRAY(a, struct jaas_option, max);
    for (;;) {
        struct str name = next_word(&rest, a);
        if (str_eq(name, STR(";"))) return ERR_OK;
        struct str equals = next_word(&rest, a), before = rest, value = next_word(&rest, a);
        bool given = before.n != rest.n && !str_eq(value, STR(";"));
        if (name.n == 0 || !str_eq(equals, STR("=")) || !given || out->n == max)
            return err_set(err, ERR_CONFIG, "options are name=value (in quotes where it is no plain word), and a semicolon ends them");
        out->options[out->n++] = (struct jaas_option){name, value};
    }
}

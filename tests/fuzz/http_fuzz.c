// SPDX-License-Identifier: Apache-2.0
// What the HTTP doors and the configuration read beside libmicrohttpd and JSON: percent-encoding, times, tokens, addresses, YAML settings.
// The first byte picks the parser.
#include <stdlib.h>
#include <string.h>

#include "codec/yaml.h"
#include "http/api.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_time(struct str s) {
    int64_t us, again;
    char text[40];
    if (!api_time_parse(s, &us)) return;
    api_time_text(us, text);
    // years below 1 or above 9999 can come out of an offset at the edge: they are not written as four digits
    if (text[4] == '-' && text[0] != '-' && !(api_time_parse(str_c(text), &again) && again == us) && memcmp(text, "0000", 4) != 0) abort();
}

static void check_decode(struct str s) {
    struct arena a;
    arena_init(&a);
    const char *out = httpd_decode(&a, s, true);
    if (out != NULL && (!str_utf8_ok(str_c(out)) || strlen(out) > s.n)) abort();
    arena_fini(&a);
}

static void check_token(struct str s) {
    struct auth auth = {.sys = sys_real(), .users = "a:b,c", .token_seconds = 60};
    struct arena a;
    const char *user;
    arena_init(&a);
    if (auth_check_token(&auth, s, &a, &user, NULL) == ERR_OK && s.n < 60) abort(); // nobody guesses a MAC that short
    httpd_is_loopback(s);
    arena_fini(&a);
}

static void check_config(struct str s) {
    struct config c;
    struct err err;
    config_init(&c);
    json_t *tree = yaml_parse(s, &err);
    if (tree != NULL) config_load_tree(&c, tree, "fuzz", &err);
    json_decref(tree);
    char *flag = mem_strndup(s.p, s.n);
    config_set_flag(&c, flag, &err);
    mem_free(flag);
    config_fini(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static void (*const checks[])(struct str) = {check_time, check_decode, check_token, check_config};
    if (size == 0) return 0;
    checks[data[0] % API_COUNT(checks)](str_n(data + 1, size - 1));
    return 0;
}

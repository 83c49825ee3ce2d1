// SPDX-License-Identifier: Apache-2.0
// `millrace user`: SCRAM users of any Kafka (KIP-554). A password is salted and hashed here: the broker never sees it.
#include <string.h>

#include "cli/cluster.h"
#include "codec/digest.h"

enum { SALT = 16, ITERATIONS = 4096, ITERATIONS_MAX = 16384, PASSWORD_MAX = 4096 };
static const char *const mechanisms[] = {NULL, "SCRAM-SHA-256", "SCRAM-SHA-512"}; // by Kafka's number

static enum err_code mechanism_of(struct cli *c, int8_t *out, struct err *err) {
    const char *name = cli_opt(c, "mechanism");
    *out = 2;
    for (int8_t i = 1; i < 3 && name != NULL; i++)
        if (str_ieq(str_c(name), str_c(mechanisms[i]))) return *out = i, ERR_OK;
    return name == NULL ? ERR_OK : err_set(err, ERR_INVALID, "--mechanism %s: SCRAM-SHA-256 or SCRAM-SHA-512 is expected", name);
}

static enum err_code run_list(struct cli *c, struct err *err) {
    static const char *const names[] = {"user", "mechanism", "iterations"};
    struct cluster *k = cli_cluster(c, err);
    if (k == NULL) return err->code;
    struct kafka_describe_user_scram_credentials_request req;
    const struct kafka_describe_user_scram_credentials_response *res;
    kafka_msg_init(&kafka_describe_user_scram_credentials_request_m, &req);
    req.users.n = -1;
    enum err_code code = cluster_call(k, CLUSTER_ANY, KAFKA_API_DESCRIBE_USER_SCRAM_CREDENTIALS, &req, &res, err);
    if (code == ERR_OK) code = cluster_error(res->error_code, res->error_message, err, "users");
    size_t n = 0, most = 0;
    for (int32_t i = 0; code == ERR_OK && i < res->results.n; i++) most += (size_t)res->results.p[i].credential_infos.n;
    const char **cells = ARENA_ARRAY(&c->arena, const char *, most * 3);
    for (int32_t i = 0; code == ERR_OK && i < res->results.n; i++)
        for (int32_t m = 0; m < res->results.p[i].credential_infos.n; m++, n++) {
            int8_t number = res->results.p[i].credential_infos.p[m].mechanism;
            cells[n * 3] = cli_text(c, res->results.p[i].user);
            cells[n * 3 + 1] = number == 1 || number == 2 ? mechanisms[number] : "?";
            cells[n * 3 + 2] = cli_number(c, res->results.p[i].credential_infos.p[m].iterations);
        }
    if (code == ERR_OK) cli_print_rows(c, names, "ttn", 3, cells, n);
    cluster_close(k);
    return code;
}

// --password, or the first line of --password-file ("-": standard input is no file here).
static enum err_code password_of(struct cli *c, struct str *out, struct err *err) {
    const char *given = cli_opt(c, "password"), *file = cli_opt(c, "password-file");
    if ((given == NULL) == (file == NULL))
        return err_set(err, ERR_INVALID, "say --password-file FILE, or --password TEXT (which others on this machine can see)");
    if (given != NULL) *out = str_c(given);
    if (file != NULL) {
        size_t n;
        char *text = sys_read_file(c->sys, file, PASSWORD_MAX, &n, err);
        if (text == NULL) return err->code;
        struct str line, rest;
        (void)str_cut(arena_str(&c->arena, str_n(text, n)), '\n', &line, &rest);
        mem_free(text);
        if (line.n > 0 && line.p[line.n - 1] == '\r') line.n--;
        *out = line;
    }
    return out->n > 0 ? ERR_OK : err_set(err, ERR_INVALID, "the password is empty");
}

static enum err_code alter(struct cli *c, const struct kafka_alter_user_scram_credentials_request *req, struct err *err) {
    struct cluster *k = cli_cluster(c, err);
    if (k == NULL) return err->code;
    const struct kafka_alter_user_scram_credentials_response *res;
    enum err_code code = cluster_call(k, CLUSTER_CONTROLLER, KAFKA_API_ALTER_USER_SCRAM_CREDENTIALS, req, &res, err);
    for (int32_t i = 0; code == ERR_OK && i < res->results.n; i++)
        code = cluster_error(res->results.p[i].error_code, res->results.p[i].error_message, err, "user '%.*s'", (int)res->results.p[i].user.n,
                             res->results.p[i].user.p);
    cluster_close(k);
    return code;
}

static enum err_code run_set(struct cli *c, struct err *err) {
    struct str password;
    int8_t mechanism;
    int64_t iterations = ITERATIONS;
    const char *text = cli_opt(c, "iterations");
    if (text != NULL && (!str_to_i64(str_c(text), &iterations) || iterations < ITERATIONS || iterations > ITERATIONS_MAX))
        return err_set(err, ERR_INVALID, "--iterations %s: a number from %d to %d is expected", text, ITERATIONS, ITERATIONS_MAX);
    if (mechanism_of(c, &mechanism, err) != ERR_OK || password_of(c, &password, err) != ERR_OK) return err->code;
    uint8_t salt[SALT], salted[64];
    sys_random(c->sys, salt, sizeof salt);
    if (mechanism == 1) digest_pbkdf2_sha256(password, str_n(salt, sizeof salt), (int)iterations, salted);
    else digest_pbkdf2_sha512(password, str_n(salt, sizeof salt), (int)iterations, salted);
    struct kafka_alter_user_scram_credentials_request req;
    kafka_msg_init(&kafka_alter_user_scram_credentials_request_m, &req);
    req.upsertions.p = KAFKA_ELEMENTS(&c->arena, kafka_alter_user_scram_credentials_request_upsertions, 1);
    req.upsertions.n = 1;
    req.upsertions.p[0] = (struct kafka_alter_user_scram_credentials_request_upsertions){
        str_c(c->args[0]), mechanism, (int32_t)iterations, str_n(salt, sizeof salt), str_n(salted, mechanism == 1 ? 32 : 64)};
    return alter(c, &req, err);
}

static enum err_code run_remove(struct cli *c, struct err *err) {
    int8_t mechanism;
    if (mechanism_of(c, &mechanism, err) != ERR_OK) return err->code;
    struct kafka_alter_user_scram_credentials_request req;
    kafka_msg_init(&kafka_alter_user_scram_credentials_request_m, &req);
    req.deletions.p = KAFKA_ELEMENTS(&c->arena, kafka_alter_user_scram_credentials_request_deletions, 1);
    req.deletions.n = 1;
    req.deletions.p[0] = (struct kafka_alter_user_scram_credentials_request_deletions){str_c(c->args[0]), mechanism};
    return alter(c, &req, err);
}

#define MECHANISM {"mechanism", 'm', "NAME", "SCRAM-SHA-256 or SCRAM-SHA-512 (what is taken when nothing is said)"}
static const struct cli_option list_options[] = {CLI_BROKERS, {0}};
static const struct cli_option set_options[] = {MECHANISM,
                                                {"password-file", 0, "FILE", "its first line is the password"},
                                                {"password", 0, "TEXT", "the password, which others on this machine can see"},
                                                {"iterations", 0, "N", "rounds of hashing, 4096 to 16384; else 4096"},
                                                CLI_BROKERS,
                                                {0}};
static const struct cli_option remove_options[] = {MECHANISM, CLI_BROKERS, {0}};

static const struct cli_command list = {.name = "list", .args = "", .summary = "the users and their mechanisms", .options = list_options, .is_client = true,
    .examples = "millrace user list", .run = run_list};
static const struct cli_command set = {.name = "set", .args = "USER", .summary = "add a user, or give it another password", .options = set_options,
    .is_client = true, .min_args = 1, .max_args = 1, .examples = "millrace user set alice --password-file alice.txt", .run = run_set};
static const struct cli_command drop = {.name = "remove", .args = "USER", .summary = "take a user's password away", .options = remove_options,
    .is_client = true, .min_args = 1, .max_args = 1, .examples = "millrace user remove alice --mechanism SCRAM-SHA-256", .run = run_remove};
static const struct cli_command *const subs[] = {&list, &set, &drop, NULL};

const struct cli_command cli_user;
const struct cli_command cli_user = {.name = "user", .args = "", .summary = "list, add, remove users with passwords", .is_client = true, .subs = subs,
    .examples = "millrace user list\nmillrace user set alice --password-file alice.txt"};

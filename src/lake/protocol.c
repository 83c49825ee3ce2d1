// SPDX-License-Identifier: Apache-2.0
// Which tables we may read and write: Delta's protocol versions and table features (PROTOCOL.md "Table Features"). A feature that is
// listed but not in use (no deletion vectors, column mapping "none", ...) does not stop us. Pure functions; any thread.
#include "lake/internal.h"

static bool text_in(const char *s, const char *const *list) {
    for (; *list != NULL; list++)
        if (str_eqc(str_c(s), *list))
            return true;
    return false;
}

static const char *const readable[] = {"timestampNtz", "vacuumProtocolCheck", "v2Checkpoint", "columnMapping", "deletionVectors", NULL};
// Of the features that only writers must know: those whose rules are kept by refusing what would break them (see lake_check_writable).
static const char *const writable[] = {"appendOnly",       "invariants",      "checkConstraints", "changeDataFeed", "generatedColumns",
                                       "columnMapping",    "identityColumns", "timestampNtz",     "deletionVectors", "vacuumProtocolCheck",
                                       "v2Checkpoint",     NULL};

static const char *config_of(const struct lake_meta *m, const char *key) { return m == NULL ? NULL : map_getc(&m->config, key); }
static bool config_is(const struct lake_meta *m, const char *key, const char *value) {
    const char *v = config_of(m, key);
    return v != NULL && str_ieq(str_c(v), str_c(value));
}

static enum err_code check_features(const json_t *features, const char *const *known, const char *what, struct err *err) {
    size_t i;
    json_t *f;
    json_array_foreach((json_t *)features, i, f) {
        const char *name = json_string_value(f);
        if (name != NULL && !text_in(name, known))
            return err_set(err, ERR_NOT_SUPPORTED, "the table needs the Delta feature %.100s to be %s, which Millrace does not have", name, what);
    }
    return ERR_OK;
}

static enum err_code check_mapping(const struct lake_meta *m, struct err *err) {
    const char *mode = config_of(m, "delta.columnMapping.mode");
    if (mode != NULL && !str_eqc(str_c(mode), "none"))
        return err_set(err, ERR_NOT_SUPPORTED, "the table uses Delta column mapping (%.40s), which Millrace does not read yet", mode);
    return ERR_OK;
}

enum err_code lake_check_readable(const struct lake_snapshot *s, struct err *err) {
    const struct lake_protocol *p = &s->protocol;
    if (p->reader > 3)
        return err_set(err, ERR_NOT_SUPPORTED, "the table needs Delta reader version %d; Millrace reads up to 3", p->reader);
    enum err_code code = p->reader == 3 ? check_features(p->reader_features, readable, "read", err) : ERR_OK;
    if (code == ERR_OK)
        code = check_mapping(s->meta, err);
    for (size_t i = 0; code == ERR_OK && i < s->n_files; i++)
        if (s->files[i]->has_deletion_vector)
            code = err_set(err, ERR_NOT_SUPPORTED,
                           "the table has deletion vectors, which Millrace does not read yet; purge them (REORG ... APPLY (PURGE))");
    return code;
}

// Column metadata that binds writers is looked for in the schema's text: the keys are unmistakable there.
static enum err_code check_column_rules(const struct lake_meta *m, struct err *err) {
    static const char *const keys[] = {"\"delta.invariants\"", "\"delta.generationExpression\"", "\"delta.identity.start\"", "\"CURRENT_DEFAULT\"",
                                       NULL};
    for (const char *const *k = keys; *k != NULL; k++)
        if (strstr(m->schema_json, *k) != NULL)
            return err_set(err, ERR_NOT_SUPPORTED, "a column has %s, which Millrace does not enforce: it cannot write to this table", *k);
    size_t it = 0;
    for (const struct map_entry *e; (e = map_next(&m->config, &it)) != NULL;)
        if (str_starts(str_c(e->key), STR("delta.constraints.")))
            return err_set(err, ERR_NOT_SUPPORTED,
                           "the table has the CHECK constraint %.100s, which Millrace does not enforce: it cannot write to it",
                           e->key + strlen("delta.constraints."));
    return ERR_OK;
}

enum err_code lake_check_writable(const struct lake_protocol *p, const struct lake_meta *m, bool removes, struct err *err) {
    if (p->writer > 7)
        return err_set(err, ERR_NOT_SUPPORTED, "the table needs Delta writer version %d; Millrace writes up to 7", p->writer);
    enum err_code code = p->writer == 7 ? check_features(p->writer_features, writable, "written", err) : ERR_OK;
    if (code == ERR_OK)
        code = check_mapping(m, err);
    if (code == ERR_OK)
        code = check_column_rules(m, err);
    if (code == ERR_OK && removes && config_is(m, "delta.appendOnly", "true"))
        code = err_set(err, ERR_DENIED, "the table is append-only (delta.appendOnly): its rows cannot be replaced");
    if (code == ERR_OK && removes && config_is(m, "delta.enableChangeDataFeed", "true"))
        code = err_set(err, ERR_NOT_SUPPORTED, "the table keeps a change data feed, which Millrace does not write for removed rows");
    return code;
}

static bool type_has_ntz(const struct cols_type *t) {
    if (t->kind == COLS_TIMESTAMP)
        return !t->tz;
    for (size_t i = 0; i < t->n_fields; i++)
        if (type_has_ntz(&t->fields[i].type))
            return true;
    return false;
}

bool lake_schema_has_ntz(const struct cols_schema *schema) {
    for (size_t i = 0; i < schema->n; i++)
        if (type_has_ntz(&schema->fields[i].type))
            return true;
    return false;
}

// A table with the V2 checkpoint feature gets none from us: its rules on what a checkpoint holds are stricter than what we write.
bool lake_protocol_can_checkpoint(const struct lake_protocol *p) {
    size_t i;
    json_t *f;
    json_array_foreach(p->reader_features, i, f) {
        if (str_eqc(str_c(json_string_value(f)), "v2Checkpoint"))
            return false;
    }
    return true;
}

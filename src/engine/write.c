// SPDX-License-Identifier: Apache-2.0
// Writing what a query yields as Parquet files, with Delta's per-file statistics taken from what the writer saw.
//
// Runs on the session's thread and connection. Memory: names and statistics in the caller's arena; DuckDB's writer holds one row group per thread.
// Durable on return: every file is synced, and the folder. On failure the files written so far are removed.
// DuckDB writes HUGEINT as DOUBLE, and knows types that Delta does not: what must be cast is cast to lake_storable_schema's type.
#include <assert.h>

#include "codec/json.h"
#include "engine/internal.h"

// ---- statistics -----------------------------------------------------------------------------------------------------------

// A column's entry in RETURN_STATS' map: {min, max, null_count, has_nan, ...}, all texts.
struct column_stats {
    struct str min, max, null_count; // p NULL = not there
    bool has_nan;
};

static struct column_stats read_stats(const struct cols_column *inner, size_t row) {
    struct column_stats out = {0};
    const struct cols_column *keys = &inner->children[0].children[0], *values = &inner->children[0].children[1];
    for (int32_t i = inner->offsets[row]; i < inner->offsets[row + 1]; i++) {
        struct str key = cols_str(keys, (size_t)i), value = cols_str(values, (size_t)i);
        if (!cols_is_valid(values, (size_t)i)) continue;
        if (str_eqc(key, "min")) out.min = value;
        else if (str_eqc(key, "max")) out.max = value;
        else if (str_eqc(key, "null_count")) out.null_count = value;
        else if (str_eqc(key, "has_nan")) out.has_nan = str_eqc(value, "true") || str_eqc(value, "1");
    }
    return out;
}

// The entry of a top-level column: its name stands quoted where needed.
static bool find_stats(const struct cols_column *map, size_t row, const char *name, struct column_stats *out) {
    const struct cols_column *keys = &map->children[0].children[0], *values = &map->children[0].children[1];
    struct buf quoted;
    buf_init(&quoted, 0);
    sql_put_ident(&quoted, str_c(name));
    bool found = false;
    for (int32_t i = map->offsets[row]; i < map->offsets[row + 1] && !found; i++) {
        struct str key = cols_str(keys, (size_t)i);
        if (!str_eqc(key, name) && !str_eq(key, buf_str(&quoted))) continue;
        *out = read_stats(values, (size_t)i);
        found = true;
    }
    buf_fini(&quoted);
    return found;
}

// Delta keeps milliseconds: the smallest value is rounded down, the largest up, so that the bounds hold.
static bool put_timestamp(struct str text, bool tz, bool is_max, struct buf *out) {
    int64_t us;
    if (!cols_timestamp_parse(text, &us, NULL)) return false;
    int64_t ms = us / 1000 - (us % 1000 < 0);
    if (is_max && us % 1000 != 0) ms++;
    buf_puts(out, "\"");
    cols_timestamp_text(ms * 1000, tz, true, out);
    buf_puts(out, "\"");
    return true;
}

static bool is_finite_number(struct str s) {
    double v;
    return str_to_double(s, &v) && v - v == 0;
}

// One bound as JSON; false: none.
static bool put_bound(const struct cols_type *t, const struct column_stats *s, bool is_max, struct buf *out) {
    struct str v = is_max ? s->max : s->min;
    int32_t days;
    if (v.p == NULL) return false;
    switch (t->kind) {
    case COLS_FLOAT:
    case COLS_DOUBLE:
        if (s->has_nan) return false; // NaN is the greatest value, and no bound says so
        // fall through
    case COLS_INT8:
    case COLS_INT16:
    case COLS_INT32:
    case COLS_INT64:
    case COLS_DECIMAL:
        if (!is_finite_number(v)) return false;
        buf_put_str(out, v);
        return true;
    case COLS_DATE:
        if (!cols_date_parse(v, &days)) return false;
        buf_printf(out, "\"" STR_FMT "\"", STR_ARG(v));
        return true;
    case COLS_TIMESTAMP: return put_timestamp(v, t->tz, is_max, out);
    case COLS_STRING:
        json_put_str(out, v);
        return true;
    default: return false;
    }
}

static void put_bounds(const struct cols_schema *schema, const struct column_stats *stats, bool is_max, struct buf *out) {
    buf_puts(out, is_max ? ",\"maxValues\":{" : ",\"minValues\":{");
    bool first = true;
    for (size_t i = 0; i < schema->n && i < ENGINE_STATS_COLUMNS; i++) {
        size_t before = out->n;
        if (!first) buf_puts(out, ",");
        json_put_str(out, str_c(schema->fields[i].name));
        buf_puts(out, ":");
        if (put_bound(&schema->fields[i].type, &stats[i], is_max, out)) first = false;
        else out->n = before;
    }
    buf_puts(out, "}");
}

static const char *stats_json(const struct cols_schema *schema, const struct cols_column *map, size_t row, int64_t rows, struct arena *a) {
    struct column_stats *stats = ARENA_ARRAY(a, struct column_stats, schema->n + 1);
    for (size_t i = 0; i < schema->n; i++) (void)find_stats(map, row, schema->fields[i].name, &stats[i]);
    struct buf out;
    buf_init(&out, 0);
    buf_printf(&out, "{\"numRecords\":%lld", (long long)rows);
    put_bounds(schema, stats, false, &out);
    put_bounds(schema, stats, true, &out);
    buf_puts(&out, ",\"nullCount\":{");
    bool first = true;
    for (size_t i = 0; i < schema->n && i < ENGINE_STATS_COLUMNS; i++) {
        int64_t n;
        if (stats[i].null_count.p == NULL || !str_to_i64(stats[i].null_count, &n)) continue;
        if (!first) buf_puts(&out, ",");
        first = false;
        json_put_str(&out, str_c(schema->fields[i].name));
        buf_printf(&out, ":%lld", (long long)n);
    }
    buf_puts(&out, "}}");
    const char *text = arena_strndup(a, (const char *)out.p, out.n);
    buf_fini(&out);
    return text;
}

// ---- casts ----------------------------------------------------------------------------------------------------------------

// Names that every reader of the table takes: Parquet and Spark refuse some characters, and Delta's names are equal without case.
static enum err_code check_names(const struct cols_schema *schema, struct err *err) {
    for (size_t i = 0; i < schema->n; i++) {
        const char *name = schema->fields[i].name;
        if (strpbrk(name, " ,;{}()\n\t=") != NULL)
            return err_set(err, ERR_INVALID, "a table cannot have a column named \"%s\": give it a name with `as`", name);
        for (size_t j = 0; j < i; j++)
            if (str_ieq(str_c(name), str_c(schema->fields[j].name)))
                return err_set(err, ERR_INVALID, "two columns are named %s: give one another name with `as`", name);
    }
    return ERR_OK;
}

// `select` itself, or with casts around the columns that need them. *schema: what the files have.
static enum err_code storable_select(struct engine_session *s, const char *select, struct arena *a, struct cols_schema **schema, struct buf *out,
                                     struct err *err) {
    struct cols_schema *from = NULL;
    bool *exact = NULL;
    enum err_code code = query_columns(s, select, a, &from, &exact, err);
    if (code != ERR_OK) return code;
    if ((code = check_names(from, err)) != ERR_OK) return code;
    *schema = lake_storable_schema(from, a, err);
    if (*schema == NULL) return err != NULL ? err->code : ERR_NOT_SUPPORTED;
    bool same = true;
    for (size_t i = 0; i < from->n; i++) same = same && exact[i] && cols_type_eq(&from->fields[i].type, &(*schema)->fields[i].type);
    if (same) {
        buf_puts(out, select);
        return ERR_OK;
    }
    buf_puts(out, "select ");
    for (size_t i = 0; i < from->n; i++) {
        if (i > 0) buf_puts(out, ", ");
        buf_printf(out, "c%zu::", i);
        type_put_sql(&(*schema)->fields[i].type, out);
        buf_puts(out, " as ");
        sql_put_ident(out, str_c(from->fields[i].name));
    }
    buf_printf(out, " from (%s\n) as s__(", select);
    for (size_t i = 0; i < from->n; i++) buf_printf(out, "%sc%zu", i > 0 ? ", " : "", i);
    buf_puts(out, ")");
    return ERR_OK;
}

// ---- files ----------------------------------------------------------------------------------------------------------------

static enum err_code sync_file(struct engine *e, const char *path, struct err *err) {
    struct sys_file *f = sys_open(e->sys, path, SYS_READ | SYS_WRITE, err);
    if (f == NULL) return err->code;
    enum err_code code = sys_fdatasync(f, err);
    sys_close(f);
    return code;
}

typedef VEC(struct engine_file) files_vec;

// RETURN_STATS' rows: filename, count, file_size_bytes, footer_size_bytes, column_statistics, partition_keys.
static void take_files(const struct cols_batch *b, const struct cols_schema *schema, const char *dir, struct arena *a, files_vec *out) {
    const struct cols_column *c = b->columns;
    assert(b->schema->n >= 5 && b->schema->fields[4].type.kind == COLS_MAP);
    for (size_t i = 0; i < b->n; i++) {
        struct str path = cols_str(&c[0], i);
        size_t skip = strlen(dir);
        if (path.n > skip && memcmp(path.p, dir, skip) == 0) path = str_n(path.p + skip, path.n - skip);
        while (path.n > 0 && path.p[0] == '/') path = str_n(path.p + 1, path.n - 1);
        int64_t rows = ((const int64_t *)c[1].values)[i];
        vec_add(out, ((struct engine_file){.path = arena_strndup(a, path.p, path.n), .rows = rows, .size = ((const uint64_t *)c[2].values)[i],
                                           .stats_json = stats_json(schema, &c[4], i, rows, a)}));
    }
}

static enum err_code run_copy(struct engine_session *s, const char *sql, const struct engine_param *params, size_t n_params,
                              const struct cols_schema *schema, const char *dir, struct arena *a, files_vec *out, struct err *err) {
    struct rewritten text = {.text = str_c(sql)};
    struct engine_result *r = result_stream(s, &text, params, n_params, NULL, err);
    if (r == NULL) return err->code;
    struct cols_batch *b;
    while ((b = engine_result_next(r, err)) != NULL) {
        take_files(b, schema, dir, a, out);
        cols_batch_free(b);
    }
    engine_result_free(r);
    return err->code;
}

static bool has_word(struct str text, const char *word) {
    struct sql_lexer l = {text, 0};
    struct sql_token k;
    while (sql_lex(&l, &k, NULL) == ERR_OK && k.kind != SQL_TOKEN_END)
        if (k.kind == SQL_TOKEN_WORD && str_ieq(str_n(text.p + k.at, k.n), str_c(word))) return true;
    return false;
}

// Rows in their order go to one file: DuckDB rolls files only when the order does not matter. All names begin with `prefix`.
static void put_target(bool ordered, const char *dir, const char *prefix, struct buf *sql) {
    static const char common[] = "format parquet, compression zstd, return_stats, write_empty_file false";
    struct buf path;
    buf_init(&path, 0);
    buf_puts(&path, dir);
    if (ordered) buf_printf(&path, "/%s.parquet", prefix);
    buf_puts(sql, "\n) to ");
    sql_put_string(sql, buf_str(&path));
    if (ordered) buf_printf(sql, " (%s, use_tmp_file false, preserve_order true)", common);
    else buf_printf(sql, " (%s, append, filename_pattern '%s-{uuid}', file_size_bytes %d, preserve_order false)", common, prefix, ENGINE_FILE_BYTES);
    buf_fini(&path);
}

static const char *new_prefix(struct engine *e, struct arena *a) {
    uint8_t id[16];
    char text[37];
    sys_uuid(e->sys, id);
    sys_uuid_text(id, text);
    return arena_printf(a, "part-%s", text);
}

// What a failed statement left, finished or not.
static void remove_prefix(struct engine *e, const char *dir, const char *prefix, struct arena *a) {
    struct sys_list l = {0};
    if (sys_list_dir(e->sys, dir, &l, NULL) != ERR_OK) return;
    for (size_t i = 0; i < l.n; i++)
        if (str_starts(str_c(l.names[i]), str_c(prefix))) (void)sys_unlink(e->sys, arena_printf(a, "%s/%s", dir, l.names[i]), NULL);
    sys_list_free(&l);
}

enum err_code write_files(struct engine_session *s, const char *select, const struct engine_param *params, size_t n_params, const char *dir,
                          struct arena *a, struct engine_file **files, size_t *n_files, struct cols_schema **schema, struct err *err) {
    struct err own = {0};
    if (err == NULL) err = &own;
    err_clear(err);
    struct buf sql;
    buf_init(&sql, SQL_TEXT_MAX * 4);
    files_vec v = {0};
    buf_puts(&sql, "copy (");
    enum err_code code = storable_select(s, select, a, schema, &sql, err);
    const char *prefix = new_prefix(s->e, a);
    put_target(has_word(str_c(select), "order"), dir, prefix, &sql);
    if (code == ERR_OK && (code = run_copy(s, buf_cstr(&sql), params, n_params, *schema, dir, a, &v, err)) != ERR_OK)
        err->position = 0; // it counts in our text
    for (size_t i = 0; i < v.n && code == ERR_OK; i++) code = sync_file(s->e, arena_printf(a, "%s/%s", dir, v.p[i].path), err);
    if (code == ERR_OK && v.n > 0) code = sys_sync_dir(s->e->sys, dir, err);
    if (code != ERR_OK) remove_prefix(s->e, dir, prefix, a);
    if (code == ERR_OK && v.n == 1 && v.p[0].rows == 0) { // write_empty_file is for rolled files only
        remove_prefix(s->e, dir, prefix, a);
        v.n = 0;
    }
    *n_files = code == ERR_OK ? v.n : 0;
    *files = ARENA_ARRAY(a, struct engine_file, v.n + 1);
    if (v.n > 0) memcpy(*files, v.p, v.n * sizeof *v.p);
    vec_fini(&v);
    buf_fini(&sql);
    return code;
}

// ---- for programs inside ----------------------------------------------------------------------------------------------------

// The text with `source()` replaced by the table function's call.
static void put_source(struct str text, uint64_t handle, struct buf *out) {
    struct sql_lexer l = {text, 0};
    struct sql_token k[3] = {{0}};
    size_t done = 0;
    while (sql_lex(&l, &k[2], NULL) == ERR_OK && k[2].kind != SQL_TOKEN_END) {
        bool call = k[0].kind == SQL_TOKEN_WORD && str_ieq(str_n(text.p + k[0].at, k[0].n), STR("source")) && k[1].n == 1 && text.p[k[1].at] == '(' &&
                    k[2].n == 1 && text.p[k[2].at] == ')';
        if (call) {
            buf_put(out, text.p + done, k[0].at - done);
            buf_printf(out, "millrace_source(%llu::ubigint)", (unsigned long long)handle);
            done = k[2].at + 1;
        }
        k[0] = k[1];
        k[1] = k[2];
    }
    buf_put(out, text.p + done, text.n - done);
}

enum err_code engine_write_parquet(struct engine_session *s, struct str select_sql, struct engine_source *source, const char *dir, struct arena *a,
                                   struct engine_file **files, size_t *n_files, struct cols_schema **schema, struct err *err) {
    struct err own = {0};
    if (err == NULL) err = &own;
    struct cols_schema *unused;
    if (schema == NULL) schema = &unused;
    *n_files = 0;
    uint64_t handle = source != NULL ? source_open(s->e, source) : 0;
    struct buf text;
    buf_init(&text, SQL_TEXT_MAX * 2);
    if (source != NULL) put_source(select_sql, handle, &text);
    else buf_put_str(&text, select_sql);
    enum err_code code = ERR_OK;
    struct sql_statement st;
    struct rewritten r;
    struct arena own_arena;
    arena_init(&own_arena);
    code = sql_parse(buf_str(&text), &own_arena, &st, err);
    if (code == ERR_OK) code = rewrite(s->e, &st, st.text, &own_arena, &r, err);
    if (code == ERR_OK) code = write_files(s, r.text.p, NULL, 0, dir, a, files, n_files, schema, err);
    arena_fini(&own_arena);
    buf_fini(&text);
    if (source != NULL) {
        struct err inner = {0};
        if (code != ERR_OK && source_error(s->e, handle, &inner) != ERR_OK) err_copy(err, &inner), code = inner.code;
        source_close(s->e, handle);
    }
    return code;
}

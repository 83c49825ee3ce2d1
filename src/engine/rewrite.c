// SPDX-License-Identifier: Apache-2.0
// The user's statement as DuckDB gets it: names of lake tables become scans of the Parquet files of one snapshot (those that the
// WHERE clause may need), names of topics become topic_scan(...), and `schema.table.column` of such a table becomes `table.column`. Everything
// else stays byte for byte, so that positions in errors can be turned back.
//
// All names of one statement that mean the same table get the same snapshot. Any thread; results in the caller's arena.
// Errors: those of lake_table_snapshot, with the name's position.
#include "engine/internal.h"

// ---- scans ------------------------------------------------------------------------------------------------------------------

void put_typed_empty(const struct cols_schema *schema, struct buf *out) {
    buf_puts(out, "(select ");
    for (size_t i = 0; i < schema->n; i++) {
        if (i > 0) buf_puts(out, ", ");
        buf_puts(out, "null::");
        type_put_sql(&schema->fields[i].type, out);
        buf_puts(out, " as ");
        sql_put_ident(out, str_c(schema->fields[i].name));
    }
    buf_puts(out, " where false)");
}

static bool is_partition_column(const struct lake_snapshot *snap, const char *name) {
    for (size_t i = 0; i < lake_snapshot_n_partition_columns(snap); i++)
        if (str_eqc(str_c(name), lake_snapshot_partition_column(snap, i))) return true;
    return false;
}

// Column names are given, so that a file written before a column was added yields nulls for it, and one that other programs gave more columns
// does not show them.
static void put_read_parquet(struct lake_snapshot *snap, const size_t *files, size_t n, struct buf *out) {
    const struct cols_schema *schema = lake_snapshot_schema(snap);
    buf_puts(out, "read_parquet([");
    for (size_t i = 0; i < n; i++) {
        const struct lake_file *f = lake_snapshot_file(snap, files[i]);
        if (i > 0) buf_puts(out, ",");
        struct buf path;
        buf_init(&path, 0);
        if (f->path[0] != '/') buf_printf(&path, "%s/", lake_snapshot_dir(snap));
        buf_puts(&path, f->path);
        sql_put_string(out, buf_str(&path));
        buf_fini(&path);
    }
    buf_puts(out, "], hive_partitioning=false, schema=map{");
    bool first = true;
    for (size_t i = 0; i < schema->n; i++) {
        if (is_partition_column(snap, schema->fields[i].name)) continue;
        if (!first) buf_puts(out, ",");
        first = false;
        struct str name = str_c(schema->fields[i].name);
        sql_put_string(out, name);
        buf_puts(out, ":{name:");
        sql_put_string(out, name);
        buf_puts(out, ",type:");
        struct buf type;
        buf_init(&type, 0);
        type_put_sql(&schema->fields[i].type, &type);
        sql_put_string(out, buf_str(&type));
        buf_fini(&type);
        buf_puts(out, ",default_value:null}");
    }
    buf_puts(out, "})");
}

// Partition columns are not in the files: they come by the file's number.
static void put_partitioned(struct lake_snapshot *snap, const size_t *files, size_t n, struct buf *out) {
    const struct cols_schema *schema = lake_snapshot_schema(snap);
    size_t n_parts = lake_snapshot_n_partition_columns(snap);
    buf_puts(out, "(select ");
    for (size_t i = 0; i < schema->n; i++) {
        const char *name = schema->fields[i].name;
        bool part = is_partition_column(snap, name);
        if (i > 0) buf_puts(out, ", ");
        buf_puts(out, part ? "p__." : "t__.");
        sql_put_ident(out, str_c(name));
        if (!part) continue;
        buf_puts(out, "::");
        type_put_sql(&schema->fields[i].type, out);
        buf_puts(out, " as ");
        sql_put_ident(out, str_c(name));
    }
    buf_puts(out, " from ");
    put_read_parquet(snap, files, n, out);
    buf_puts(out, " t__ join (values ");
    for (size_t i = 0; i < n; i++) {
        const struct lake_file *f = lake_snapshot_file(snap, files[i]);
        buf_printf(out, "%s(%zu", i > 0 ? "," : "", i);
        for (size_t j = 0; j < n_parts; j++) {
            buf_puts(out, ",");
            if (f->partition_values == NULL || f->partition_values[j] == NULL) buf_puts(out, "null");
            else sql_put_string(out, str_c(f->partition_values[j]));
        }
        buf_puts(out, ")");
    }
    buf_puts(out, ") p__(fi__");
    for (size_t j = 0; j < n_parts; j++) {
        buf_puts(out, ",");
        sql_put_ident(out, str_c(lake_snapshot_partition_column(snap, j)));
    }
    buf_puts(out, ") on p__.fi__ = t__.file_index)");
}

void rewrite_scan(struct lake_snapshot *snap, const size_t *files, size_t n, struct buf *out) {
    if (n == 0) put_typed_empty(lake_snapshot_schema(snap), out);
    else if (lake_snapshot_n_partition_columns(snap) > 0) put_partitioned(snap, files, n, out);
    else put_read_parquet(snap, files, n, out);
}

// ---- pruning ------------------------------------------------------------------------------------------------------------------

static size_t prune(struct lake_snapshot *snap, const struct sql_ref *ref, struct arena *a, size_t **files) {
    static const enum lake_op ops[] = {LAKE_EQ, LAKE_NE, LAKE_LT, LAKE_LE, LAKE_GT, LAKE_GE}; // by enum sql_op
    const struct cols_schema *schema = lake_snapshot_schema(snap);
    struct lake_conjunct *c = ARENA_ARRAY(a, struct lake_conjunct, ref->n_conjuncts + 1);
    size_t n = 0;
    for (size_t i = 0; i < ref->n_conjuncts; i++) {
        for (size_t j = 0; j < schema->n; j++) {
            if (!str_ieq(ref->conjuncts[i].column, str_c(schema->fields[j].name))) continue;
            struct lake_literal *l = ARENA_NEW(a, struct lake_literal);
            *l = (struct lake_literal){ref->conjuncts[i].string ? LAKE_LITERAL_STRING : LAKE_LITERAL_NUMBER, ref->conjuncts[i].literal};
            c[n++] = (struct lake_conjunct){str_c(schema->fields[j].name), ops[ref->conjuncts[i].op], l, 1};
            break;
        }
    }
    *files = ARENA_ARRAY(a, size_t, lake_snapshot_n_files(snap) + 1);
    return lake_snapshot_prune(snap, c, n, *files);
}

// ---- topics -------------------------------------------------------------------------------------------------------------------

// topic_scan('flights', partition := 1, from_offset := 5, to_offset := 9, from_time_ms := 0): what the WHERE clause says about places and
// times goes into the call.
static void put_topic(struct str topic, const struct sql_ref *ref, struct buf *out) {
    int64_t low = -1, high = -1, partition = -1, from_us = INT64_MIN, us;
    for (size_t i = 0; i < ref->n_conjuncts; i++) {
        const struct sql_conjunct *c = &ref->conjuncts[i];
        int64_t v;
        bool zone = false; // without one the session's would count
        if (str_ieq(c->column, STR("_timestamp")) && c->string && (c->op == SQL_OP_GE || c->op == SQL_OP_GT || c->op == SQL_OP_EQ))
            if (cols_timestamp_parse(c->literal, &us, &zone) && zone && us > from_us) from_us = us;
        if (c->string || !str_to_i64(c->literal, &v) || v < 0 || v == INT64_MAX) continue;
        if (str_ieq(c->column, STR("_partition")) && c->op == SQL_OP_EQ) partition = v;
        if (!str_ieq(c->column, STR("_offset"))) continue;
        int64_t from = c->op == SQL_OP_GE || c->op == SQL_OP_EQ ? v : c->op == SQL_OP_GT ? v + 1 : -1;
        int64_t to = c->op == SQL_OP_LE || c->op == SQL_OP_EQ ? v + 1 : c->op == SQL_OP_LT ? v : -1;
        if (from > low) low = from;
        if (to >= 0 && (high < 0 || to < high)) high = to;
    }
    buf_puts(out, "topic_scan(");
    sql_put_string(out, topic);
    if (partition >= 0) buf_printf(out, ", partition := %lld", (long long)partition);
    if (low >= 0) buf_printf(out, ", from_offset := %lld", (long long)low);
    if (high >= 0) buf_printf(out, ", to_offset := %lld", (long long)high);
    if (from_us != INT64_MIN) buf_printf(out, ", from_time_ms := %lld", (long long)(from_us / 1000 - (from_us % 1000 < 0)));
    buf_puts(out, ")");
}

// ---- the text -----------------------------------------------------------------------------------------------------------------

struct pinned {
    const char *schema, *table;
    int64_t version;
    struct lake_snapshot *snap;
};

struct work {
    struct engine *e;
    const struct sql_statement *st;
    struct arena *a;
    struct buf out;
    VEC(struct pinned) pins;
    VEC(struct rewrite_piece) pieces;
    VEC(const struct sql_ref *) scans; // refs replaced, for qualified columns
    bool reads_target;
};

static struct lake_snapshot *pin(struct work *w, const char *schema, const char *table, int64_t version, struct err *err) {
    for (size_t i = 0; i < w->pins.n; i++) {
        struct pinned *p = &w->pins.p[i];
        if (p->version == version && strcmp(p->schema, schema) == 0 && strcmp(p->table, table) == 0) return p->snap;
    }
    struct lake_snapshot *snap = lake_table_snapshot(w->e->lake, schema, table, version, err);
    if (snap != NULL) vec_add(&w->pins, ((struct pinned){schema, table, version, snap}));
    return snap;
}

// Copies st->text[from, to) and notes where it went.
static void copy_text(struct work *w, size_t from, size_t to) {
    if (from >= to) return;
    vec_add(&w->pieces, ((struct rewrite_piece){from, w->out.n}));
    buf_put(&w->out, w->st->text.p + from, to - from);
}

static enum err_code put_table(struct work *w, const struct sql_ref *ref, const char *schema, const char *table, struct err *err) {
    struct lake_snapshot *snap = pin(w, schema, table, ref->version, err);
    if (snap == NULL) {
        if (err != NULL) err->position = (int)ref->at + 1;
        return err != NULL ? err->code : ERR_NO_TABLE;
    }
    size_t *files;
    size_t n = prune(snap, ref, w->a, &files);
    rewrite_scan(snap, files, n, &w->out);
    if (str_ieq(str_c(schema), w->st->target.schema) && str_ieq(str_c(table), w->st->target.table)) w->reads_target = true;
    return ERR_OK;
}

// Replaces one name if it is ours. *replaced says so.
static enum err_code put_ref(struct work *w, const struct sql_ref *ref, bool *replaced, struct err *err) {
    const char *schema, *table;
    struct str topic;
    *replaced = true;
    size_t at = w->out.n;
    enum err_code code = ERR_OK;
    if (catalog_is_topic(w->e, &ref->name, w->a, &topic)) put_topic(topic, ref, &w->out);
    else if (catalog_is_table(w->e, &ref->name, w->a, &schema, &table)) code = put_table(w, ref, schema, table, err);
    else {
        *replaced = false;
        if (ref->name.schema.n == 0) catalog_freshen(w->e, ref->name.table);
    }
    if (!*replaced || code != ERR_OK) return code;
    vec_add(&w->pieces, ((struct rewrite_piece){ref->at, at}));
    vec_add(&w->scans, ref);
    if (ref->alias.n == 0) {
        buf_puts(&w->out, " as ");
        sql_put_ident(&w->out, ref->name.table);
    }
    return ERR_OK;
}

static struct str unquoted(struct str text, const struct sql_token *k) {
    struct str s = str_n(text.p + k->at, k->n);
    return k->kind == SQL_TOKEN_QUOTED ? str_n(s.p + 1, s.n - 2) : s;
}

static bool is_scan_without_alias(const struct work *w, struct str schema, struct str table) {
    for (size_t i = 0; i < w->scans.n; i++) {
        const struct sql_ref *r = w->scans.p[i];
        if (r->alias.n == 0 && str_ieq(r->name.schema, schema) && str_ieq(r->name.table, table)) return true;
    }
    return false;
}

// Copies text between names; `schema.table.` in front of a column loses its schema when the table is one of our scans.
static void copy_between(struct work *w, size_t from, size_t to) {
    struct sql_lexer l = {str_n(w->st->text.p, to), from};
    struct sql_token k[4] = {{0}};
    size_t n = 0, done = from;
    struct sql_token t;
    while (sql_lex(&l, &t, NULL) == ERR_OK && t.kind != SQL_TOKEN_END) {
        if (n == 4) {
            memmove(k, k + 1, 3 * sizeof *k);
            n = 3;
        }
        k[n++] = t;
        if (n < 4) continue;
        bool names = (k[0].kind == SQL_TOKEN_WORD || k[0].kind == SQL_TOKEN_QUOTED) && (k[2].kind == SQL_TOKEN_WORD || k[2].kind == SQL_TOKEN_QUOTED);
        if (!names || w->st->text.p[k[1].at] != '.' || w->st->text.p[k[3].at] != '.' || k[1].n != 1 || k[3].n != 1) continue;
        if (!is_scan_without_alias(w, unquoted(w->st->text, &k[0]), unquoted(w->st->text, &k[2]))) continue;
        copy_text(w, done, k[0].at);
        done = k[2].at;
    }
    copy_text(w, done, to);
}

struct place {
    size_t at, n;         // in the statement
    size_t out_at, out_n; // its replacement in the first pass's output
};

// Two passes: which names are scans must be known before the columns in front of them are copied.
static enum err_code write_text(struct work *w, size_t from, size_t to, struct err *err) {
    struct place *places = ARENA_ARRAY(w->a, struct place, w->st->n_refs + 1);
    size_t n = 0;
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < w->st->n_refs && code == ERR_OK; i++) {
        const struct sql_ref *ref = &w->st->refs[i];
        if (ref->at < from || ref->at + ref->n > to) continue;
        bool replaced;
        size_t before = w->out.n;
        code = put_ref(w, ref, &replaced, err);
        if (!replaced) continue;
        places[n++] = (struct place){ref->at, ref->n, before, w->out.n - before};
    }
    if (code != ERR_OK) return code;
    struct buf scans = w->out;
    buf_init(&w->out, SQL_TEXT_MAX * 4);
    w->pieces.n = 0;
    size_t at = from;
    for (size_t i = 0; i < n; i++) {
        copy_between(w, at, places[i].at);
        vec_add(&w->pieces, ((struct rewrite_piece){places[i].at, w->out.n}));
        buf_put(&w->out, scans.p + places[i].out_at, places[i].out_n);
        at = places[i].at + places[i].n;
    }
    copy_between(w, at, to);
    buf_fini(&scans);
    return w->out.failed ? err_set(err, ERR_TOO_LARGE, "the statement with its files is longer than %d bytes", SQL_TEXT_MAX * 4) : ERR_OK;
}

enum err_code rewrite(struct engine *e, const struct sql_statement *st, struct str part, struct arena *a, struct rewritten *out, struct err *err) {
    struct work w = {.e = e, .st = st, .a = a};
    size_t from = (size_t)(part.p - st->text.p);
    buf_init(&w.out, SQL_TEXT_MAX * 4);
    enum err_code code = write_text(&w, from, from + part.n, err);
    *out = (struct rewritten){.reads_target = w.reads_target, .n_pieces = w.pieces.n};
    if (code == ERR_OK) {
        out->text = arena_str(a, buf_str(&w.out));
        out->pieces = ARENA_ARRAY(a, struct rewrite_piece, w.pieces.n + 1);
        if (w.pieces.n > 0) memcpy(out->pieces, w.pieces.p, w.pieces.n * sizeof *out->pieces);
    }
    for (size_t i = 0; i < w.pins.n; i++) lake_snapshot_unref(w.pins.p[i].snap);
    vec_fini(&w.pins);
    vec_fini(&w.pieces);
    vec_fini(&w.scans);
    buf_fini(&w.out);
    return code;
}

void rewrite_position(const struct rewritten *r, struct err *err) {
    if (err == NULL || err->position <= 0) return;
    size_t at = (size_t)err->position - 1, i = r->n_pieces;
    while (i > 0 && r->pieces[i - 1].to > at) i--;
    if (i == 0) {
        err->position = 0;
        return;
    }
    size_t shift = at - r->pieces[i - 1].to, room = i < r->n_pieces ? r->pieces[i].from - r->pieces[i - 1].from : SIZE_MAX;
    err->position = (int)(r->pieces[i - 1].from + (shift < room ? shift : 0)) + 1;
}

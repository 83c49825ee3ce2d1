// SPDX-License-Identifier: Apache-2.0
// `topic_scan('flights' [, partition := n, from_offset := n, to_offset := n, from_time_ms := n])`: a topic as a table, read from the
// broker up to the high watermarks of the moment when the scan began, decoded straight into columns.
//
// A value in the registry's wire format (a zero byte, the schema's id, the Avro datum) is resolved to the topic's newest schema, of which only
// the columns that the query needs are decoded. An event that cannot be decoded is a row with null columns and the reason in _error. Keys and
// header values are text; what is not UTF-8 is shown as \x and hexadecimal digits.
//
// Threads: DuckDB's; each takes a partition after the other. Memory: per thread one read of TOPIC_READ_BYTES and its rows. Nothing is durable here.
#include "engine/topic.h"

#include "codec/json.h"
#include "log/batch.h"
#include "schema/avro.h"

enum { TOPIC_READ_BYTES = 1 << 20, TOPIC_BUF_MAX = 256 << 20, WIRE_HEADER = 5 };

enum meta { META_PARTITION, META_OFFSET, META_TIMESTAMP, META_KEY, META_HEADERS, META_ERROR, META_COUNT };

static struct cols_field map_fields[2] = {
    {"key", {.kind = COLS_STRING}, false},
    {"value", {.kind = COLS_STRING}, true},
};
static const struct cols_field meta_fields[META_COUNT] = {
    {"_partition", {.kind = COLS_INT32}, true},
    {"_offset", {.kind = COLS_INT64}, true},
    {"_timestamp", {.kind = COLS_TIMESTAMP, .tz = true}, true},
    {"_key", {.kind = COLS_STRING}, true},
    {"_headers", {.kind = COLS_MAP, .n_fields = 2, .fields = map_fields}, true},
    {"_error", {.kind = COLS_STRING}, true},
};

// ---- columns ----------------------------------------------------------------------------------------------------------------

// The newest schema of the topic's values; text.p NULL: none is registered.
static enum err_code newest_schema(struct engine *e, struct str topic, struct arena *a, struct str *text, struct err *err) {
    *text = (struct str){NULL, 0};
    if (!e->has_schemas) return ERR_OK;
    int32_t id;
    struct err own = {0};
    const char *subject = arena_printf(a, STR_FMT "-value", STR_ARG(topic));
    enum err_code code = e->schemas.latest(e->schemas.self, str_c(subject), a, &id, text, &own);
    if (code == ERR_OK) return ERR_OK;
    *text = (struct str){NULL, 0};
    if (code == ERR_NOT_FOUND) return ERR_OK;
    if (err != NULL) err_copy(err, &own);
    return code;
}

static const struct cols_schema *value_columns(struct str text, struct arena *a, struct err *err) {
    if (text.p == NULL) {
        struct cols_schema *raw = ARENA_NEW(a, struct cols_schema);
        raw->n = 1;
        raw->fields = ARENA_ARRAY(a, struct cols_field, 1);
        raw->fields[0] = (struct cols_field){"_value", {.kind = COLS_BYTES}, true};
        return raw;
    }
    const struct avro_schema *avro = avro_schema_parse(text, a, err);
    struct avro_decoder *d = avro != NULL ? avro_decoder_new(avro, NULL, err) : NULL;
    if (d == NULL) return NULL;
    const struct cols_schema *columns = cols_schema_copy(avro_decoder_schema(d), a);
    avro_decoder_free(d);
    return columns;
}

static const struct cols_schema *all_columns(const struct cols_schema *value, bool typed, struct arena *a) {
    struct cols_schema *all = ARENA_NEW(a, struct cols_schema);
    size_t n_meta = typed ? META_COUNT : META_ERROR;
    all->fields = ARENA_ARRAY(a, struct cols_field, value->n + n_meta);
    for (size_t i = 0; i < value->n; i++) {
        all->fields[all->n] = value->fields[i];
        all->fields[all->n++].nullable = true; // of an event that does not decode
    }
    for (size_t i = 0; i < n_meta; i++) all->fields[all->n++] = meta_fields[i];
    return all;
}

const struct cols_schema *topic_columns(struct engine *e, struct str topic, struct arena *a, struct err *err) {
    struct str text;
    if (newest_schema(e, topic, a, &text, err) != ERR_OK) return NULL;
    const struct cols_schema *value = value_columns(text, a, err);
    return value != NULL ? all_columns(value, text.p != NULL, a) : NULL;
}

// ---- bind -------------------------------------------------------------------------------------------------------------------

struct topic_bind {
    struct engine *e;
    struct arena arena;
    const char *topic;
    int32_t n_partitions;
    int64_t partition, from, to, from_time_ms; // -1: not given
    struct str schema_text;      // p NULL: none
    const struct cols_schema *value, *all;
};

static void free_bind(void *p) {
    struct topic_bind *b = p;
    arena_fini(&b->arena);
    mem_free(b);
}

static int64_t named_parameter(duckdb_bind_info info, const char *name) {
    duckdb_value v = duckdb_bind_get_named_parameter(info, name);
    if (v == NULL) return -1;
    int64_t out = duckdb_is_null_value(v) ? -1 : duckdb_get_int64(v);
    duckdb_destroy_value(&v);
    return out;
}

static enum err_code bind_topic(struct topic_bind *b, duckdb_bind_info info, struct err *err) {
    duckdb_value v = duckdb_bind_get_parameter(info, 0);
    char *name = duckdb_get_varchar(v);
    b->topic = arena_strdup(&b->arena, name != NULL ? name : "");
    duckdb_free(name);
    duckdb_destroy_value(&v);
    struct broker_topic_info topic;
    if (b->e->topics == NULL) return err_set(err, ERR_NO_TOPIC, "topic %s does not exist", b->topic);
    if (topics_get(b->e->topics, str_c(b->topic), &b->arena, &topic, err) != ERR_OK) return err->code;
    b->n_partitions = topic.partitions;
    b->partition = named_parameter(info, "partition");
    b->from = named_parameter(info, "from_offset");
    b->to = named_parameter(info, "to_offset");
    b->from_time_ms = named_parameter(info, "from_time_ms");
    enum err_code code = newest_schema(b->e, str_c(b->topic), &b->arena, &b->schema_text, err);
    if (code != ERR_OK) return code;
    b->value = value_columns(b->schema_text, &b->arena, err);
    if (b->value == NULL) return err_wrap(err, "the schema of %s-value", b->topic);
    b->all = all_columns(b->value, b->schema_text.p != NULL, &b->arena);
    return ERR_OK;
}

static void topic_bind(duckdb_bind_info info) {
    struct topic_bind *b = MEM_NEW(struct topic_bind);
    b->e = duckdb_bind_get_extra_info(info);
    arena_init(&b->arena);
    duckdb_bind_set_bind_data(info, b, free_bind);
    struct err err = {0};
    if (bind_topic(b, info, &err) != ERR_OK) {
        duckdb_bind_set_error(info, err.msg);
        return;
    }
    for (size_t i = 0; i < b->all->n; i++) {
        duckdb_logical_type t = type_to_duck(&b->all->fields[i].type);
        duckdb_bind_add_result_column(info, b->all->fields[i].name, t);
        duckdb_destroy_logical_type(&t);
    }
}

// ---- the scan's shared state ----------------------------------------------------------------------------------------------------

struct part {
    int32_t id;
    int64_t next, end;
};

struct known { // a schema id seen
    int32_t id;
    struct avro_decoder *decoder; // NULL: `reason`
    const char *reason;
};

struct topic_scan {
    struct topic_bind *bind;
    struct arena arena;
    struct sys_mutex mutex; // around arena, known, next_part
    size_t n_out;
    int *out_from;               // column i of the output is column out_from[i] of the rows
    struct cols_schema *rows;    // projected value columns, then projected meta columns
    size_t n_value;              // of `rows`
    int meta[META_COUNT];        // their places in `rows`; -1: not wanted
    const struct avro_schema *reader; // NULL: nothing to decode
    VEC(struct known *) known;
    struct part *parts;
    size_t n_parts, next_part;
};

static void free_scan(void *p) {
    struct topic_scan *s = p;
    for (size_t i = 0; i < s->known.n; i++) avro_decoder_free(s->known.p[i]->decoder);
    vec_fini(&s->known);
    sys_mutex_fini(&s->mutex);
    arena_fini(&s->arena);
    mem_free(s);
}

// The record's schema with only the fields wanted: the decoder skips the others without storing them. When that is no schema any more
// (a later field uses a type that a dropped one defines), all are decoded.
static const struct avro_schema *narrow(struct topic_scan *s, const bool *wanted) {
    json_t *j = json_parse(s->bind->schema_text, NULL);
    json_t *fields = j != NULL ? json_object_get(j, "fields") : NULL;
    const struct avro_schema *out = NULL;
    if (json_is_array(fields) && json_array_size(fields) == s->bind->value->n) {
        for (size_t i = s->bind->value->n; i-- > 0;)
            if (!wanted[i]) json_array_remove(fields, i);
        out = avro_schema_parse(json_text(j, JSON_COMPACT, &s->arena), &s->arena, NULL);
    }
    json_decref(j);
    return out;
}

static void add_row_column(struct topic_scan *s, const struct cols_field *f) { s->rows->fields[s->rows->n++] = *f; }

// Which columns the rows under way have, and where the output finds them.
static void plan_columns(struct topic_scan *s, duckdb_init_info info) {
    const struct topic_bind *b = s->bind;
    bool *wanted = ARENA_ARRAY(&s->arena, bool, b->value->n + 1);
    int *place = ARENA_ARRAY(&s->arena, int, b->all->n + 1);
    size_t n_wanted = 0;
    s->n_out = duckdb_init_get_column_count(info);
    s->out_from = ARENA_ARRAY(&s->arena, int, s->n_out + 1);
    s->rows = ARENA_NEW(&s->arena, struct cols_schema);
    s->rows->fields = ARENA_ARRAY(&s->arena, struct cols_field, b->all->n + 1);
    for (size_t i = 0; i < META_COUNT; i++) s->meta[i] = -1;
    for (size_t i = 0; i < s->n_out; i++) {
        idx_t c = duckdb_init_get_column_index(info, i);
        if (c < b->value->n && !wanted[c]) wanted[c] = true, n_wanted++;
        if (c >= b->value->n && c < b->all->n) s->meta[c - b->value->n] = 0;
    }
    bool decodes = b->schema_text.p != NULL && (n_wanted > 0 || s->meta[META_ERROR] == 0);
    if (decodes) {
        if (n_wanted < b->value->n && n_wanted > 0 && s->meta[META_ERROR] < 0) s->reader = narrow(s, wanted);
        if (s->reader == NULL) {
            s->reader = avro_schema_parse(b->schema_text, &s->arena, NULL);
            for (size_t i = 0; i < b->value->n; i++) wanted[i] = true;
        }
    }
    for (size_t i = 0; i < b->value->n; i++) {
        if (!wanted[i]) continue;
        place[i] = (int)s->rows->n;
        add_row_column(s, &b->value->fields[i]);
        s->rows->fields[s->rows->n - 1].nullable = true;
    }
    s->n_value = s->rows->n;
    for (size_t i = 0; i < META_COUNT; i++) {
        if (s->meta[i] < 0) continue;
        s->meta[i] = place[b->value->n + i] = (int)s->rows->n;
        add_row_column(s, &meta_fields[i]);
    }
    for (size_t i = 0; i < s->n_out; i++) {
        idx_t c = duckdb_init_get_column_index(info, i);
        s->out_from[i] = c < b->all->n ? place[c] : -1; // a row id: nobody reads it
    }
}

static enum err_code plan_parts(struct topic_scan *s, struct err *err) {
    const struct topic_bind *b = s->bind;
    s->parts = ARENA_ARRAY(&s->arena, struct part, b->n_partitions + 1);
    for (int32_t p = 0; p < b->n_partitions; p++) {
        struct broker_offsets o;
        if (b->partition >= 0 && b->partition != p) continue;
        enum err_code code = topics_offsets(b->e->topics, b->topic, p, &o, err);
        if (code != ERR_OK) return code;
        int64_t from = b->from > o.start ? b->from : o.start, at, ms;
        if (b->from_time_ms >= 0) { // all events in front of that one are older
            code = topics_offset_for_time(b->e->topics, b->topic, p, b->from_time_ms, &at, &ms, err);
            if (code != ERR_OK) return code;
            if (at < 0) continue;
            if (at > from) from = at;
        }
        int64_t to = b->to >= 0 && b->to < o.stable ? b->to : o.stable; // behind it a transaction may be open
        if (from < to) s->parts[s->n_parts++] = (struct part){p, from, to};
    }
    return ERR_OK;
}

static void topic_init(duckdb_init_info info) {
    struct topic_scan *s = MEM_NEW(struct topic_scan);
    s->bind = duckdb_init_get_bind_data(info);
    arena_init(&s->arena);
    sys_mutex_init(&s->mutex);
    duckdb_init_set_init_data(info, s, free_scan);
    plan_columns(s, info);
    struct err err = {0};
    if (plan_parts(s, &err) != ERR_OK) duckdb_init_set_error(info, err.msg);
    size_t threads = s->n_parts < (size_t)s->bind->e->threads ? s->n_parts : (size_t)s->bind->e->threads;
    duckdb_init_set_max_threads(info, threads > 0 ? threads : 1);
}

// ---- one thread of it -----------------------------------------------------------------------------------------------------------

struct topic_thread {
    struct part *part; // NULL: take the next one
    struct buf raw;
    struct cols_builder *builder;
    struct cols_batch *batch;
    size_t at;
    struct known *last;
};

static void free_thread(void *p) {
    struct topic_thread *t = p;
    cols_batch_free(t->batch);
    if (t->builder != NULL) cols_builder_free(t->builder);
    buf_fini(&t->raw);
    mem_free(t);
}

static void topic_local_init(duckdb_init_info info) {
    struct topic_thread *t = MEM_NEW(struct topic_thread);
    buf_init(&t->raw, TOPIC_BUF_MAX);
    duckdb_init_set_init_data(info, t, free_thread);
}

static struct known *learn(struct topic_scan *s, int32_t id) { // under the mutex
    struct engine *e = s->bind->e;
    struct known *k = ARENA_NEW(&s->arena, struct known);
    struct err err = {0};
    struct str text;
    k->id = id;
    const struct avro_schema *writer = NULL;
    if (e->schemas.get(e->schemas.self, id, &s->arena, &text, &err) == ERR_OK) writer = avro_schema_parse(text, &s->arena, &err);
    if (writer != NULL) k->decoder = avro_decoder_new(writer, s->reader, &err);
    if (k->decoder == NULL) k->reason = arena_printf(&s->arena, "schema id %d: %s", id, err.msg);
    vec_add(&s->known, k);
    return k;
}

static struct known *decoder_of(struct topic_scan *s, struct topic_thread *t, int32_t id) {
    if (t->last != NULL && t->last->id == id) return t->last;
    sys_mutex_lock(&s->mutex);
    struct known *found = NULL;
    for (size_t i = 0; i < s->known.n && found == NULL; i++)
        if (s->known.p[i]->id == id) found = s->known.p[i];
    if (found == NULL) found = learn(s, id);
    sys_mutex_unlock(&s->mutex);
    t->last = found;
    return found;
}

// The value's columns of one row. false: nothing was put, and `err` says why.
static bool decode_value(struct topic_scan *s, struct topic_thread *t, const struct batch_record *r, struct err *err) {
    const uint8_t *p = (const uint8_t *)r->value.p;
    if (r->value_null) {
        err_set(err, ERR_DATA, "null value");
        return false;
    }
    if (r->value.n < WIRE_HEADER || p[0] != 0) {
        err_set(err, ERR_DATA, "not in the schema registry's wire format");
        return false;
    }
    int32_t id = (int32_t)((uint32_t)p[1] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 8 | p[4]);
    struct known *k = decoder_of(s, t, id);
    if (k->decoder == NULL) {
        err_set(err, ERR_DATA, "%s", k->reason);
        return false;
    }
    return avro_decode_values(k->decoder, str_n(r->value.p + WIRE_HEADER, r->value.n - WIRE_HEADER), t->builder, err) == ERR_OK;
}

static void put_text(struct cols_out *c, struct str s) {
    if (str_utf8_ok(s)) {
        if (!cols_out_bytes(c, s.p, s.n)) cols_out_null(c);
        return;
    }
    struct buf hex;
    buf_init(&hex, 0);
    buf_puts(&hex, "\\x");
    for (size_t i = 0; i < s.n; i++) buf_printf(&hex, "%02x", (unsigned char)s.p[i]);
    if (!cols_out_bytes(c, hex.p, hex.n)) cols_out_null(c);
    buf_fini(&hex);
}

// A map has each key once: of equal ones the last counts.
static bool comes_again(struct str rest, struct str key) {
    struct batch_header h;
    while (batch_header_next(&rest, &h))
        if (str_eq(h.key, key)) return true;
    return false;
}

static void put_headers(struct cols_out *map, struct str headers) {
    struct batch_header h;
    struct cols_out *entry = &map->children[0];
    while (batch_header_next(&headers, &h)) {
        if (comes_again(headers, h.key)) continue;
        put_text(&entry->children[0], h.key);
        if (h.value_null) cols_out_null(&entry->children[1]);
        else put_text(&entry->children[1], h.value);
        cols_out_struct(entry);
    }
    cols_out_list(map);
}

static void put_meta(struct topic_scan *s, struct topic_thread *t, const struct batch_record *r, const char *error) {
    struct cols_out *c = t->builder->cols;
    if (s->meta[META_PARTITION] >= 0) cols_out_i32(&c[s->meta[META_PARTITION]], t->part->id);
    if (s->meta[META_OFFSET] >= 0) cols_out_i64(&c[s->meta[META_OFFSET]], r->offset);
    if (s->meta[META_TIMESTAMP] >= 0) {
        int64_t us;
        if (__builtin_mul_overflow(r->timestamp, 1000, &us)) cols_out_null(&c[s->meta[META_TIMESTAMP]]);
        else cols_out_i64(&c[s->meta[META_TIMESTAMP]], us);
    }
    if (s->meta[META_KEY] >= 0) {
        if (r->key_null) cols_out_null(&c[s->meta[META_KEY]]);
        else put_text(&c[s->meta[META_KEY]], r->key);
    }
    if (s->meta[META_HEADERS] >= 0) put_headers(&c[s->meta[META_HEADERS]], r->headers);
    if (s->meta[META_ERROR] >= 0) {
        if (error == NULL) cols_out_null(&c[s->meta[META_ERROR]]);
        else cols_out_bytes(&c[s->meta[META_ERROR]], error, strlen(error));
    }
}

static void put_event(struct topic_scan *s, struct topic_thread *t, const struct batch_record *r) {
    struct err err = {0};
    bool raw = s->bind->schema_text.p == NULL;
    bool decoded = s->reader != NULL && decode_value(s, t, r, &err);
    if (raw && s->n_value > 0 && !r->value_null) cols_out_bytes(&t->builder->cols[0], r->value.p, r->value.n);
    else if (!decoded)
        for (size_t i = 0; i < s->n_value; i++) cols_out_null(&t->builder->cols[i]);
    put_meta(s, t, r, s->reader != NULL && !decoded && !r->value_null ? err.msg : NULL);
    t->builder->rows++;
}

static enum err_code put_batch(struct topic_scan *s, struct topic_thread *t, const struct batch *b, struct err *err) {
    struct batch_iter it;
    struct batch_record r;
    if (b->attributes & BATCH_ATTR_CONTROL) return ERR_OK;
    enum err_code code = batch_iter_init(&it, b, 0, err);
    if (code != ERR_OK) return code;
    int more;
    while ((more = batch_iter_next(&it, &r, err)) > 0) {
        if (r.offset >= t->part->end) break;
        if (r.offset >= t->part->next) put_event(s, t, &r);
    }
    batch_iter_fini(&it);
    return more < 0 ? err->code : ERR_OK;
}

// Reads on in the thread's partition; t->part is NULL behind its end.
static enum err_code read_part(struct topic_scan *s, struct topic_thread *t, struct err *err) {
    struct broker_offsets now;
    struct part *p = t->part;
    buf_clear(&t->raw);
    int64_t behind = p->next; // markers and what was aborted are passed over
    enum err_code code = topics_read(s->bind->e->topics, s->bind->topic, p->id, p->next, TOPIC_READ_BYTES, &t->raw, &behind, &now, err);
    if (code == ERR_OFFSET_RANGE && now.start > p->next) { // retention was faster
        p->next = now.start;
        if (p->next >= p->end) t->part = NULL;
        err_clear(err);
        return ERR_OK;
    }
    size_t at = 0;
    int64_t next = p->next;
    while (code == ERR_OK && at < t->raw.n && next < p->end) {
        struct batch b;
        if (batch_read(t->raw.p + at, t->raw.n - at, &b) != BATCH_OK)
            return err_set(err, ERR_CORRUPT, "a batch of %s-%d is damaged", s->bind->topic, p->id);
        code = put_batch(s, t, &b, err);
        next = batch_last_offset(&b) + 1;
        at += b.size;
    }
    if (code == ERR_OK && next < p->end) next = behind;
    if (next == p->next || next >= p->end) t->part = NULL;
    p->next = next;
    return code;
}

static enum err_code read_more(struct topic_scan *s, struct topic_thread *t, struct err *err) {
    if (t->builder == NULL) t->builder = cols_builder_new(s->rows, 4096);
    while (t->builder->rows == 0) {
        if (t->part == NULL) {
            sys_mutex_lock(&s->mutex);
            t->part = s->next_part < s->n_parts ? &s->parts[s->next_part++] : NULL;
            sys_mutex_unlock(&s->mutex);
        }
        if (t->part == NULL) return ERR_OK;
        enum err_code code = read_part(s, t, err);
        if (code != ERR_OK) return code;
    }
    t->batch = cols_builder_finish(t->builder);
    t->at = 0;
    return ERR_OK;
}

static void topic_scan(duckdb_function_info info, duckdb_data_chunk chunk) {
    struct topic_scan *s = duckdb_function_get_init_data(info);
    struct topic_thread *t = duckdb_function_get_local_init_data(info);
    struct err err = {0};
    if (t->batch == NULL && read_more(s, t, &err) != ERR_OK) {
        duckdb_function_set_error(info, err.msg);
        return;
    }
    size_t n = t->batch != NULL ? t->batch->n - t->at : 0, max = duckdb_vector_size();
    if (n > max) n = max;
    for (size_t i = 0; i < s->n_out && n > 0; i++)
        if (s->out_from[i] >= 0) vector_fill(duckdb_data_chunk_get_vector(chunk, i), &t->batch->columns[s->out_from[i]], t->at, n);
    duckdb_data_chunk_set_size(chunk, n);
    t->at += n;
    if (t->batch != NULL && t->at == t->batch->n) {
        cols_batch_free(t->batch);
        t->batch = NULL;
    }
}

enum err_code topic_register(struct engine *e, duckdb_connection con, struct err *err) {
    static const char *const numbers[] = {"partition", "from_offset", "to_offset", "from_time_ms"};
    duckdb_table_function f = duckdb_create_table_function();
    duckdb_logical_type text = duckdb_create_logical_type(DUCKDB_TYPE_VARCHAR), number = duckdb_create_logical_type(DUCKDB_TYPE_BIGINT);
    duckdb_table_function_set_name(f, "topic_scan");
    duckdb_table_function_add_parameter(f, text);
    for (size_t i = 0; i < 4; i++) duckdb_table_function_add_named_parameter(f, numbers[i], number);
    duckdb_destroy_logical_type(&text);
    duckdb_destroy_logical_type(&number);
    duckdb_table_function_set_extra_info(f, e, NULL);
    duckdb_table_function_set_bind(f, topic_bind);
    duckdb_table_function_set_init(f, topic_init);
    duckdb_table_function_set_local_init(f, topic_local_init);
    duckdb_table_function_set_function(f, topic_scan);
    duckdb_table_function_supports_projection_pushdown(f, true);
    duckdb_state state = duckdb_register_table_function(con, f);
    duckdb_destroy_table_function(&f);
    return state == DuckDBSuccess ? ERR_OK : err_set(err, ERR_INTERNAL, "topic_scan cannot be registered");
}

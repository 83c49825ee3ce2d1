// SPDX-License-Identifier: Apache-2.0
// The DuckDB database behind the engine: opening with our settings, locking it down, connections, errors, and opening it again after DuckDB
// itself failed (error types INTERNAL and FATAL make a database unusable).
//
// It is opened with the first session. Any thread; e->mutex guards e->db and the counts, e->catalog_mutex the admin connection. Memory: a
// database lives until its last connection is closed. Nothing is durable: tables live in the lake, the spill folder is scratch.
#include "codec/json.h"
#include "engine/internal.h"

// ---- errors ---------------------------------------------------------------------------------------------------------------

static const struct {
    const char *name; // DuckDB's exception type
    duckdb_error_type type;
    enum err_code code;
} errors[] = {
    {"Parser", DUCKDB_ERROR_PARSER, ERR_PARSE},
    {"Syntax", DUCKDB_ERROR_SYNTAX, ERR_PARSE},
    {"Binder", DUCKDB_ERROR_BINDER, ERR_PARSE},
    {"Catalog", DUCKDB_ERROR_CATALOG, ERR_NOT_FOUND},
    {"Conversion", DUCKDB_ERROR_CONVERSION, ERR_DATA},
    {"Out of Range", DUCKDB_ERROR_OUT_OF_RANGE, ERR_DATA},
    {"Mismatch Type", DUCKDB_ERROR_MISMATCH_TYPE, ERR_DATA},
    {"Decimal", DUCKDB_ERROR_DECIMAL, ERR_DATA},
    {"Divide by Zero", DUCKDB_ERROR_DIVIDE_BY_ZERO, ERR_DATA},
    {"Constraint", DUCKDB_ERROR_CONSTRAINT, ERR_DATA},
    {"Sequence", DUCKDB_ERROR_SEQUENCE, ERR_DATA},
    {"Object Size", DUCKDB_ERROR_OBJECT_SIZE, ERR_TOO_LARGE},
    {"Invalid Input", DUCKDB_ERROR_INVALID_INPUT, ERR_INVALID},
    {"Invalid type", DUCKDB_ERROR_INVALID_TYPE, ERR_INVALID},
    {"Expression", DUCKDB_ERROR_EXPRESSION, ERR_INVALID},
    {"Parameter Not Resolved", DUCKDB_ERROR_PARAMETER_NOT_RESOLVED, ERR_INVALID},
    {"Parameter Not Allowed", DUCKDB_ERROR_PARAMETER_NOT_ALLOWED, ERR_INVALID},
    {"Settings", DUCKDB_ERROR_SETTINGS, ERR_CONFIG},
    {"Invalid Configuration", DUCKDB_INVALID_CONFIGURATION, ERR_CONFIG},
    {"TransactionContext", DUCKDB_ERROR_TRANSACTION, ERR_CONFLICT},
    {"Dependency", DUCKDB_ERROR_DEPENDENCY, ERR_CONFLICT},
    {"Not implemented", DUCKDB_ERROR_NOT_IMPLEMENTED, ERR_NOT_SUPPORTED},
    {"Missing Extension", DUCKDB_ERROR_MISSING_EXTENSION, ERR_NOT_SUPPORTED},
    {"Extension Autoloading", DUCKDB_ERROR_AUTOLOAD, ERR_NOT_SUPPORTED},
    {"Out of Memory", DUCKDB_ERROR_OUT_OF_MEMORY, ERR_NO_MEMORY},
    {"IO", DUCKDB_ERROR_IO, ERR_IO},
    {"Permission", DUCKDB_ERROR_PERMISSION, ERR_DENIED},
    {"INTERRUPT", DUCKDB_ERROR_INTERRUPT, ERR_CANCELLED},
    {"HTTP", DUCKDB_ERROR_HTTP, ERR_UNAVAILABLE},
    {"Network", DUCKDB_ERROR_NETWORK, ERR_UNAVAILABLE},
    {"Connection", DUCKDB_ERROR_CONNECTION, ERR_UNAVAILABLE},
    {"FATAL", DUCKDB_ERROR_FATAL, ERR_INTERNAL},
    {"INTERNAL", DUCKDB_ERROR_INTERNAL, ERR_INTERNAL},
};
enum { N_ERRORS = sizeof errors / sizeof *errors };

static enum err_code code_of(struct str name, duckdb_error_type type) {
    for (size_t i = 0; i < N_ERRORS; i++)
        if (str_ieq(name, str_c(errors[i].name)) || (name.n == 0 && errors[i].type == type)) return errors[i].code;
    return ERR_INVALID;
}

// What the catalog and the binder miss has codes of its own.
static enum err_code refine(enum err_code code, const json_t *j, struct str text) {
    struct str subtype = json_get_str(j, "error_subtype"), type = json_get_str(j, "type");
    if (code == ERR_PARSE && str_eqc(subtype, "COLUMN_NOT_FOUND")) return ERR_NO_COLUMN;
    if (code == ERR_PARSE && memmem(text.p, text.n, "does not have a column named", 28) != NULL) return ERR_NO_COLUMN;
    if (code == ERR_NOT_FOUND && str_starts(text, STR("Table with name"))) return ERR_NO_TABLE;
    if (code == ERR_NOT_FOUND && (str_eqc(type, "Table") || str_eqc(type, "View"))) return ERR_NO_TABLE;
    if (code == ERR_NOT_FOUND && str_eqc(type, "Schema")) return ERR_NO_SCHEMA;
    if (code == ERR_NOT_FOUND && memmem(text.p, text.n, "already exists", 14) != NULL) return ERR_EXISTS;
    if (memmem(text.p, text.n, "No magic bytes", 14) != NULL || memmem(text.p, text.n, "too small to be a Parquet file", 30) != NULL) return ERR_CORRUPT;
    if (code == ERR_IO && memmem(text.p, text.n, "No space left", 13) != NULL) return ERR_NO_SPACE;
    if (code == ERR_CANCELLED && memmem(text.p, text.n, "out of memory", 13) != NULL) return ERR_NO_MEMORY;
    return code;
}

// One line of it, without the stack trace that INTERNAL errors bring.
static struct str first_part(struct str text) {
    static const char *const ends[] = {"\n\nLINE ", "\n\nStack Trace", "\nLINE ", "\nThis error signals"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        const char *at = memmem(text.p, text.n, ends[i], strlen(ends[i]));
        if (at != NULL) text.n = (size_t)(at - text.p);
    }
    return text;
}

static void set_message(struct err *err, enum err_code code, struct str text) {
    char line[ERR_MSG_MAX];
    size_t n = text.n < sizeof line - 1 ? text.n : sizeof line - 1;
    for (size_t i = 0; i < n; i++) line[i] = text.p[i] == '\n' || text.p[i] == '\r' ? ' ' : text.p[i];
    err_set(err, code, "%.*s", (int)n, line);
}

// "Parser Error: text", and with errors_as_json `{...}` or, for errors of the parser, "Parser Error: {...}".
enum err_code duck_error(const char *message, duckdb_error_type type, struct err *err) {
    struct err own;
    if (err == NULL) err = &own;
    struct str rest = str_c(message != NULL ? message : "DuckDB gave no message"), name = {NULL, 0};
    const char *mark = rest.p[0] != '{' ? memmem(rest.p, rest.n, " Error: ", 8) : NULL;
    if (mark != NULL && mark - rest.p < 30) {
        name = str_n(rest.p, (size_t)(mark - rest.p));
        rest = str_n(mark + 8, rest.n - name.n - 8);
    }
    json_t *j = rest.n > 0 && rest.p[0] == '{' ? json_parse(rest, NULL) : NULL;
    struct str full = json_get_str(j, "exception_message");
    if (j != NULL && json_get_str(j, "exception_type").n > 0) name = json_get_str(j, "exception_type");
    if (full.n == 0) full = rest;
    int64_t position = -1;
    set_message(err, refine(code_of(name, type), j, full), first_part(full));
    if (j != NULL && str_to_i64(json_get_str(j, "position"), &position) && position >= 0) err->position = (int)position + 1;
    json_decref(j);
    return err->code;
}

// ---- statements -------------------------------------------------------------------------------------------------------------

enum err_code duck_run(duckdb_connection con, const char *sql, struct err *err) {
    duckdb_result r;
    enum err_code code = ERR_OK;
    if (duckdb_query(con, sql, &r) != DuckDBSuccess) code = duck_error(duckdb_result_error(&r), duckdb_result_error_type(&r), err);
    duckdb_destroy_result(&r);
    return code;
}

// ---- opening ----------------------------------------------------------------------------------------------------------------

static enum err_code set(duckdb_config config, const char *name, const char *value, struct err *err) {
    if (duckdb_set_config(config, name, value) == DuckDBSuccess) return ERR_OK;
    return err_set(err, ERR_CONFIG, "DuckDB refuses the setting %s = %s", name, value);
}

static enum err_code make_config(const struct engine *e, duckdb_config config, struct err *err) {
    struct arena a;
    arena_init(&a);
    const char *limit = arena_printf(&a, "%lluB", (unsigned long long)e->memory_limit);
    const char *threads = arena_printf(&a, "%d", e->threads);
    const char *const settings[][2] = {
        {"autoinstall_known_extensions", "false"}, // the default goes to the network
        {"autoload_known_extensions", "false"},
        {"temp_directory", e->spill_dir != NULL ? e->spill_dir : ""}, // "" = no spilling (the default would be .tmp where we stand)
        {"memory_limit", limit},
        {"threads", threads},
        {"allocator_background_threads", "true"}, // without it memory never goes back to the system
    };
    enum err_code code = ERR_OK;
    for (size_t i = 0; code == ERR_OK && i < sizeof settings / sizeof *settings; i++) code = set(config, settings[i][0], settings[i][1], err);
    arena_fini(&a);
    return code;
}

// What a session may still set after the lock.
#define SESSION_SETTINGS                                                                                                                    \
    "'TimeZone','Calendar','search_path','schema','preserve_insertion_order','errors_as_json','default_null_order','default_order',"       \
    "'integer_division','ieee_floating_point_ops','streaming_buffer_size','scalar_subquery_error_on_multiple_rows','lambda_syntax'"

// Without a lake the engine is a command's own tool, and reads what its user may read.
static enum err_code lock_down(struct engine *e, duckdb_connection con, struct err *err) {
    if (e->lake == NULL) return ERR_OK;
    struct buf b;
    buf_init(&b, 0);
    buf_puts(&b, "SET allow_persistent_secrets=false; SET allowed_directories=[");
    const char *dirs[] = {e->lake != NULL ? lake_dir(e->lake) : NULL, e->files_dir};
    bool any = false;
    for (size_t i = 0; i < 2; i++) {
        if (dirs[i] == NULL) continue;
        if (any) buf_puts(&b, ", ");
        char *dir = mem_printf("%s/", dirs[i]);
        sql_put_string(&b, str_c(dir));
        mem_free(dir);
        any = true;
    }
    buf_puts(&b, "]; SET enable_external_access=false; SET allowed_configs=[" SESSION_SETTINGS "]; SET lock_configuration=true");
    enum err_code code = duck_run(con, buf_cstr(&b), err);
    buf_fini(&b);
    return code;
}

static enum err_code prepare_database(struct engine *e, duckdb_connection con, struct err *err) {
    enum err_code code = duck_run(con, "ATTACH ':memory:' AS millrace; USE millrace; SET errors_as_json=true; SET GLOBAL TimeZone='UTC'; "
        "CREATE SCHEMA topics", err);
    if (code == ERR_OK) code = source_register(e, con, err);
    if (code == ERR_OK) code = topic_register(e, con, err);
    if (code == ERR_OK) code = lock_down(e, con, err);
    return code;
}

static enum err_code duck_open(struct engine *e, struct err *err) { // sets e->db and e->admin; under the mutex
    duckdb_config config;
    duckdb_database handle = NULL;
    duckdb_connection con = NULL;
    char *message = NULL;
    if (duckdb_create_config(&config) != DuckDBSuccess) return err_set(err, ERR_INTERNAL, "DuckDB has no configuration");
    enum err_code code = make_config(e, config, err);
    if (code == ERR_OK && duckdb_open_ext(NULL, &handle, config, &message) != DuckDBSuccess)
        code = err_set(err, ERR_INTERNAL, "DuckDB does not open: %s", message != NULL ? message : "no message");
    duckdb_free(message);
    duckdb_destroy_config(&config);
    if (code == ERR_OK && duckdb_connect(handle, &con) != DuckDBSuccess) code = err_set(err, ERR_INTERNAL, "DuckDB gives no connection");
    if (code == ERR_OK) code = prepare_database(e, con, err);
    if (code != ERR_OK) {
        if (con != NULL) duckdb_disconnect(&con);
        if (handle != NULL) duckdb_close(&handle);
        return err_wrap(err, "opening the SQL engine");
    }
    struct duck_db *db = MEM_NEW(struct duck_db);
    *db = (struct duck_db){.handle = handle, .refs = 1};
    e->db = db;
    e->admin = con;
    return ERR_OK;
}

static void unref(struct duck_db *db) { // under the mutex
    if (--db->refs > 0) return;
    duckdb_close(&db->handle);
    mem_free(db);
}

void duck_close(struct engine *e) {
    if (e->db == NULL) return;
    duckdb_disconnect(&e->admin);
    unref(e->db);
    e->db = NULL;
}

// A server whose SQL nobody uses has no database: it is half of the memory and of the time to start.
enum err_code duck_ensure(struct engine *e, bool inside, struct err *err) {
    enum err_code code = ERR_OK;
    int64_t from = sys_mono_us(e->sys);
    sys_mutex_lock(&e->mutex);
    bool opens = e->db == NULL;
    if (opens) code = duck_open(e, err);
    sys_mutex_unlock(&e->mutex);
    if (code == ERR_OK && !inside) {
        sys_mutex_lock(&e->catalog_mutex);
        if (!e->catalog_ready) catalog_open(e);
        e->catalog_ready = true;
        sys_mutex_unlock(&e->catalog_mutex);
    }
    if (opens) log_debug("engine", "database open", "us", log_i64(sys_mono_us(e->sys) - from), NULL);
    return code;
}

enum err_code duck_connect(struct engine *e, struct duck_db **db, duckdb_connection *con, struct err *err) {
    sys_mutex_lock(&e->mutex);
    *db = e->db;
    if (*db != NULL) (*db)->refs++;
    sys_mutex_unlock(&e->mutex);
    if (*db == NULL) return err_set(err, ERR_CLOSED, "the SQL engine is not open");
    enum err_code code = ERR_OK;
    if (duckdb_connect((*db)->handle, con) != DuckDBSuccess) {
        *con = NULL;
        code = err_set(err, ERR_INTERNAL, "DuckDB gives no connection");
    }
    if (code == ERR_OK) code = duck_run(*con, "USE millrace; SET errors_as_json=true", err);
    if (code != ERR_OK) {
        duck_disconnect(e, *db, *con);
        *db = NULL;
        *con = NULL;
    }
    return code;
}

void duck_disconnect(struct engine *e, struct duck_db *db, duckdb_connection con) {
    if (con != NULL) duckdb_disconnect(&con);
    if (db == NULL) return;
    sys_mutex_lock(&e->mutex);
    unref(db);
    sys_mutex_unlock(&e->mutex);
}

void duck_break(struct engine *e, struct duck_db *db) {
    struct err err = {0};
    bool opened = false;
    sys_mutex_lock(&e->catalog_mutex);
    sys_mutex_lock(&e->mutex);
    if (e->db == db) {
        duckdb_connection old = e->admin;
        if (duck_open(e, &err) == ERR_OK) {
            duckdb_disconnect(&old);
            unref(db);
            opened = true;
        }
    }
    sys_mutex_unlock(&e->mutex);
    if (opened) {
        catalog_fini(e);
        catalog_open(e);
    }
    sys_mutex_unlock(&e->catalog_mutex);
    if (err.code != ERR_OK) log_error("engine", "DuckDB could not be opened again", "error", err.msg, NULL);
    else if (opened) log_warn("engine", "DuckDB failed inside and was opened again", NULL);
}

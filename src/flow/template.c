// SPDX-License-Identifier: Apache-2.0
// Templates of tasks that run without Python: {{ ds }}, {{ params.x }}, {{ var.value.x }} and the like are filled in here; whatever else a
// template holds ({% %}, filters, calls, macros) goes to Jinja2 in the warm interpreter. The rule: the same text as Jinja2 would give, or "ask it".
// The loop's thread; template files are small and read at once.
#include "flow/flow_int.h"

#include <stdio.h>

// ---- variables ------------------------------------------------------------------------------------------------------------------
typedef bool var_fn(struct flow *f, const struct fti *ti, struct str name, struct buf *out);

static bool put_iso(int64_t us, const char *pattern, struct buf *out) { // pattern: digits positions of isoformat to keep
    if (us == FLOW_NO_TIME) return false;
    char iso[40];
    flow_iso(us, iso);
    if (strcmp(pattern, "ds") == 0) buf_put(out, iso, 10);
    else if (strcmp(pattern, "ts") == 0) buf_puts(out, iso);
    else {
        size_t n = strcmp(pattern, "ds_nodash") == 0 ? 10 : strcmp(pattern, "ts_nodash") == 0 ? 19 : strlen(iso);
        for (size_t i = 0; i < n; i++)
            if (iso[i] != '-' && iso[i] != ':') buf_put_u8(out, (uint8_t)iso[i]);
    }
    return true;
}

static bool var_date(struct flow *f, const struct fti *ti, struct str name, struct buf *out) {
    (void)f;
    char pattern[32];
    snprintf(pattern, sizeof pattern, STR_FMT, STR_ARG(name));
    return put_iso(ti->run->logical_us, pattern, out);
}
static bool var_run_id(struct flow *f, const struct fti *ti, struct str name, struct buf *out) {
    (void)f, (void)name;
    buf_puts(out, ti->run->run_id);
    return true;
}
static bool var_dag_id(struct flow *f, const struct fti *ti, struct str name, struct buf *out) {
    (void)f, (void)name;
    buf_puts(out, ti->run->dag->dag_id);
    return true;
}
static bool var_task_id(struct flow *f, const struct fti *ti, struct str name, struct buf *out) {
    (void)f, (void)name;
    buf_puts(out, ti->task->id);
    return true;
}
static bool var_try(struct flow *f, const struct fti *ti, struct str name, struct buf *out) {
    (void)f, (void)name;
    buf_printf(out, "%d", ti->try_number);
    return true;
}

static const struct {
    const char *name;
    var_fn *fn;
} variables[] = {
    {"ds", var_date}, {"ds_nodash", var_date}, {"ts", var_date}, {"ts_nodash", var_date}, {"ts_nodash_with_tz", var_date},
    {"run_id", var_run_id}, {"dag_run.run_id", var_run_id}, {"ti.run_id", var_run_id}, {"task_instance.run_id", var_run_id},
    {"dag.dag_id", var_dag_id}, {"ti.dag_id", var_dag_id}, {"task_instance.dag_id", var_dag_id}, {"dag_run.dag_id", var_dag_id},
    {"task.task_id", var_task_id}, {"ti.task_id", var_task_id}, {"task_instance.task_id", var_task_id},
    {"ti.try_number", var_try}, {"task_instance.try_number", var_try},
};

// A string or an integer is the same text in Python; the rest is left to it.
static bool put_scalar(const json_t *v, struct buf *out) {
    if (json_is_string(v)) buf_put_str(out, json_str(v));
    else if (json_is_integer(v)) buf_printf(out, "%lld", (long long)json_integer_value(v));
    else return false;
    return true;
}

static bool put_param(const struct fti *ti, struct str name, struct buf *out) {
    char key[256];
    if (name.n >= sizeof key) return false;
    snprintf(key, sizeof key, STR_FMT, STR_ARG(name));
    json_t *conf = json_parse(str_c(ti->run->conf), NULL), *v = json_object_get(conf, key);
    json_t *own = json_object_get(json_object_get(ti->task->json, "params"), key);
    if (own == NULL) own = json_object_get(json_object_get(ti->run->version->doc, "params"), key);
    bool ok = own != NULL && json_object_size(json_object_get(own, "schema")) == 0; // a schema is Python's to check
    if (v == NULL) v = json_object_get(own, "value");
    ok = ok && v != NULL && put_scalar(v, out);
    json_decref(conf);
    return ok;
}

static bool put_variable(struct flow *f, struct str name, struct buf *out) {
    char key[256];
    snprintf(key, sizeof key, STR_FMT, STR_ARG(name));
    struct meta_stmt *st = meta_query(f->meta, NULL, "select value from flow_variable where key = ?1", "s", key);
    if (st == NULL) return false;
    bool found = name.n < sizeof key && meta_step(st, NULL) == 1;
    if (found) buf_put_str(out, meta_text(st, 0));
    meta_reset(st);
    return found;
}

static bool put_expression(struct flow *f, const struct fti *ti, struct str e, struct buf *out) {
    for (size_t i = 0; i < e.n; i++) {
        char c = e.p[i];
        if (!(c == '_' || c == '.' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (i > 0 && c >= '0' && c <= '9'))) return false;
    }
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++)
        if (str_eqc(e, variables[i].name)) return variables[i].fn(f, ti, e, out);
    if (str_starts(e, STR("params."))) return put_param(ti, str_n(e.p + 7, e.n - 7), out);
    if (str_starts(e, STR("var.value."))) return put_variable(f, str_n(e.p + 10, e.n - 10), out);
    return false;
}

bool flow_template(struct flow *f, const struct fti *ti, struct str text, struct buf *out) {
    if (text.n > 0 && text.p[text.n - 1] == '\n') text.n--; // Jinja2 drops one newline at the end
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i], next = i + 1 < text.n ? text.p[i + 1] : '\0';
        if (c == '\r') return false; // Jinja2 turns line ends into \n
        if (c != '{' || (next != '{' && next != '%' && next != '#')) {
            buf_put_u8(out, (uint8_t)c);
            continue;
        }
        if (next != '{') return false;
        size_t end = i + 2;
        while (end + 1 < text.n && !(text.p[end] == '}' && text.p[end + 1] == '}')) end++;
        if (end + 1 >= text.n) return false;
        if (!put_expression(f, ti, str_trim(str_n(text.p + i + 2, end - i - 2)), out)) return false;
        i = end + 1;
    }
    return !out->failed;
}

// ---- fields -----------------------------------------------------------------------------------------------------------------------
struct render {
    struct fexec *x;
    const char *const *ext; // file name endings of this operator; NULL-ended
    bool needs_python;
    struct err *err;
};

static bool is_file(const struct render *r, struct str s) {
    for (size_t i = 0; r->ext[i] != NULL; i++)
        if (str_ends(s, str_c(r->ext[i]))) return true;
    return false;
}

// A template file: beside the DAG file, then in template_searchpath. As Jinja2's loader, no way out of these folders.
static char *read_template(struct render *r, struct str name, size_t *n) {
    const struct fversion *v = r->x->run->version;
    const char *slash = strrchr(v->fileloc, '/');
    struct buf tried;
    buf_init(&tried, 65536);
    json_t *search = json_object_get(v->doc, "template_searchpath");
    char *text = NULL;
    bool inside = name.n > 0 && name.p[0] != '/' && memmem(name.p, name.n, "..", 2) == NULL;
    for (size_t i = 0; inside && text == NULL && i <= json_array_size(search); i++) {
        struct str dir = i == 0 ? str_n(v->fileloc, slash != NULL ? (size_t)(slash - v->fileloc) : 0) : json_str(json_array_get(search, i - 1));
        char *path = mem_printf(STR_FMT "/" STR_FMT, STR_ARG(dir), STR_ARG(name));
        struct err err = {0};
        text = sys_read_file(r->x->f->sys, path, FLOW_FILE_MAX, n, &err);
        if (text == NULL && err.code != ERR_NOT_FOUND) err_copy(r->err, &err);
        buf_printf(&tried, "%s" STR_FMT, i > 0 ? ", " : "", STR_ARG(dir));
        mem_free(path);
    }
    if (text == NULL && r->err->code == ERR_OK)
        err_set(r->err, ERR_NOT_FOUND, "template '" STR_FMT "' was not found in %s", STR_ARG(name), buf_cstr(&tried));
    buf_fini(&tried);
    return text;
}

static json_t *render_text(struct render *r, struct str s) {
    struct buf out;
    buf_init(&out, FLOW_FILE_MAX);
    size_t n = s.n;
    char *file = is_file(r, s) ? read_template(r, s, &n) : NULL;
    json_t *v = NULL;
    if (r->err->code == ERR_OK) {
        struct str text = file != NULL ? str_n(file, n) : s;
        if (memchr(text.p, '{', text.n) == NULL && file == NULL) v = json_of_str(s);
        else if (flow_template(r->x->f, r->x->ti, text, &out)) v = json_of_str(buf_str(&out));
        else r->needs_python = true;
    }
    mem_free(file);
    buf_fini(&out);
    return v != NULL ? v : json_null();
}

static json_t *render_value(struct render *r, json_t *v) {
    if (r->needs_python || r->err->code != ERR_OK) return json_null();
    if (json_is_string(v)) return render_text(r, json_str(v));
    json_t *out = json_is_array(v) ? json_array() : json_is_object(v) ? json_object() : NULL, *e;
    if (out == NULL) return v != NULL ? json_incref(v) : json_null();
    size_t i;
    const char *key;
    if (json_is_array(v)) {
        json_array_foreach(v, i, e) json_array_append_new(out, render_value(r, e));
    } else {
        json_object_foreach(v, key, e) json_object_set_new(out, key, render_value(r, e));
    }
    return out;
}

enum err_code flow_render(struct fexec *x, bool *needs_python, struct err *err) {
    static const char *const sql_ext[] = {".sql", ".json", NULL}, *const bash_ext[] = {".sh", ".bash", NULL}, *const none[] = {NULL};
    const struct fversion *v = x->run->version;
    json_t *args = json_object_get(x->ti->task->json, "args");
    struct render r = {x, x->kind == FLOW_KIND_SQL ? sql_ext : x->kind == FLOW_KIND_BASH ? bash_ext : none, false, err};
    err_clear(err);
    if (v->user_templates || json_get_bool(v->doc, "render_native", false) || json_get_bool(args, "refs", false)) {
        *needs_python = true;
        return ERR_OK;
    }
    static const char *const fields[] = {"sql", "conn_id", "parameters", "bash_command", "env", "cwd"};
    json_t *out = json_object();
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        json_t *value = json_object_get(args, fields[i]);
        if (value != NULL) json_object_set_new(out, fields[i], render_value(&r, value));
    }
    *needs_python = r.needs_python;
    if (err->code == ERR_OK && !r.needs_python) x->fields = out;
    else json_decref(out);
    return err->code;
}

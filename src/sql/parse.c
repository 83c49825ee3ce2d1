// SPDX-License-Identifier: Apache-2.0
// Statements of a script, their kind, and the parts of those that Millrace runs itself. One small recursive-descent parser per own
// statement; everything else is handed on as text.
//
// Pure; any thread; results live in the caller's arena. Errors: ERR_PARSE, ERR_TOO_LARGE, with a 1-based position in the script.
// Nothing is durable.
#include "sql/parse.h"

#include "base/vec.h"

// ---- reading tokens -------------------------------------------------------------------------------------------------------

struct str sql_tok_text(const struct sql_tokens *t, const struct sql_token *k) { return str_n(t->text.p + k->at, k->n); }

bool sql_tok_is(const struct sql_tokens *t, size_t i, const char *word) {
    const struct sql_token *k = &t->p[i < t->n ? i : t->n - 1];
    if (k->kind != SQL_TOKEN_WORD && k->kind != SQL_TOKEN_OP) return false;
    return str_ieq(sql_tok_text(t, k), str_c(word));
}

bool sql_tok_is_name(const struct sql_tokens *t, size_t i) {
    return i < t->n && (t->p[i].kind == SQL_TOKEN_WORD || t->p[i].kind == SQL_TOKEN_QUOTED);
}

// The text behind a name or a string: quotes off, doubled quotes single, backslash escapes of e'' as PostgreSQL reads them.
struct str sql_tok_value(const struct sql_tokens *t, size_t i, struct arena *a) {
    const struct sql_token *k = &t->p[i];
    struct str s = sql_tok_text(t, k);
    if (k->kind != SQL_TOKEN_QUOTED && k->kind != SQL_TOKEN_STRING) return arena_str(a, s);
    if (s.p[0] == '$') {
        size_t tag = (size_t)((const char *)memchr(s.p + 1, '$', s.n - 1) - s.p) + 1;
        return arena_str(a, str_n(s.p + tag, s.n - 2 * tag));
    }
    bool escapes = s.p[0] != '\'' && s.p[0] != '"';
    size_t from = escapes ? 2 : 1, n = 0;
    char quote = s.p[from - 1];
    char *out = arena_alloc(a, s.n + 1);
    for (size_t j = from; j + 1 < s.n; j++) {
        char c = s.p[j];
        if (c == quote && s.p[j + 1] == quote && j + 2 < s.n) {
            j++;
        } else if (escapes && c == '\\' && j + 2 < s.n) {
            c = s.p[++j];
            c = c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c;
        }
        out[n++] = c;
    }
    out[n] = 0;
    return str_n(out, n);
}

// ---- the parser of own statements ------------------------------------------------------------------------------------------

struct parser {
    struct sql_tokens t;
    size_t i;
    struct arena *a;
    struct sql_statement *out;
    struct err *err;
};

static bool take(struct parser *p, const char *word) {
    if (!sql_tok_is(&p->t, p->i, word)) return false;
    p->i++;
    return true;
}

static bool take2(struct parser *p, const char *first, const char *second) {
    if (!sql_tok_is(&p->t, p->i, first) || !sql_tok_is(&p->t, p->i + 1, second)) return false;
    p->i += 2;
    return true;
}

static bool take3(struct parser *p, const char *first, const char *second, const char *third) {
    if (!sql_tok_is(&p->t, p->i + 2, third) || !take2(p, first, second)) return false;
    p->i++;
    return true;
}

static enum err_code expected(struct parser *p, const char *what) {
    const struct sql_token *k = &p->t.p[p->i < p->t.n ? p->i : p->t.n - 1];
    struct str found = k->kind == SQL_TOKEN_END ? STR("the end") : sql_tok_text(&p->t, k);
    if (found.n > 40) found.n = 40;
    enum err_code code = err_set(p->err, ERR_PARSE, "expected %s, found " STR_FMT, what, STR_ARG(found));
    if (p->err != NULL) p->err->position = (int)k->at + 1;
    return code;
}

static enum err_code take_name(struct parser *p, const char *what, struct str *out) {
    if (!sql_tok_is_name(&p->t, p->i)) return expected(p, what);
    *out = sql_tok_value(&p->t, p->i++, p->a);
    return ERR_OK;
}

// [[catalog.]schema.]table
static enum err_code take_table(struct parser *p, struct sql_name *out) {
    *out = (struct sql_name){0};
    enum err_code code = take_name(p, "a table's name", &out->table);
    while (code == ERR_OK && sql_tok_is(&p->t, p->i, ".")) {
        p->i++;
        if (out->catalog.n > 0) return expected(p, "a name of at most three parts");
        out->catalog = out->schema;
        out->schema = out->table;
        code = take_name(p, "a name behind the dot", &out->table);
    }
    return code;
}

static enum err_code take_schema(struct parser *p) {
    struct sql_name name;
    enum err_code code = take_table(p, &name);
    p->out->target = (struct sql_name){name.schema, name.table, {NULL, 0}};
    return code;
}

static enum err_code take_end(struct parser *p) {
    return p->t.p[p->i].kind == SQL_TOKEN_END ? ERR_OK : expected(p, "the end of the statement");
}

// A topic: a word with dots and dashes in it (flights.dlq), a quoted name or a string. Dots and dashes must not stand apart.
static enum err_code take_topic(struct parser *p) {
    const struct sql_token *first = &p->t.p[p->i];
    if (first->kind == SQL_TOKEN_STRING || first->kind == SQL_TOKEN_QUOTED) {
        p->out->topic = sql_tok_value(&p->t, p->i++, p->a);
        return ERR_OK;
    }
    if (first->kind != SQL_TOKEN_WORD) return expected(p, "a topic's name");
    size_t end = first->at;
    while (p->t.p[p->i].at == end && p->t.p[p->i].kind != SQL_TOKEN_END) {
        const struct sql_token *k = &p->t.p[p->i];
        bool joins = sql_tok_is(&p->t, p->i, ".") || sql_tok_is(&p->t, p->i, "-");
        if (k->kind != SQL_TOKEN_WORD && k->kind != SQL_TOKEN_NUMBER && !joins) break;
        end = k->at + k->n;
        p->i++;
    }
    p->out->topic = arena_str(p->a, str_n(p->t.text.p + first->at, end - first->at));
    return ERR_OK;
}

// with (key = value, ...)
static enum err_code take_options(struct parser *p) {
    if (!take(p, "with")) return ERR_OK;
    if (!take(p, "(")) return expected(p, "( behind with");
    VEC(struct sql_option) v = {0};
    enum err_code code = ERR_OK;
    do {
        struct sql_option o;
        code = take_name(p, "an option's name", &o.key);
        if (code != ERR_OK) break;
        if (!take(p, "=")) {
            code = expected(p, "= behind the option's name");
            break;
        }
        enum sql_token_kind kind = p->t.p[p->i].kind;
        if (kind == SQL_TOKEN_END || kind == SQL_TOKEN_OP || kind == SQL_TOKEN_PARAM) {
            code = expected(p, "the option's value");
            break;
        }
        o.value = sql_tok_value(&p->t, p->i++, p->a);
        vec_add(&v, o);
    } while (take(p, ","));
    if (code == ERR_OK && !take(p, ")")) code = expected(p, ") or ,");
    if (code == ERR_OK) {
        p->out->n_options = v.n;
        p->out->options = ARENA_ARRAY(p->a, struct sql_option, v.n);
        memcpy(p->out->options, v.p, v.n * sizeof *v.p);
    }
    vec_fini(&v);
    return code;
}

static struct str rest(struct parser *p) {
    return str_trim(str_n(p->t.text.p + p->t.p[p->i].at, p->t.text.n - p->t.p[p->i].at));
}

static enum err_code take_query(struct parser *p) {
    if (p->t.p[p->i].kind == SQL_TOKEN_END) return expected(p, "a query");
    p->out->query = rest(p);
    return ERR_OK;
}

// `(a, b)` in front of the query of an insert; `(select ...` is the query itself.
static enum err_code take_columns(struct parser *p) {
    static const char *const query_words[] = {"select", "with", "values", "from", "(", "table"};
    if (!sql_tok_is(&p->t, p->i, "(")) return ERR_OK;
    for (size_t i = 0; i < sizeof query_words / sizeof *query_words; i++)
        if (sql_tok_is(&p->t, p->i + 1, query_words[i])) return ERR_OK;
    p->i++;
    VEC(struct str) v = {0};
    enum err_code code;
    do {
        struct str name;
        code = take_name(p, "a column's name", &name);
        if (code == ERR_OK) vec_add(&v, name);
    } while (code == ERR_OK && take(p, ","));
    if (code == ERR_OK && !take(p, ")")) code = expected(p, ") or ,");
    if (code == ERR_OK) {
        p->out->n_columns = v.n;
        p->out->columns = ARENA_ARRAY(p->a, struct str, v.n);
        memcpy(p->out->columns, v.p, v.n * sizeof *v.p);
    }
    vec_fini(&v);
    return code;
}

// ---- one function per statement --------------------------------------------------------------------------------------------

static enum err_code parse_copy_topic(struct parser *p) {
    enum err_code code = take_table(p, &p->out->target);
    if (code == ERR_OK && !take2(p, "from", "topic")) code = expected(p, "from topic");
    if (code == ERR_OK) code = take_topic(p);
    if (code == ERR_OK) code = take_options(p);
    return code == ERR_OK ? take_end(p) : code;
}

static enum err_code parse_check(struct parser *p) {
    enum err_code code = take_table(p, &p->out->target);
    if (code == ERR_OK && !take(p, "using")) code = expected(p, "using");
    if (code == ERR_OK && p->t.p[p->i].kind != SQL_TOKEN_STRING) code = expected(p, "the suite file as a 'string'");
    if (code != ERR_OK) return code;
    p->out->file = sql_tok_value(&p->t, p->i++, p->a);
    code = take_options(p);
    return code == ERR_OK ? take_end(p) : code;
}

static enum err_code parse_create_schema(struct parser *p) {
    p->out->if_not_exists = take3(p, "if", "not", "exists");
    enum err_code code = take_schema(p);
    if (code == ERR_OK && take(p, "authorization")) p->i++; // everything belongs to the one user
    return code == ERR_OK ? take_end(p) : code;
}

static enum err_code parse_drop_schema(struct parser *p) {
    p->out->if_exists = take2(p, "if", "exists");
    enum err_code code = take_schema(p);
    if (take(p, "cascade")) p->out->cascade = true;
    else (void)take(p, "restrict");
    return code == ERR_OK ? take_end(p) : code;
}

static enum err_code parse_drop_table(struct parser *p) {
    p->out->if_exists = take2(p, "if", "exists");
    enum err_code code = take_table(p, &p->out->target);
    if (take(p, "cascade")) p->out->cascade = true;
    else (void)take(p, "restrict");
    return code == ERR_OK ? take_end(p) : code;
}

static enum err_code take_definition(struct parser *p) {
    size_t from = p->t.p[p->i].at + 1, depth = 0;
    do {
        if (p->t.p[p->i].kind == SQL_TOKEN_END) return expected(p, ")");
        if (sql_tok_is(&p->t, p->i, "(")) depth++;
        if (sql_tok_is(&p->t, p->i, ")")) depth--;
        p->i++;
    } while (depth > 0);
    p->out->definition = str_trim(str_n(p->t.text.p + from, p->t.p[p->i - 1].at - from));
    return take_end(p);
}

static enum err_code parse_create_table(struct parser *p) {
    p->out->if_not_exists = take3(p, "if", "not", "exists");
    enum err_code code = take_table(p, &p->out->target);
    if (code != ERR_OK) return code;
    if (take(p, "as")) {
        p->out->kind = SQL_CREATE_TABLE_AS;
        return take_query(p);
    }
    if (!sql_tok_is(&p->t, p->i, "(")) return expected(p, "( or as");
    p->out->kind = SQL_CREATE_TABLE;
    return take_definition(p);
}

static enum err_code parse_insert(struct parser *p) {
    if (p->out->kind == SQL_INSERT_OVERWRITE) (void)(take(p, "into") || take(p, "table"));
    enum err_code code = take_table(p, &p->out->target);
    if (code == ERR_OK) code = take_columns(p);
    return code == ERR_OK ? take_query(p) : code;
}

static enum err_code parse_delete(struct parser *p) {
    enum err_code code = take_table(p, &p->out->target);
    if (code != ERR_OK || p->t.p[p->i].kind == SQL_TOKEN_END) return code;
    if (!take(p, "where")) return expected(p, "where");
    if (p->t.p[p->i].kind == SQL_TOKEN_END) return expected(p, "a condition");
    p->out->condition = rest(p);
    return ERR_OK;
}

static enum err_code parse_truncate(struct parser *p) {
    (void)take(p, "table");
    enum err_code code = take_table(p, &p->out->target);
    return code == ERR_OK ? take_end(p) : code;
}

static enum err_code parse_target_only(struct parser *p) { return take_table(p, &p->out->target); }
static enum err_code parse_nothing(struct parser *p) {
    (void)p;
    return ERR_OK;
}

// The first words decide; the first row that fits counts.
static const struct {
    const char *words[4];
    enum sql_kind kind;
    enum err_code (*parse)(struct parser *p);
    bool or_replace;
} statements[] = {
    {{"copy", "into"}, SQL_COPY_FROM_TOPIC, parse_copy_topic, false},
    {{"check"}, SQL_CHECK, parse_check, false},
    {{"show", "topics"}, SQL_SHOW_TOPICS, take_end, false},
    {{"create", "schema"}, SQL_CREATE_SCHEMA, parse_create_schema, false},
    {{"drop", "schema"}, SQL_DROP_SCHEMA, parse_drop_schema, false},
    {{"create", "or", "replace", "table"}, SQL_CREATE_TABLE, parse_create_table, true},
    {{"create", "table"}, SQL_CREATE_TABLE, parse_create_table, false},
    {{"drop", "table"}, SQL_DROP_TABLE, parse_drop_table, false},
    {{"insert", "into"}, SQL_INSERT, parse_insert, false},
    {{"insert", "overwrite"}, SQL_INSERT_OVERWRITE, parse_insert, false},
    {{"delete", "from"}, SQL_DELETE, parse_delete, false},
    {{"truncate"}, SQL_TRUNCATE, parse_truncate, false},
    {{"update"}, SQL_UPDATE, parse_target_only, false},
    {{"merge", "into"}, SQL_MERGE, parse_target_only, false},
    {{"begin"}, SQL_BEGIN, parse_nothing, false},
    {{"start", "transaction"}, SQL_BEGIN, parse_nothing, false},
    {{"commit"}, SQL_COMMIT, parse_nothing, false},
    {{"end"}, SQL_COMMIT, parse_nothing, false},
    {{"rollback"}, SQL_ROLLBACK, parse_nothing, false},
    {{"abort"}, SQL_ROLLBACK, parse_nothing, false},
    {{"set"}, SQL_SET, parse_nothing, false},
    {{"reset"}, SQL_SET, parse_nothing, false},
    {{"select"}, SQL_SELECT, parse_nothing, false},
    {{"with"}, SQL_SELECT, parse_nothing, false},
    {{"values"}, SQL_SELECT, parse_nothing, false},
    {{"from"}, SQL_SELECT, parse_nothing, false},
    {{"table"}, SQL_SELECT, parse_nothing, false},
    {{"("}, SQL_SELECT, parse_nothing, false},
    {{"pivot"}, SQL_SELECT, parse_nothing, false},
    {{"unpivot"}, SQL_SELECT, parse_nothing, false},
    {{"describe"}, SQL_SELECT, parse_nothing, false},
    {{"desc"}, SQL_SELECT, parse_nothing, false},
    {{"summarize"}, SQL_SELECT, parse_nothing, false},
    {{"explain"}, SQL_SELECT, parse_nothing, false},
    {{"show"}, SQL_SELECT, parse_nothing, false},
};

static bool begins_with(const struct sql_tokens *t, const char *const words[4], size_t *n) {
    for (*n = 0; *n < 4 && words[*n] != NULL; (*n)++)
        if (!sql_tok_is(t, *n, words[*n])) return false;
    return true;
}

static enum err_code parse_statement(struct parser *p) {
    if (p->t.p[0].kind == SQL_TOKEN_END) {
        p->out->kind = SQL_EMPTY;
        return ERR_OK;
    }
    p->out->kind = SQL_OTHER;
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
        size_t n;
        if (!begins_with(&p->t, statements[i].words, &n)) continue;
        p->out->kind = statements[i].kind;
        p->out->or_replace = statements[i].or_replace;
        p->i = n;
        return statements[i].parse(p);
    }
    size_t i = sql_tok_is(&p->t, 1, "or") && sql_tok_is(&p->t, 2, "replace") ? 3 : 1;
    p->out->temporary = sql_tok_is(&p->t, 0, "create") && (sql_tok_is(&p->t, i, "temp") || sql_tok_is(&p->t, i, "temporary"));
    return ERR_OK;
}

// ---- entry points --------------------------------------------------------------------------------------------------------------

// Tokens up to the semicolon (left out) or the end; an END token closes the list.
static enum err_code read_tokens(struct sql_lexer *l, struct sql_token_vec *v, size_t *end, struct err *err) {
    int depth = 0;
    for (;;) {
        struct sql_token k;
        enum err_code code = sql_lex(l, &k, err);
        if (code != ERR_OK) return code;
        char c = k.kind == SQL_TOKEN_OP && k.n == 1 ? l->text.p[k.at] : 0;
        if (c == '(') depth++;
        if (c == ')') depth--;
        if (depth > SQL_DEPTH_MAX) return err_set(err, ERR_TOO_LARGE, "more than %d open parentheses", SQL_DEPTH_MAX);
        *end = k.at;
        if (c == ';') k = (struct sql_token){SQL_TOKEN_END, k.at, 0};
        vec_add(v, k);
        if (k.kind == SQL_TOKEN_END) return ERR_OK;
    }
}

bool sql_next(struct str script, size_t *at, struct arena *a, struct sql_statement *out, struct err *err) {
    if (script.n > SQL_TEXT_MAX) {
        err_set(err, ERR_TOO_LARGE, "SQL text of %zu bytes; the maximum is %d", script.n, SQL_TEXT_MAX);
        return false;
    }
    *out = (struct sql_statement){0};
    if (err != NULL) err_clear(err);
    const char *nul = script.n > 0 ? memchr(script.p, 0, script.n) : NULL;
    if (nul != NULL) { // the engine behind takes C strings: it would run the part in front
        err_set(err, ERR_PARSE, "SQL text with a zero byte");
        if (err != NULL) err->position = (int)(nul - script.p) + 1;
        return false;
    }
    struct sql_token_vec v = {0};
    struct sql_lexer l = {script, *at};
    size_t end = 0, start = 0;
    bool more = false;
    do {
        v.n = 0;
        if (read_tokens(&l, &v, &end, err) != ERR_OK) goto done;
        *at = l.at;
        if (v.n == 1 && l.at >= script.n) goto done; // nothing but blanks to the end
    } while (v.n == 1);
    start = v.p[0].at;
    out->at = start;
    out->text = str_trim(str_n(script.p + start, end - start));
    for (size_t i = 0; i < v.n; i++) v.p[i].at -= start;
    struct parser p = {.t = {out->text, v.p, v.n}, .a = a, .out = out, .err = err};
    enum err_code code = parse_statement(&p);
    if (code == ERR_OK) code = sql_scan_refs(&p.t, a, out, err);
    if (code != ERR_OK && err != NULL && err->position > 0) err->position += (int)start;
    more = code == ERR_OK;
done:
    vec_fini(&v);
    return more;
}

enum err_code sql_parse(struct str text, struct arena *a, struct sql_statement *out, struct err *err) {
    struct err own;
    if (err == NULL) err = &own;
    size_t at = 0;
    if (!sql_next(text, &at, a, out, err)) {
        if (err->code == ERR_OK) *out = (struct sql_statement){.kind = SQL_EMPTY};
        return err->code;
    }
    struct sql_statement second;
    if (sql_next(text, &at, a, &second, err)) {
        err_set(err, ERR_PARSE, "one statement expected, a second one follows");
        err->position = (int)second.at + 1;
    }
    return err->code;
}

const char *sql_kind_tag(enum sql_kind kind) {
    static const char *const tags[] = {
        [SQL_EMPTY] = "",
        [SQL_SELECT] = "SELECT",
        [SQL_COPY_FROM_TOPIC] = "COPY",
        [SQL_CHECK] = "CHECK",
        [SQL_SHOW_TOPICS] = "SHOW",
        [SQL_CREATE_SCHEMA] = "CREATE SCHEMA",
        [SQL_DROP_SCHEMA] = "DROP SCHEMA",
        [SQL_CREATE_TABLE] = "CREATE TABLE",
        [SQL_CREATE_TABLE_AS] = "CREATE TABLE AS",
        [SQL_DROP_TABLE] = "DROP TABLE",
        [SQL_INSERT] = "INSERT 0",
        [SQL_INSERT_OVERWRITE] = "INSERT 0",
        [SQL_DELETE] = "DELETE",
        [SQL_TRUNCATE] = "TRUNCATE TABLE",
        [SQL_UPDATE] = "UPDATE",
        [SQL_MERGE] = "MERGE",
        [SQL_BEGIN] = "BEGIN",
        [SQL_COMMIT] = "COMMIT",
        [SQL_ROLLBACK] = "ROLLBACK",
        [SQL_SET] = "SET",
        [SQL_OTHER] = "OK",
    };
    return tags[kind];
}

struct str sql_option_get(const struct sql_statement *st, const char *key) {
    for (size_t i = 0; i < st->n_options; i++)
        if (str_ieq(st->options[i].key, str_c(key))) return st->options[i].value;
    return (struct str){NULL, 0};
}

// SPDX-License-Identifier: Apache-2.0
// Which tables a statement reads, where their names stand, and what its WHERE clauses demand of them.
//
// Not a parser of SELECT: a walk over the tokens with one frame per open parenthesis that knows in which clause it is. What it does not
// understand it leaves out: then a name is resolved by the engine's own catalog, or a file is read that could have been left out. It must never
// invent a condition. So conditions count only as plain `column op literal` terms of a top-level AND, and not beside ASOF or POSITIONAL joins,
// where leaving rows out changes which rows are matched.
//
// Pure; any thread; results live in the caller's arena. Nothing is durable.
#include "sql/parse.h"

enum clause { CLAUSE_NONE, CLAUSE_SELECT, CLAUSE_FROM, CLAUSE_WHERE, CLAUSE_OTHER };
enum { HOLE = UINT32_MAX }; // stands for a parenthesis in the token list of a WHERE

struct frame {
    enum clause clause;
    bool select_seen;
    bool expect_table;
    bool first;       // no token read yet
    bool from_first;  // from t select a where ...
    bool other_items; // subqueries, functions, files: an unqualified column may be theirs
    bool no_prune;    // asof, positional
    size_t first_ref; // the SELECT under way reads refs[first_ref ..]; those of inner frames have another owner
    size_t where_from;
};

struct scan {
    const struct sql_tokens *t;
    struct arena *a;
    size_t i;
    struct frame frames[SQL_DEPTH_MAX + 1];
    size_t depth;
    struct {
        struct sql_ref *p;
        size_t n, cap;
    } refs;
    struct {
        uint32_t *p; // of refs: depth of the frame that owns it; HOLE = closed
        size_t n, cap;
    } owner;
    struct {
        uint32_t *p; // token indexes of the WHERE clauses under way
        size_t n, cap;
    } where;
};

static struct frame *top(struct scan *s) { return &s->frames[s->depth]; }

// ---- conditions -----------------------------------------------------------------------------------------------------------

static bool where_is(const struct scan *s, size_t i, size_t end, const char *word) {
    return i < end && s->where.p[i] != HOLE && sql_tok_is(s->t, s->where.p[i], word);
}

static enum sql_token_kind where_kind(const struct scan *s, size_t i, size_t end) {
    return i < end && s->where.p[i] != HOLE ? s->t->p[s->where.p[i]].kind : SQL_TOKEN_END;
}

static bool is_column_word(const struct scan *s, size_t i, size_t end) {
    static const char *const reserved[] = {"not", "true", "false", "null", "exists", "current_date", "current_timestamp", "localtime"};
    enum sql_token_kind kind = where_kind(s, i, end);
    if (kind == SQL_TOKEN_QUOTED) return true;
    if (kind != SQL_TOKEN_WORD) return false;
    for (size_t j = 0; j < sizeof reserved / sizeof *reserved; j++)
        if (where_is(s, i, end, reserved[j])) return false;
    return true;
}

struct term {
    struct str qualifier[2], column; // schema, table
    size_t n_qualifiers;
    struct sql_conjunct c;
};

// [[schema.]table.]column; returns the place behind it, or `i` when there is none.
static size_t read_column(struct scan *s, size_t i, size_t end, struct term *out) {
    size_t at = i, n = 0;
    struct str parts[3];
    for (;;) {
        if (n == 3 || !is_column_word(s, at, end)) return i;
        parts[n++] = sql_tok_value(s->t, s->where.p[at++], s->a);
        if (!where_is(s, at, end, ".")) break;
        at++;
    }
    out->column = parts[n - 1];
    out->n_qualifiers = n - 1;
    for (size_t j = 0; j + 1 < n; j++) out->qualifier[j] = parts[j];
    return at;
}

static size_t read_literal(struct scan *s, size_t i, size_t end, struct sql_conjunct *out) {
    static const char *const casts[] = {"date", "timestamp", "timestamptz"};
    size_t at = i;
    bool minus = where_is(s, at, end, "-");
    if (minus) at++;
    if (where_kind(s, at, end) == SQL_TOKEN_NUMBER) {
        struct str text = sql_tok_text(s->t, &s->t->p[s->where.p[at]]);
        const char *full = arena_printf(s->a, "%s" STR_FMT, minus ? "-" : "", STR_ARG(text));
        out->literal = str_c(full);
        out->string = false;
        return at + 1;
    }
    if (minus) return i;
    for (size_t j = 0; j < sizeof casts / sizeof *casts; j++) {
        if (!where_is(s, at, end, casts[j])) continue;
        at++;
        break;
    }
    if (where_kind(s, at, end) != SQL_TOKEN_STRING) return i;
    out->literal = sql_tok_value(s->t, s->where.p[at], s->a);
    out->string = true;
    return at + 1;
}

static const struct {
    const char *text;
    enum sql_op op, flipped;
} ops[] = {
    {"=", SQL_OP_EQ, SQL_OP_EQ},  {"==", SQL_OP_EQ, SQL_OP_EQ}, {"<>", SQL_OP_NE, SQL_OP_NE}, {"!=", SQL_OP_NE, SQL_OP_NE},
    {"<", SQL_OP_LT, SQL_OP_GT},  {"<=", SQL_OP_LE, SQL_OP_GE}, {">", SQL_OP_GT, SQL_OP_LT},  {">=", SQL_OP_GE, SQL_OP_LE},
};

static bool read_op(const struct scan *s, size_t i, size_t end, bool flip, enum sql_op *out) {
    for (size_t j = 0; j < sizeof ops / sizeof *ops; j++) {
        if (!where_is(s, i, end, ops[j].text)) continue;
        *out = flip ? ops[j].flipped : ops[j].op;
        return true;
    }
    return false;
}

static bool ref_is_meant(const struct sql_ref *r, const struct term *t) {
    if (t->n_qualifiers == 2) return r->alias.n == 0 && str_ieq(r->name.schema, t->qualifier[0]) && str_ieq(r->name.table, t->qualifier[1]);
    return str_ieq(r->alias.n > 0 ? r->alias : r->name.table, t->qualifier[0]);
}

static void attach(struct scan *s, const struct frame *f, struct term *t) {
    struct sql_ref *found = NULL;
    for (size_t i = f->first_ref; i < s->refs.n; i++) {
        if (s->owner.p[i] != s->depth) continue;
        if (t->n_qualifiers > 0 && !ref_is_meant(&s->refs.p[i], t)) continue;
        if (found != NULL) return; // whose column it is cannot be said without types
        found = &s->refs.p[i];
    }
    if (found == NULL || (t->n_qualifiers == 0 && f->other_items)) return;
    struct sql_conjunct *more = ARENA_ARRAY(s->a, struct sql_conjunct, found->n_conjuncts + 1);
    if (found->n_conjuncts > 0) memcpy(more, found->conjuncts, found->n_conjuncts * sizeof *more);
    t->c.column = t->column;
    more[found->n_conjuncts++] = t->c;
    found->conjuncts = more;
}

// where.p[i..end) is one term of the AND. BETWEEN has been cut behind its first literal: `upper` is its second one.
static void read_term(struct scan *s, const struct frame *f, size_t i, size_t end) {
    struct term t = {0};
    size_t at = read_column(s, i, end, &t);
    if (at > i) {
        if (!read_op(s, at, end, false, &t.c.op)) return;
        size_t after = read_literal(s, at + 1, end, &t.c);
        if (after == end && after > at + 1) attach(s, f, &t);
        return;
    }
    at = read_literal(s, i, end, &t.c);
    if (at == i || !read_op(s, at, end, true, &t.c.op)) return;
    size_t after = read_column(s, at + 1, end, &t);
    if (after == end && after > at + 1) attach(s, f, &t);
}

// At `column between`: attaches both bounds when they are plain. Returns where the next term's AND stands, or `end`.
static size_t read_between(struct scan *s, const struct frame *f, size_t i, size_t between, size_t end) {
    size_t and1 = between + 1;
    while (and1 < end && !where_is(s, and1, end, "and")) and1++;
    size_t and2 = and1 < end ? and1 + 1 : end;
    while (and2 < end && !where_is(s, and2, end, "and")) and2++;
    struct term low = {0}, high = {0};
    bool plain = read_column(s, i, between, &low) == between && between > i;
    high = low;
    low.c.op = SQL_OP_GE;
    high.c.op = SQL_OP_LE;
    plain = plain && and1 > between + 1 && read_literal(s, between + 1, and1, &low.c) == and1;
    plain = plain && and1 < end && and2 > and1 + 1 && read_literal(s, and1 + 1, and2, &high.c) == and2;
    if (plain) {
        attach(s, f, &low);
        attach(s, f, &high);
    }
    return and2;
}

static void read_where(struct scan *s, const struct frame *f) {
    size_t end = s->where.n;
    if (f->no_prune) return;
    for (size_t i = f->where_from; i < end; i++)
        if (where_is(s, i, end, "or") || where_is(s, i, end, "case") || where_is(s, i, end, "xor")) return;
    size_t from = f->where_from;
    for (size_t i = from; i <= end; i++) {
        if (where_is(s, i, end, "between")) i = read_between(s, f, from, i, end);
        else if (i < end && !where_is(s, i, end, "and")) continue;
        else read_term(s, f, from, i);
        from = i + 1;
    }
}

// ---- the walk ---------------------------------------------------------------------------------------------------------------

// The SELECT under way in the top frame is complete: its conditions find their tables.
static void end_select(struct scan *s) {
    struct frame *f = top(s);
    read_where(s, f);
    for (size_t i = f->first_ref; i < s->refs.n; i++)
        if (s->owner.p[i] == s->depth) s->owner.p[i] = HOLE;
    s->where.n = f->where_from;
    f->first_ref = s->refs.n;
    f->clause = CLAUSE_NONE;
    f->other_items = f->no_prune = f->expect_table = f->select_seen = f->from_first = false;
}

static enum err_code push(struct scan *s, struct err *err) {
    struct frame *outer = top(s);
    if (s->depth >= SQL_DEPTH_MAX) return err_set(err, ERR_TOO_LARGE, "more than %d open parentheses", SQL_DEPTH_MAX);
    if (outer->clause == CLAUSE_WHERE) vec_add(&s->where, HOLE);
    bool join_tree = outer->clause == CLAUSE_FROM && outer->expect_table;
    if (join_tree) outer->other_items = true;
    outer->expect_table = false;
    s->frames[++s->depth] = (struct frame){.first = true, .first_ref = s->refs.n, .where_from = s->where.n, .expect_table = join_tree,
                                           .clause = join_tree ? CLAUSE_FROM : CLAUSE_NONE};
    return ERR_OK;
}

static void pop(struct scan *s) {
    end_select(s);
    if (s->depth > 0) s->depth--;
}

static bool is_after_alias(const struct scan *s, size_t i) {
    static const char *const words[] = {"join", "inner", "left", "right", "full", "cross", "natural", "asof", "positional", "semi", "anti", "outer",
        "on", "using", "where", "group", "order", "having", "limit", "offset", "fetch", "window", "qualify", "union", "except", "intersect",
        "tablesample", "select", "sample", "pivot", "unpivot", "for", "version", "at", "lateral", "into", "set", "returning", "with"};
    for (size_t j = 0; j < sizeof words / sizeof *words; j++)
        if (sql_tok_is(s->t, i, words[j])) return true;
    return false;
}

// `[for] version as of N` behind a table's name.
static void read_version(struct scan *s, struct sql_ref *r) {
    size_t i = s->i + (sql_tok_is(s->t, s->i, "for") ? 1 : 0);
    if (!sql_tok_is(s->t, i, "version") || !sql_tok_is(s->t, i + 1, "as") || !sql_tok_is(s->t, i + 2, "of")) return;
    if (i + 3 >= s->t->n || s->t->p[i + 3].kind != SQL_TOKEN_NUMBER) return;
    const struct sql_token *k = &s->t->p[i + 3];
    int64_t v;
    if (!str_to_i64(sql_tok_text(s->t, k), &v) || v < 0) return;
    r->version = v;
    r->n = k->at + k->n - r->at;
    s->i = i + 4;
}

static void read_table(struct scan *s) {
    struct frame *f = top(s);
    f->expect_table = false;
    struct sql_ref r = {.at = s->t->p[s->i].at, .version = -1};
    struct str parts[3];
    size_t n = 0;
    for (;;) {
        const struct sql_token *k = &s->t->p[s->i];
        parts[n++] = sql_tok_value(s->t, s->i++, s->a);
        r.n = k->at + k->n - r.at;
        if (n == 3 || !sql_tok_is(s->t, s->i, ".") || !sql_tok_is_name(s->t, s->i + 1)) break;
        s->i++;
    }
    if (sql_tok_is(s->t, s->i, "(") || sql_tok_is(s->t, s->i, ".")) { // a function, or a name of too many parts
        f->other_items = true;
        return;
    }
    r.name.table = parts[n - 1];
    if (n > 1) r.name.schema = parts[n - 2];
    if (n > 2) r.name.catalog = parts[n - 3];
    read_version(s, &r);
    if (sql_tok_is(s->t, s->i, "as")) s->i++;
    if (sql_tok_is_name(s->t, s->i) && !is_after_alias(s, s->i)) r.alias = sql_tok_value(s->t, s->i++, s->a);
    bool renamed = r.alias.n > 0 && sql_tok_is(s->t, s->i, "(");
    vec_add(&s->refs, r);
    vec_add(&s->owner, renamed ? HOLE : (uint32_t)s->depth);
    if (renamed) f->other_items = true; // its columns have other names
}

enum word { WORD_SELECT, WORD_FROM, WORD_JOIN, WORD_WHERE, WORD_SET_OP, WORD_TAIL, WORD_ON, WORD_NO_PRUNE, WORD_NONE };
static const struct {
    const char *text;
    enum word word;
} words[] = {
    {"select", WORD_SELECT},      {"from", WORD_FROM},          {"join", WORD_JOIN},     {"where", WORD_WHERE},   {"union", WORD_SET_OP},
    {"except", WORD_SET_OP},      {"intersect", WORD_SET_OP},   {"group", WORD_TAIL},    {"order", WORD_TAIL},    {"having", WORD_TAIL},
    {"limit", WORD_TAIL},         {"offset", WORD_TAIL},        {"fetch", WORD_TAIL},    {"window", WORD_TAIL},   {"qualify", WORD_TAIL},
    {"on", WORD_ON},              {"using", WORD_ON},           {"asof", WORD_NO_PRUNE}, {"positional", WORD_NO_PRUNE},
};

static enum word word_of(const struct scan *s, size_t i) {
    if (s->t->p[i].kind != SQL_TOKEN_WORD || (i > 0 && sql_tok_is(s->t, i - 1, "."))) return WORD_NONE;
    for (size_t j = 0; j < sizeof words / sizeof *words; j++)
        if (sql_tok_is(s->t, i, words[j].text)) return words[j].word;
    return WORD_NONE;
}

static void enter_from(struct scan *s, struct frame *f, bool first) {
    if (s->i > 0 && sql_tok_is(s->t, s->i - 1, "distinct") && s->i > 1 &&
        (sql_tok_is(s->t, s->i - 2, "is") || sql_tok_is(s->t, s->i - 2, "not")))
        return; // is distinct from
    if (!f->select_seen && !first && s->depth > 0) return; // extract(year from t)
    f->select_seen = true;
    f->clause = CLAUSE_FROM;
    f->expect_table = true;
}

// A keyword at the level of the frame. true: it was one.
static bool walk_word(struct scan *s, struct frame *f, bool first) {
    switch (word_of(s, s->i)) {
    case WORD_SELECT:
        // A second SELECT in one frame is what follows `with x as (...)`, a set operation, or FROM-first's own list.
        if (f->clause != CLAUSE_FROM && f->clause != CLAUSE_NONE) end_select(s);
        f->from_first = f->clause == CLAUSE_FROM && f->select_seen;
        f->clause = CLAUSE_SELECT;
        f->select_seen = true;
        f->expect_table = false;
        return true;
    case WORD_FROM:
        enter_from(s, f, first);
        return true;
    case WORD_JOIN:
        if (f->clause == CLAUSE_FROM) f->expect_table = true;
        return true;
    case WORD_WHERE:
        if (f->clause != CLAUSE_FROM && !f->from_first) return false; // filter (where ...): no table is named in it
        f->clause = CLAUSE_WHERE;
        f->expect_table = false;
        return true;
    case WORD_SET_OP:
        if (!f->select_seen) return false;
        end_select(s);
        return true;
    case WORD_TAIL:
        if (f->clause != CLAUSE_FROM && f->clause != CLAUSE_WHERE) return false;
        f->clause = CLAUSE_OTHER;
        f->expect_table = false;
        return true;
    case WORD_ON:
        f->expect_table = false;
        return f->clause == CLAUSE_FROM;
    case WORD_NO_PRUNE:
        if (f->clause == CLAUSE_FROM) f->no_prune = true;
        return false;
    case WORD_NONE:
        return false;
    }
    return false;
}

// Where a table's name is expected: a file, or the beginning of something else.
static bool is_no_table(const struct scan *s, size_t i) {
    static const char *const leads[] = {"lateral", "values", "with", "pivot", "unpivot", "describe", "show", "summarize", "table"};
    if (s->t->p[i].kind == SQL_TOKEN_STRING) return true;
    for (size_t j = 0; j < sizeof leads / sizeof *leads; j++)
        if (sql_tok_is(s->t, i, leads[j])) return true;
    return false;
}

static enum err_code walk_token(struct scan *s, struct err *err) {
    const struct sql_token *k = &s->t->p[s->i];
    struct frame *f = top(s);
    bool first = f->first;
    f->first = false;
    char c = k->kind == SQL_TOKEN_OP && k->n == 1 ? s->t->text.p[k->at] : 0;
    if (c == '(' || c == '[' || c == '{') {
        s->i++;
        return push(s, err);
    }
    if (c == ')' || c == ']' || c == '}') {
        s->i++;
        pop(s);
        return ERR_OK;
    }
    if (walk_word(s, f, first)) {
        s->i++;
        return ERR_OK;
    }
    if (f->expect_table && is_no_table(s, s->i)) {
        f->expect_table = sql_tok_is(s->t, s->i, "lateral");
        f->other_items = true;
    } else if (f->expect_table && sql_tok_is_name(s->t, s->i)) {
        read_table(s);
        return ERR_OK;
    }
    if (c == ',' && f->clause == CLAUSE_FROM) f->expect_table = true;
    if (f->clause == CLAUSE_WHERE) vec_add(&s->where, (uint32_t)s->i);
    s->i++;
    return ERR_OK;
}

enum err_code sql_scan_refs(const struct sql_tokens *t, struct arena *a, struct sql_statement *out, struct err *err) {
    struct scan *s = MEM_NEW(struct scan);
    s->t = t;
    s->a = a;
    s->frames[0] = (struct frame){.first = true};
    enum err_code code = ERR_OK;
    while (code == ERR_OK && t->p[s->i].kind != SQL_TOKEN_END) code = walk_token(s, err);
    while (code == ERR_OK && s->depth > 0) pop(s);
    if (code == ERR_OK) end_select(s);
    out->n_refs = s->refs.n;
    out->refs = ARENA_ARRAY(a, struct sql_ref, s->refs.n + 1);
    if (s->refs.n > 0) memcpy(out->refs, s->refs.p, s->refs.n * sizeof *out->refs);
    vec_fini(&s->refs);
    vec_fini(&s->owner);
    vec_fini(&s->where);
    mem_free(s);
    return code;
}

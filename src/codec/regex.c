// SPDX-License-Identifier: Apache-2.0
// A parser into nodes and a backtracking matcher. Nodes are in one array and point forward by number, each to what follows it, so that a match is a
// walk; loops count their rounds on the way. Depth of recursion is bounded by DEPTH_MAX (about 1 MB of stack at the worst).
#include "codec/regex.h"

#include <assert.h>

#include "base/mem.h"

enum { NODES_MAX = 4096, DEPTH_MAX = 5000, NEST_MAX = 50, REPEAT_MAX = 1000 };
enum kind { CHAR, ANY, CLASS, BEGIN, END, GROUP_OPEN, GROUP_CLOSE, SPLIT, REPEAT, AGAIN, MATCH };

struct node {
    enum kind kind;
    int next;
    int other;       // SPLIT: the second choice; REPEAT: the body; AGAIN: its REPEAT
    int min, max;    // REPEAT; max -1 = no end
    bool lazy;
    unsigned char c; // CHAR; the number of GROUP_*
    uint32_t set[8]; // CLASS
};

struct regex {
    struct node *nodes;
    int n, start, groups;
};

struct parser {
    struct str text;
    size_t at;
    struct node *nodes;
    int n, groups, nest;
    const char *fault;
};

// ---- parsing: each function returns the first node of a piece that continues at `next` -------------------------------------
static int add(struct parser *p, struct node n) {
    if (p->n == NODES_MAX) {
        p->fault = "the pattern is too long";
        return 0;
    }
    p->nodes[p->n] = n;
    return p->n++;
}

static bool more(const struct parser *p) { return p->at < p->text.n; }
static char peek(const struct parser *p) { return p->text.p[p->at]; }

static void set_bit(uint32_t set[8], unsigned c) { set[c / 32] |= 1u << c % 32; }

static bool named_set(char c, uint32_t set[8]) {
    uint32_t own[8] = {0};
    for (unsigned i = 0; i < 256; i++) {
        bool digit = i >= '0' && i <= '9', space = i == ' ' || (i >= 9 && i <= 13);
        bool word = digit || i == '_' || (i >= 'a' && i <= 'z') || (i >= 'A' && i <= 'Z');
        char low = (char)(c | 32);
        if ((low == 'd' && digit) || (low == 's' && space) || (low == 'w' && word)) set_bit(own, i);
    }
    if ((c | 32) != 'd' && (c | 32) != 's' && (c | 32) != 'w') return false;
    for (int i = 0; i < 8; i++) set[i] |= c < 'a' ? ~own[i] : own[i];
    return true;
}

static int escaped_char(struct parser *p, char c) {
    switch (c) {
    case 'n': return '\n';
    case 't': return '\t';
    case 'r': return '\r';
    default: break;
    }
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (letter) p->fault = "unknown escape";
    return (unsigned char)c;
}

static int class_char(struct parser *p, uint32_t set[8]) { // -1 = a named set was added
    char c = p->text.p[p->at++];
    if (c != '\\') return (unsigned char)c;
    if (!more(p)) {
        p->fault = "ends in a backslash";
        return 0;
    }
    c = p->text.p[p->at++];
    return named_set(c, set) ? -1 : escaped_char(p, c);
}

static int parse_class(struct parser *p, int next) {
    struct node n = {.kind = CLASS, .next = next};
    bool negated = more(p) && peek(p) == '^', first = true;
    if (negated) p->at++;
    for (; more(p) && (peek(p) != ']' || first) && p->fault == NULL; first = false) {
        int from = class_char(p, n.set), to = from;
        if (from < 0) continue;
        if (p->text.n - p->at >= 2 && peek(p) == '-' && p->text.p[p->at + 1] != ']') {
            p->at++;
            to = class_char(p, n.set);
            if (to < from) p->fault = "a range of a class goes backwards";
        }
        for (int c = from; c <= to; c++) set_bit(n.set, (unsigned)c);
    }
    if (!more(p)) p->fault = "a class has no end";
    else p->at++;
    for (int i = 0; negated && i < 8; i++) n.set[i] = ~n.set[i];
    return add(p, n);
}

static int parse_alternatives(struct parser *p, int next);

// The atom at p->at, which goes on at a node that is patched later: pieces are parsed from right to left by recursion instead.
struct piece {
    int first;
    int last; // its `next` is open
};

static struct piece one(struct parser *p, struct node n) {
    int i = add(p, n);
    return (struct piece){i, i};
}

static struct piece parse_group(struct parser *p) {
    bool captures = true;
    if (p->text.n - p->at >= 2 && peek(p) == '?' && p->text.p[p->at + 1] == ':') p->at += 2, captures = false;
    else if (more(p) && peek(p) == '?') p->fault = "(? is supported as (?: only";
    int number = captures ? ++p->groups : REGEX_GROUPS;
    if (++p->nest > NEST_MAX) p->fault = "groups are nested too deep";
    int close = add(p, (struct node){.kind = GROUP_CLOSE, .c = (unsigned char)(number < REGEX_GROUPS ? number : REGEX_GROUPS)});
    int inner = p->fault == NULL ? parse_alternatives(p, close) : 0;
    p->nest--;
    if (p->fault == NULL && (!more(p) || peek(p) != ')')) p->fault = "a group has no end";
    p->at++;
    int open = add(p, (struct node){.kind = GROUP_OPEN, .next = inner, .c = p->nodes[close].c});
    return (struct piece){open, close};
}

static struct piece parse_atom(struct parser *p) {
    char c = p->text.p[p->at++];
    switch (c) {
    case '.': return one(p, (struct node){.kind = ANY});
    case '^': return one(p, (struct node){.kind = BEGIN});
    case '$': return one(p, (struct node){.kind = END});
    case '(': return parse_group(p);
    case '[': {
        int i = parse_class(p, 0);
        return (struct piece){i, i};
    }
    case '*':
    case '+':
    case '?':
    case '{': p->fault = "a repetition without what is repeated"; break;
    case '\\': {
        struct node n = {.kind = CLASS};
        if (!more(p)) {
            p->fault = "ends in a backslash";
            break;
        }
        c = p->text.p[p->at++];
        if (named_set(c, n.set)) return one(p, n);
        return one(p, (struct node){.kind = CHAR, .c = (unsigned char)escaped_char(p, c)});
    }
    default: break;
    }
    return one(p, (struct node){.kind = CHAR, .c = (unsigned char)c});
}

static int parse_number(struct parser *p) {
    int n = -1;
    while (more(p) && peek(p) >= '0' && peek(p) <= '9' && n < REPEAT_MAX) n = (n < 0 ? 0 : n * 10) + (p->text.p[p->at++] - '0');
    return n;
}

static struct piece parse_repeated(struct parser *p) {
    struct piece a = parse_atom(p);
    if (!more(p) || p->fault != NULL) return a;
    struct node r = {.kind = REPEAT, .max = -1};
    char c = peek(p);
    if (c == '*') r.min = 0;
    else if (c == '+') r.min = 1;
    else if (c == '?') r.max = 1;
    else if (c != '{') return a;
    p->at++;
    if (c == '{') {
        r.min = r.max = parse_number(p);
        if (more(p) && peek(p) == ',') p->at++, r.max = parse_number(p);
        if (r.min < 0 || r.min > REPEAT_MAX || r.max > REPEAT_MAX || (r.max >= 0 && r.max < r.min) || !more(p) || peek(p) != '}')
            p->fault = "{ without good numbers and }";
        p->at++;
    }
    if (more(p) && peek(p) == '?') p->at++, r.lazy = true;
    else if (more(p) && peek(p) == '+') p->fault = "possessive repetition is not supported";
    r.other = a.first;
    int repeat = add(p, r);
    p->nodes[a.last].next = add(p, (struct node){.kind = AGAIN, .other = repeat});
    return (struct piece){repeat, repeat};
}

static int parse_sequence(struct parser *p, int next) {
    int first = -1, last = -1;
    while (p->fault == NULL && more(p) && peek(p) != '|' && peek(p) != ')') {
        struct piece a = parse_repeated(p);
        if (last < 0) first = a.first;
        else p->nodes[last].next = a.first;
        last = a.last;
    }
    if (last < 0) return next;
    p->nodes[last].next = next;
    return first;
}

static int parse_alternatives(struct parser *p, int next) {
    int first = parse_sequence(p, next);
    if (p->fault != NULL || !more(p) || peek(p) != '|') return first;
    p->at++;
    if (++p->nest > NEST_MAX) {
        p->fault = "too many alternatives";
        return 0;
    }
    int second = parse_alternatives(p, next);
    p->nest--;
    return add(p, (struct node){.kind = SPLIT, .next = first, .other = second});
}

struct regex *regex_compile(struct str text, struct err *err) {
    if (text.n > REGEX_TEXT_MAX) {
        err_set(err, ERR_PARSE, "the pattern is longer than %d bytes", REGEX_TEXT_MAX);
        return NULL;
    }
    struct parser p = {.text = text, .nodes = mem_alloc(NODES_MAX * sizeof *p.nodes)};
    int match = add(&p, (struct node){.kind = MATCH});
    int start = parse_alternatives(&p, match);
    if (p.fault == NULL && more(&p)) p.fault = "a ) too many";
    if (p.fault != NULL) {
        mem_free(p.nodes);
        err_set(err, ERR_PARSE, "pattern, character %zu: %s", p.at < text.n ? p.at + 1 : text.n + 1, p.fault);
        return NULL;
    }
    struct regex *r = MEM_NEW(struct regex);
    *r = (struct regex){mem_realloc(p.nodes, (size_t)p.n * sizeof *p.nodes), p.n, start, p.groups};
    return r;
}

void regex_free(struct regex *r) {
    if (r == NULL) return;
    mem_free(r->nodes);
    mem_free(r);
}

// ---- matching -----------------------------------------------------------------------------------------------------------
struct round { // of a repetition that is under way; lives on the stack of the walk
    int repeat, count;
    size_t at; // where this round began
    const struct round *outer;
};

struct walk {
    const struct regex *r;
    struct str text;
    size_t open[REGEX_GROUPS + 1];
    struct str *groups;
    int steps, depth;
};

static bool go(struct walk *w, int node, size_t at, const struct round *rounds);

static bool go_repeat(struct walk *w, const struct node *n, int node, int count, size_t at, const struct round *outer) {
    const struct round mine = {node, count, at, outer};
    bool may = n->max < 0 || count < n->max, must = count < n->min;
    if (must) return go(w, n->other, at, &mine);
    if (n->lazy && go(w, n->next, at, outer)) return true;
    if (may && go(w, n->other, at, &mine)) return true;
    return !n->lazy && go(w, n->next, at, outer);
}

static bool go_group(struct walk *w, const struct node *n, size_t at, const struct round *rounds) {
    size_t was_open = w->open[n->c];
    struct str was = n->c < REGEX_GROUPS ? w->groups[n->c] : (struct str){NULL, 0};
    if (n->kind == GROUP_OPEN) w->open[n->c] = at;
    else if (n->c < REGEX_GROUPS) w->groups[n->c] = str_n(w->text.p + w->open[n->c], at - w->open[n->c]);
    if (go(w, n->next, at, rounds)) return true;
    w->open[n->c] = was_open;
    if (n->c < REGEX_GROUPS) w->groups[n->c] = was;
    return false;
}

static size_t any_length(struct str text, size_t at) { // one character: a whole UTF-8 sequence
    size_t n = 1;
    if ((unsigned char)text.p[at] >= 0xc0)
        while (at + n < text.n && n < 4 && ((unsigned char)text.p[at + n] & 0xc0) == 0x80) n++;
    return n;
}

static bool go(struct walk *w, int node, size_t at, const struct round *rounds) {
    if (++w->depth > DEPTH_MAX) return w->depth--, false;
    bool found = false;
    for (;;) {
        const struct node *n = &w->r->nodes[node];
        if (++w->steps > REGEX_STEPS_MAX) break;
        bool here = at < w->text.n;
        unsigned char c = here ? (unsigned char)w->text.p[at] : 0;
        if (n->kind == CHAR && here && c == n->c) at++;
        else if (n->kind == ANY && here && c != '\n' && c != '\r') at += any_length(w->text, at);
        else if (n->kind == CLASS && here && (n->set[c / 32] >> c % 32 & 1) != 0) at++;
        else if ((n->kind == BEGIN && at == 0) || (n->kind == END && !here)) {}
        else {
            if (n->kind == MATCH) found = !here;
            else if (n->kind == GROUP_OPEN || n->kind == GROUP_CLOSE) found = go_group(w, n, at, rounds);
            else if (n->kind == SPLIT) found = go(w, n->next, at, rounds) || go(w, n->other, at, rounds);
            else if (n->kind == REPEAT) found = go_repeat(w, n, node, 0, at, rounds);
            else if (n->kind == AGAIN) {
                const struct node *repeat = &w->r->nodes[n->other];
                assert(rounds != NULL && rounds->repeat == n->other);
                bool empty = at == rounds->at && rounds->count >= repeat->min; // a round that took nothing would go on for ever
                if (empty) found = go(w, repeat->next, at, rounds->outer);
                else found = go_repeat(w, repeat, n->other, rounds->count + 1, at, rounds->outer);
            }
            break;
        }
        node = n->next;
    }
    w->depth--;
    return found;
}

bool regex_match(const struct regex *r, struct str text, struct str groups[REGEX_GROUPS]) {
    struct walk w = {.r = r, .text = text.p == NULL ? STR("") : text, .groups = groups};
    for (int i = 0; i < REGEX_GROUPS; i++) groups[i] = (struct str){NULL, 0};
    if (text.n > REGEX_TEXT_MAX || !go(&w, r->start, 0, NULL)) return false;
    groups[0] = w.text;
    return true;
}

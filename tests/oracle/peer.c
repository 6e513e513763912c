/* libpg_query hands its tokens out as protobuf: two message types of nothing but integers, read by hand here. */
#include "tests/oracle/peer.h"

#include <pg_query.h>
#include <stdlib.h>

static void *grow(void *list, size_t *capacity, size_t count, size_t size)
{
    if (count < *capacity)
        return list;
    *capacity = *capacity ? *capacity * 2 : 64;
    list = realloc(list, *capacity * size);
    if (!list)
        abort();
    return list;
}

void ranges_add(struct ranges *r, size_t start, size_t end)
{
    r->list = grow(r->list, &r->capacity, r->count, sizeof *r->list);
    r->list[r->count++] = (struct range){ start, end };
}

/* --- tokens ----------------------------------------------------------------------------------- */

static uint64_t read_varint(struct span *s)
{
    uint64_t value = 0;
    for (unsigned shift = 0; s->size > 0; shift += 7) {
        unsigned char byte = (unsigned char)*s->data++;
        s->size--;
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80)
            break;
    }
    return value;
}

/* ScanToken: start = 1, end = 2, token = 4, keyword_kind = 5. */
struct raw_token {
    uint64_t start, end, code, keyword;
};

static struct raw_token read_token(struct span s)
{
    struct raw_token t = { 0 };
    while (s.size > 0) {
        uint64_t field = read_varint(&s) >> 3, value = read_varint(&s);
        if (field == 1)
            t.start = value;
        else if (field == 2)
            t.end = value;
        else if (field == 4)
            t.code = value;
        else if (field == 5)
            t.keyword = value;
    }
    return t;
}

/* ScanResult: version = 1, tokens = 2. False at the end. */
static bool next_token(struct span *s, struct raw_token *out)
{
    while (s->size > 0) {
        uint64_t tag = read_varint(s), value = read_varint(s);
        if (tag >> 3 == 2) {
            *out = read_token(span_make(s->data, value));
            s->data += value;
            s->size -= value;
            return true;
        }
    }
    return false;
}

/* Token codes differ between versions: learnt from one example each. */
static uint64_t code_of(const char *example)
{
    struct raw_token t = { 0 };
    PgQueryScanResult r = pg_query_scan(example);
    struct span s = span_make(r.pbuf.data, r.pbuf.len);
    next_token(&s, &t);
    pg_query_free_scan_result(r);
    return t.code;
}

static enum peer_class class_of(const struct raw_token *t, const char *text)
{
    static const struct {
        const char *example;
        enum peer_class class;
    } examples[] = {
        { "a", PEER_WORD },       { "U&\"a\"", PEER_NAME }, { "'a'", PEER_STRING },    { "U&'a'", PEER_STRING },
        { "B'1'", PEER_BITS },    { "X'1'", PEER_BITS },    { "1", PEER_NUMBER },      { "1.5", PEER_NUMBER },
        { "$1", PEER_PARAMETER }, { "-- a", PEER_COMMENT }, { "/* */", PEER_COMMENT },
    };
    enum { EXAMPLES = sizeof examples / sizeof *examples };
    static uint64_t codes[EXAMPLES];
    if (!codes[0])
        for (size_t i = 0; i < EXAMPLES; i++)
            codes[i] = code_of(examples[i].example);
    if (text[t->start] == '"')
        return PEER_NAME;
    if (t->keyword)
        return PEER_WORD;
    for (size_t i = 0; i < EXAMPLES; i++)
        if (codes[i] == t->code)
            return examples[i].class;
    return PEER_SYMBOL;
}

/* Of U&'' and U&"" libpg_query says only where they begin. They end where the next token, a comment too, begins, but for white space. */
static void correct_unicode(const char *text, struct peer_tokens *tokens)
{
    for (size_t i = 0; i < tokens->count; i++) {
        struct range *at = &tokens->list[i].at;
        if (sql_lower(text[at->start]) != 'u' || text[at->start + 1] != '&')
            continue;
        at->end = i + 1 < tokens->count ? tokens->list[i + 1].at.start : strlen(text);
        while (strchr(" \t\n\r\f", text[at->end - 1]))
            at->end--;
    }
}

bool peer_scan(const char *text, struct peer_tokens *out)
{
    PgQueryScanResult r = pg_query_scan(text);
    bool good = !r.error;
    struct span s = span_make(r.pbuf.data, good ? r.pbuf.len : 0);
    struct raw_token t;
    out->count = 0;
    while (next_token(&s, &t)) {
        out->list = grow(out->list, &out->capacity, out->count, sizeof *out->list);
        out->list[out->count++] = (struct peer_token){ { t.start, t.end }, class_of(&t, text) };
    }
    correct_unicode(text, out);
    pg_query_free_scan_result(r);
    return good;
}

bool peer_split(const char *text, struct ranges *out)
{
    PgQuerySplitResult r = pg_query_split_with_parser(text);
    bool good = !r.error;
    out->count = 0;
    for (int i = 0; good && i < r.n_stmts; i++) {
        size_t start = (size_t)r.stmts[i]->stmt_location;
        ranges_add(out, start, start + (size_t)r.stmts[i]->stmt_len);
    }
    pg_query_free_split_result(r);
    return good;
}

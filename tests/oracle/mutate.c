/* Half of the texts have to stay ones that PostgreSQL can parse: for these everything is compared. Hence two sets of changes. The
 * mild ones put other white space or comments between words and change the case of letters; inside of a literal they change what it
 * says, but not where it ends. The rough ones cut and paste, and throw in what scanners stumble over. */
#include "tests/oracle/mutate.h"

static uint64_t next(struct random *r)
{
    r->state ^= r->state << 13;
    r->state ^= r->state >> 7;
    r->state ^= r->state << 17;
    return r->state;
}

/* 0 to n - 1. */
static size_t below(struct random *r, size_t n)
{
    return n ? next(r) % n : 0;
}

static void replace(struct buffer *text, size_t at, size_t size, struct span with)
{
    struct buffer result = { 0 };
    buffer_append(&result, text->data, at);
    buffer_append_span(&result, with);
    buffer_append(&result, text->data + at + size, text->size - at - size);
    buffer_free(text);
    *text = result;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\t';
}

/* --- mild ------------------------------------------------------------------------------------- */

static void change_blank(struct random *r, struct buffer *text)
{
    static const char *const blanks[] = { " ",         "\t",      "\n",
                                          " \r\n ",    "\f",      "/**/",
                                          " /* ; */ ", "/* ' */", "/* /* \" */ $$ */",
                                          " -- ;\n",   "--'\r",   " --\"$$\n\n" };
    size_t at = below(r, text->size);
    while (at < text->size && !is_blank(text->data[at]))
        at++;
    if (at < text->size)
        replace(text, at, 1, span_of(blanks[below(r, sizeof blanks / sizeof *blanks)]));
}

static void change_case(struct random *r, struct buffer *text)
{
    size_t at = below(r, text->size);
    for (size_t end = at + below(r, 20); at < end && at < text->size; at++) {
        char c = text->data[at];
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
            text->data[at] = (char)(c ^ 0x20);
    }
}

static void make_mild_change(struct random *r, struct buffer *text)
{
    if (below(r, 3) == 0)
        change_case(r, text);
    else
        change_blank(r, text);
}

/* --- rough ------------------------------------------------------------------------------------ */

static void cut(struct random *r, struct buffer *text)
{
    size_t at = below(r, text->size + 1);
    size_t size = below(r, below(r, 2) ? 8 : text->size);
    if (size > text->size - at)
        size = text->size - at;
    replace(text, at, size, span_of(""));
}

static void splice(struct random *r, const struct pool *pool, struct buffer *text)
{
    struct span other = span_of(pool->list[below(r, pool->count)]);
    size_t from = below(r, other.size), size = below(r, other.size - from + 1);
    replace(text, below(r, text->size + 1), 0, span_make(other.data + from, size < 200 ? size : 200));
}

static void throw_in(struct random *r, struct buffer *text)
{
    /* No \v, which is white space to the scanner and, before PostgreSQL 16, an error to the server. */
    static const char *const things[] = {
        "'",
        "''",
        "\"",
        "\"\"",
        "$$",
        "$a$",
        "$",
        "$1",
        "E'",
        "e'\\'",
        "U&'",
        "U&\"",
        "B'",
        "x'",
        "N'",
        "\\",
        "\\'",
        ";",
        ";;",
        "(",
        ")",
        "((",
        "/*",
        "*/",
        "/**/",
        "--",
        "--\n",
        "\n",
        "\r",
        "::",
        ",",
        ".",
        "1",
        "1e",
        ".5",
        "a",
        "é",
        "_$",
        " end ",
        " begin ",
        " begin atomic ",
        "; end;",
        " case ",
        " create ",
        " create function f() begin atomic ",
        " create rule ",
        " uescape '!' ",
        "'\n'",
        "'--\n'",
        " as ",
        " to ",
        " commit; ",
        " set ",
        " local ",
        " session ",
        " transaction ",
        " work ",
        " and chain",
        " savepoint ",
        "rollback to ",
        " null",
        " all ",
        " select ",
        " pg_notify(",
        " set_config(",
        " 'pgatomic.request' ",
        "::text",
        " default ",
        " prepare ",
        "=",
        "<",
        "-",
        "/",
        "*",
        "+/*",
        "-/*x*/-",

        "\f",
        "\x01",
        "\x7f",
    };
    replace(text, below(r, text->size + 1), 0, span_of(things[below(r, sizeof things / sizeof *things)]));
}

static void make_rough_change(struct random *r, const struct pool *pool, struct buffer *text)
{
    switch (below(r, 4)) {
    case 0:
        cut(r, text);
        break;
    case 1:
        splice(r, pool, text);
        break;
    case 2:
        throw_in(r, text);
        break;
    case 3:
        make_mild_change(r, text);
        break;
    }
}

void mutate(struct random *r, const struct pool *pool, const struct pool *other, struct buffer *out)
{
    bool rough = below(r, 2) == 0;
    buffer_clear(out);
    for (size_t count = 1 + below(r, 3); count > 0; count--) {
        buffer_append_text(out, pool->list[below(r, pool->count)]);
        if (below(r, 8) == 0)
            buffer_append_text(out, " ; ");
    }
    for (size_t changes = 1 + below(r, 6); changes > 0 && out->size > 0; changes--) {
        if (rough)
            make_rough_change(r, other, out);
        else
            make_mild_change(r, out);
    }
    buffer_append_string(out, span_of(""));
    out->size--;
}

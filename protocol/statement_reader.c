/* The tokens of one statement, taken one by one. */
#include "protocol/statement_reader.h"

#include <limits.h>

#include "protocol/sql_words.h"

void reader_init(struct statement_reader *r, struct span text, const struct sql_options *options)
{
    sql_lexer_init(&r->lexer, text, options);
    r->options = options;
    reader_advance(r);
}

void reader_advance(struct statement_reader *r)
{
    r->token = sql_lexer_next(&r->lexer);
}

bool reader_sees_word(const struct statement_reader *r, const char *word)
{
    return r->token.kind == SQL_WORD && sql_word_is(r->token.text, word);
}

bool reader_accept_word(struct statement_reader *r, const char *word)
{
    bool seen = reader_sees_word(r, word);
    if (seen)
        reader_advance(r);
    return seen;
}

bool reader_accept_words(struct statement_reader *r, const char *first, const char *second)
{
    struct statement_reader start = *r;
    if (reader_accept_word(r, first) && reader_accept_word(r, second))
        return true;
    *r = start;
    return false;
}

bool reader_sees_symbol(const struct statement_reader *r, const char *symbol)
{
    return r->token.kind == SQL_SYMBOL && span_is(r->token.text, symbol);
}

bool reader_accept_symbol(struct statement_reader *r, const char *symbol)
{
    bool seen = reader_sees_symbol(r, symbol);
    if (seen)
        reader_advance(r);
    return seen;
}

void reader_accept_noise(struct statement_reader *r, const char *word)
{
    struct statement_reader start = *r;
    if (reader_accept_word(r, word) && reader_at_end(r))
        *r = start;
}

/* UESCAPE '!' behind a U& literal or name belongs to it: `raw` grows over it. */
static void accept_uescape(struct statement_reader *r, struct span *raw)
{
    struct statement_reader start = *r;
    bool is_unicode = raw->size > 1 && raw->data[1] == '&';
    if (!is_unicode || !reader_accept_word(r, "uescape"))
        return;
    if (r->token.kind != SQL_STRING) {
        *r = start;
        return;
    }
    raw->size = (size_t)(r->token.text.data + r->token.text.size - raw->data);
    reader_advance(r);
}

static bool is_name(const struct sql_token *token)
{
    return token->kind == SQL_NAME || (token->kind == SQL_WORD && sql_word_can_be_name(token->text));
}

bool reader_accept_name(struct statement_reader *r, struct operand *out)
{
    if (!is_name(&r->token))
        return false;
    *out = (struct operand){ .kind = OPERAND_NAME, .raw = r->token.text };
    reader_advance(r);
    accept_uescape(r, &out->raw);
    return true;
}

bool reader_accept_dotted_name(struct statement_reader *r, struct operand *out)
{
    struct operand part;
    if (!reader_accept_name(r, out))
        return false;
    while (reader_accept_symbol(r, ".")) {
        if (!reader_accept_name(r, &part))
            return false;
        out->raw.size = (size_t)(part.raw.data + part.raw.size - out->raw.data);
    }
    return true;
}

bool reader_accept_string(struct statement_reader *r, struct operand *out)
{
    if (r->token.kind != SQL_STRING)
        return false;
    *out = (struct operand){ .kind = OPERAND_TEXT, .raw = r->token.text };
    reader_advance(r);
    accept_uescape(r, &out->raw);
    return true;
}

/* n of $n; 0 when it is no number that a parameter can have. */
static unsigned parameter_number(struct span text)
{
    unsigned number = 0;
    for (size_t i = 1; i < text.size; i++) {
        if (number >= INT_MAX / 10)
            return 0;
        number = number * 10 + (unsigned)(text.data[i] - '0');
    }
    return number;
}

bool reader_accept_literal(struct statement_reader *r, struct operand *out)
{
    if (reader_accept_string(r, out))
        return true;
    *out = (struct operand){ .raw = r->token.text };
    if (reader_sees_word(r, "null")) {
        out->kind = OPERAND_NULL;
    } else if (r->token.kind == SQL_PARAMETER) {
        out->kind = OPERAND_PARAMETER;
        out->parameter = parameter_number(r->token.text);
        if (out->parameter == 0)
            return false;
    } else {
        return false;
    }
    reader_advance(r);
    return true;
}

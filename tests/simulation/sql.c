/* A reader of a few statements, word by word. Whatever it does not know is a syntax error at the word where it gave up,
 * which is where PostgreSQL finds it too for the few wrong statements that the simulator writes. */
#include "tests/simulation/sql.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

enum token_kind { TOKEN_END, TOKEN_WORD, TOKEN_NAME, TOKEN_NUMBER, TOKEN_TEXT, TOKEN_PARAMETER, TOKEN_SIGN };

struct token {
    enum token_kind kind;
    struct span raw;
    char text[SQL_TEXT_MAX]; /* folded, unquoted */
};

struct reader {
    struct span text;
    size_t at;
    struct token now; /* not yet used */
};

/* --- tokens -------------------------------------------------------------------------------------- */

static char peek(const struct reader *r, size_t ahead)
{
    return r->at + ahead < r->text.size ? r->text.data[r->at + ahead] : '\0';
}

static void skip_comment(struct reader *r)
{
    unsigned depth = 0;
    do {
        bool opens = peek(r, 0) == '/' && peek(r, 1) == '*';
        bool closes = peek(r, 0) == '*' && peek(r, 1) == '/';
        depth += opens;
        depth -= closes;
        r->at += opens || closes ? 2 : 1;
    } while (depth > 0 && r->at < r->text.size);
}

static void skip_blanks(struct reader *r)
{
    while (r->at < r->text.size) {
        if (isspace((unsigned char)peek(r, 0)))
            r->at++;
        else if (peek(r, 0) == '-' && peek(r, 1) == '-')
            while (r->at < r->text.size && peek(r, 0) != '\n')
                r->at++;
        else if (peek(r, 0) == '/' && peek(r, 1) == '*')
            skip_comment(r);
        else
            return;
    }
}

static void add_character(struct token *t, size_t *size, char c)
{
    if (*size + 1 < sizeof t->text)
        t->text[(*size)++] = c;
    t->text[*size] = '\0';
}

/* Up to the closing quote; a doubled one is one, and with `escapes` a backslash takes the next character as it is. */
static void read_quoted(struct reader *r, struct token *t, char quote, bool escapes)
{
    size_t size = 0;
    t->text[0] = '\0';
    for (r->at++; r->at < r->text.size; r->at++) {
        if (escapes && peek(r, 0) == '\\') {
            r->at++;
        } else if (peek(r, 0) == quote) {
            if (peek(r, 1) != quote)
                break;
            r->at++;
        }
        add_character(t, &size, peek(r, 0));
    }
    r->at++;
}

/* $$…$$ and $tag$…$tag$ */
static void read_dollar_quoted(struct reader *r, struct token *t)
{
    size_t tag = 1;
    while (r->at + tag < r->text.size && peek(r, tag) != '$')
        tag++;
    const char *start = r->text.data + r->at + tag + 1;
    size_t left = r->text.size - r->at - tag - 1;
    const char *end = memmem(start, left, r->text.data + r->at, tag + 1);
    size_t size = 0;
    t->text[0] = '\0';
    for (const char *p = start; end && p < end; p++)
        add_character(t, &size, *p);
    r->at = end ? (size_t)(end - r->text.data) + tag + 1 : r->text.size;
}

static bool is_word_character(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '$' || (c & 0x80);
}

static void read_word(struct reader *r, struct token *t)
{
    size_t size = 0;
    t->text[0] = '\0';
    for (; is_word_character(peek(r, 0)); r->at++)
        add_character(t, &size, (char)tolower((unsigned char)peek(r, 0)));
}

static void advance(struct reader *r)
{
    skip_blanks(r);
    struct token *t = &r->now;
    size_t start = r->at;
    char c = peek(r, 0);
    t->text[0] = '\0';
    if (r->at == r->text.size) {
        t->kind = TOKEN_END;
    } else if (c == '\'' || ((c == 'E' || c == 'e') && peek(r, 1) == '\'')) {
        r->at += c != '\'';
        t->kind = TOKEN_TEXT;
        read_quoted(r, t, '\'', c != '\'');
    } else if (c == '"') {
        t->kind = TOKEN_NAME;
        read_quoted(r, t, '"', false);
    } else if (c == '$' && isdigit((unsigned char)peek(r, 1))) {
        t->kind = TOKEN_PARAMETER;
        r->at++;
        read_word(r, t);
    } else if (c == '$') {
        t->kind = TOKEN_TEXT;
        read_dollar_quoted(r, t);
    } else if (is_word_character(c)) {
        t->kind = isdigit((unsigned char)c) ? TOKEN_NUMBER : TOKEN_WORD;
        read_word(r, t);
    } else {
        t->kind = TOKEN_SIGN;
        size_t size = 0;
        add_character(t, &size, c);
        r->at++;
        if (c == ':' && peek(r, 0) == ':') {
            add_character(t, &size, ':');
            r->at++;
        }
    }
    t->raw = span_make(r->text.data + start, r->at - start);
}

static bool at_end(const struct reader *r)
{
    return r->now.kind == TOKEN_END || (r->now.kind == TOKEN_SIGN && strcmp(r->now.text, ";") == 0);
}

/* Takes the word, number or sign when it is next. */
static bool take(struct reader *r, const char *text)
{
    if (r->now.kind == TOKEN_TEXT || r->now.kind == TOKEN_NAME || strcmp(r->now.text, text) != 0)
        return false;
    advance(r);
    return true;
}

static bool take_name(struct reader *r, char out[SQL_NAME_MAX])
{
    if (r->now.kind != TOKEN_WORD && r->now.kind != TOKEN_NAME)
        return false;
    snprintf(out, SQL_NAME_MAX, "%.*s", SQL_NAME_MAX - 1, r->now.text);
    advance(r);
    return true;
}

/* A name of a table, which may turn out not to exist. */
static bool take_table(struct reader *r, struct command *c)
{
    c->position = (size_t)(r->now.raw.data - r->text.data);
    return take_name(r, c->name);
}

/* a or a.b */
static bool take_dotted(struct reader *r, char out[SQL_NAME_MAX])
{
    char second[SQL_NAME_MAX];
    if (!take_name(r, out))
        return false;
    if (!take(r, "."))
        return true;
    if (!take_name(r, second))
        return false;
    size_t size = strlen(out);
    snprintf(out + size, SQL_NAME_MAX - size, ".%s", second);
    return true;
}

static bool take_value(struct reader *r, struct value *v)
{
    switch (r->now.kind) {
    case TOKEN_TEXT:
    case TOKEN_NUMBER:
        v->kind = r->now.kind == TOKEN_TEXT ? VALUE_TEXT : VALUE_NUMBER;
        memcpy(v->text, r->now.text, sizeof v->text);
        break;
    case TOKEN_PARAMETER:
        v->kind = VALUE_PARAMETER;
        v->parameter = (unsigned)atoi(r->now.text);
        break;
    case TOKEN_WORD:
        v->kind = strcmp(r->now.text, "null") == 0 ? VALUE_NULL : VALUE_TEXT;
        memcpy(v->text, r->now.text, sizeof v->text);
        break;
    case TOKEN_END:
    case TOKEN_NAME:
    case TOKEN_SIGN:
        return false;
    }
    advance(r);
    return true;
}

/* --- statements ---------------------------------------------------------------------------------- */

static bool read_modes(struct reader *r, struct command *c)
{
    while (!at_end(r)) {
        if (take(r, ","))
            continue;
        if (take(r, "isolation")) {
            if (!take(r, "level"))
                return false;
            if (take(r, "serializable"))
                c->isolation = SERIALIZABLE;
            else if (take(r, "repeatable"))
                c->isolation = REPEATABLE_READ;
            else if (take(r, "read"))
                c->isolation = strcmp(r->now.text, "uncommitted") == 0 ? READ_UNCOMMITTED : READ_COMMITTED;
            if (c->isolation != SERIALIZABLE)
                advance(r);
        } else if (take(r, "read")) {
            c->access = strcmp(r->now.text, "only") == 0 ? READ_ONLY : READ_WRITE;
            advance(r);
        } else {
            return false;
        }
    }
    return true;
}

static void skip_transaction_word(struct reader *r)
{
    if (!take(r, "work"))
        take(r, "transaction");
}

static bool read_chain(struct reader *r, struct command *c)
{
    if (!take(r, "and"))
        return true;
    c->chain = !take(r, "no");
    return take(r, "chain");
}

static bool read_begin(struct reader *r, struct command *c)
{
    c->kind = COMMAND_BEGIN;
    skip_transaction_word(r);
    return read_modes(r, c);
}

static bool read_start(struct reader *r, struct command *c)
{
    c->start = true;
    return read_begin(r, c);
}

static bool read_commit(struct reader *r, struct command *c)
{
    c->kind = COMMAND_COMMIT;
    skip_transaction_word(r);
    return read_chain(r, c);
}

static bool read_rollback(struct reader *r, struct command *c)
{
    skip_transaction_word(r);
    if (take(r, "to")) {
        c->kind = COMMAND_ROLLBACK_TO;
        take(r, "savepoint");
        return take_name(r, c->name);
    }
    c->kind = COMMAND_ROLLBACK;
    return read_chain(r, c);
}

static bool read_savepoint(struct reader *r, struct command *c)
{
    c->kind = COMMAND_SAVEPOINT;
    return take_name(r, c->name);
}

static bool read_release(struct reader *r, struct command *c)
{
    c->kind = COMMAND_RELEASE;
    take(r, "savepoint");
    return take_name(r, c->name);
}

static bool read_set(struct reader *r, struct command *c)
{
    if (take(r, "constraints")) {
        c->kind = COMMAND_SET_CONSTRAINTS;
        c->immediate = take(r, "all") && take(r, "immediate");
        return c->immediate || take(r, "deferred");
    }
    if (take(r, "transaction")) {
        c->kind = COMMAND_SET_TRANSACTION;
        return read_modes(r, c);
    }
    c->kind = COMMAND_SET;
    c->local = take(r, "local");
    take(r, "session");
    if (take(r, "transaction")) {
        c->kind = COMMAND_SET_TRANSACTION;
        return read_modes(r, c);
    }
    if (!take_dotted(r, c->name) || (!take(r, "=") && !take(r, "to")))
        return false;
    return take(r, "default") || take_value(r, &c->args[0]);
}

static bool read_reset(struct reader *r, struct command *c)
{
    c->kind = COMMAND_RESET_ALL;
    if (take(r, "all"))
        return true;
    c->kind = COMMAND_RESET;
    return take_dotted(r, c->name);
}

static bool read_show(struct reader *r, struct command *c)
{
    c->kind = COMMAND_SHOW;
    if (!take(r, "transaction"))
        return take_dotted(r, c->name);
    snprintf(c->name, sizeof c->name, "transaction_isolation");
    return take(r, "isolation") && take(r, "level");
}

static bool read_discard(struct reader *r, struct command *c)
{
    c->kind = COMMAND_DISCARD_ALL;
    return take(r, "all");
}

static bool read_listen(struct reader *r, struct command *c)
{
    c->kind = COMMAND_LISTEN;
    return take_name(r, c->name);
}

static bool read_unlisten(struct reader *r, struct command *c)
{
    c->kind = COMMAND_UNLISTEN;
    if (!take(r, "*"))
        return take_name(r, c->name);
    snprintf(c->name, sizeof c->name, "*");
    return true;
}

static bool read_notify(struct reader *r, struct command *c)
{
    c->kind = COMMAND_NOTIFY;
    return take_name(r, c->name) && (!take(r, ",") || (r->now.kind == TOKEN_TEXT && take_value(r, &c->args[0])));
}

static bool read_prepare(struct reader *r, struct command *c)
{
    if (take(r, "transaction")) {
        c->kind = COMMAND_PREPARE_TRANSACTION;
        return take_value(r, &c->args[0]);
    }
    c->kind = COMMAND_PREPARE;
    if (!take_name(r, c->name) || strcmp(r->now.text, "as") != 0)
        return false;
    size_t start = r->at;
    while (!at_end(r))
        advance(r);
    c->body = span_make(r->text.data + start, r->at - r->now.raw.size - start);
    return true;
}

static bool read_execute(struct reader *r, struct command *c)
{
    c->kind = COMMAND_EXECUTE;
    if (!take_name(r, c->name))
        return false;
    if (!take(r, "("))
        return true;
    for (unsigned i = 0; i < SQL_ARGS_MAX && !take(r, ")"); i++) {
        if (!take_value(r, &c->args[i]))
            return false;
        if (!take(r, ","))
            return take(r, ")");
    }
    return true;
}

static bool read_deallocate(struct reader *r, struct command *c)
{
    c->kind = COMMAND_DEALLOCATE;
    take(r, "prepare");
    return take(r, "all") || take_name(r, c->name);
}

static bool read_vacuum(struct reader *r, struct command *c)
{
    c->kind = COMMAND_VACUUM;
    return take_table(r, c);
}

static bool read_copy(struct reader *r, struct command *c)
{
    if (!take_name(r, c->name))
        return false;
    c->kind = take(r, "from") ? COMMAND_COPY_IN : COMMAND_COPY_OUT;
    return c->kind == COMMAND_COPY_IN ? take(r, "stdin") : take(r, "to") && take(r, "stdout");
}

/* The rows are read when they are wanted. */
static bool read_outbox(struct reader *r, struct command *c)
{
    c->kind = COMMAND_OUTBOX;
    while (!at_end(r) && strcmp(r->now.text, "values") != 0)
        advance(r);
    size_t start = r->at;
    while (!at_end(r))
        advance(r);
    c->body = span_make(r->text.data + start, r->at - r->now.raw.size - start);
    return true;
}

static bool read_insert(struct reader *r, struct command *c)
{
    c->kind = COMMAND_INSERT;
    if (!take(r, "into") || !take_table(r, c))
        return false;
    if (strcmp(c->name, "pgatomic") == 0)
        return read_outbox(r, c);
    return take(r, "values") && take(r, "(") && take_value(r, &c->args[0]) && take(r, ")");
}

static bool read_call(struct reader *r, struct command *c, unsigned arguments)
{
    if (!take(r, "("))
        return false;
    for (unsigned i = 0; i < arguments; i++)
        if ((i > 0 && !take(r, ",")) || !take_value(r, &c->args[i]))
            return false;
    return true;
}

static bool read_alias(struct reader *r, struct command *c)
{
    if (take(r, "::")) {
        c->cast = true;
        if (!take(r, "text"))
            return false;
    }
    return !take(r, "as") || take_name(r, c->column);
}

/* pg_catalog.set_config(…, …, false), pg_catalog.current_setting(…, true), … as a proxy puts them between. */
static bool is_settings(const struct reader *r)
{
    struct span rest = span_make(r->now.raw.data, (size_t)(r->text.data + r->text.size - r->now.raw.data));
    static const char asked[] = "pg_catalog.current_setting(", set[] = "),pg_catalog.set_config(";
    return (rest.size > sizeof asked && memcmp(rest.data, asked, sizeof asked - 1) == 0) ||
           memmem(rest.data, rest.size, set, sizeof set - 1) != NULL;
}

static bool read_select_function(struct reader *r, struct command *c)
{
    if (is_settings(r)) {
        c->kind = COMMAND_SETTINGS;
        const char *start = r->now.raw.data;
        while (!at_end(r))
            advance(r);
        c->body = span_make(start, (size_t)(r->now.raw.data - start));
        return true;
    }
    if (take(r, "pg_catalog") && !take(r, "."))
        return false;
    if (take(r, "pg_notify")) {
        c->kind = COMMAND_PG_NOTIFY;
        return read_call(r, c, 2) && take(r, ")") && read_alias(r, c);
    }
    if (take(r, "set_config")) {
        c->kind = COMMAND_SET_CONFIG;
        if (!read_call(r, c, 2) || !take(r, ","))
            return false;
        c->local = take(r, "true");
        return (c->local || take(r, "false")) && take(r, ")") && read_alias(r, c);
    }
    if (take(r, "pg_sleep")) {
        c->kind = COMMAND_SLEEP;
        return read_call(r, c, 1) && take(r, ")");
    }
    if (take(r, "pg_current_xact_id")) {
        c->kind = COMMAND_XID;
        return take(r, "(") && take(r, ")");
    }
    if (take(r, "repeat")) {
        c->kind = COMMAND_REPEAT;
        return read_call(r, c, 2) && take(r, ")");
    }
    if (take(r, "generate_series")) {
        c->kind = COMMAND_SERIES;
        return take(r, "(") && take(r, "1") && take(r, ",") && take_value(r, &c->args[0]) && take(r, ")");
    }
    if (take(r, "count")) {
        c->kind = COMMAND_COUNT;
        return take(r, "(") && take(r, "*") && take(r, ")") && take(r, "from") && take_table(r, c);
    }
    return false;
}

static bool read_select(struct reader *r, struct command *c)
{
    if (r->now.kind == TOKEN_WORD)
        return read_select_function(r, c);
    c->kind = COMMAND_VALUE;
    if (!take_value(r, &c->args[0]))
        return false;
    if (take(r, "/")) {
        c->kind = COMMAND_DIVIDE;
        advance(r);
    } else if (take(r, "from")) {
        c->kind = COMMAND_MISSING;
        return take_table(r, c);
    }
    return read_alias(r, c);
}

static const struct {
    const char *word;
    bool (*read)(struct reader *, struct command *);
} statements[] = {
    { "begin", read_begin },         { "start", read_start },       { "commit", read_commit },
    { "end", read_commit },          { "rollback", read_rollback }, { "abort", read_rollback },
    { "savepoint", read_savepoint }, { "release", read_release },   { "set", read_set },
    { "reset", read_reset },         { "show", read_show },         { "discard", read_discard },
    { "listen", read_listen },       { "unlisten", read_unlisten }, { "notify", read_notify },
    { "prepare", read_prepare },     { "execute", read_execute },   { "deallocate", read_deallocate },
    { "vacuum", read_vacuum },       { "copy", read_copy },         { "insert", read_insert },
    { "select", read_select },
};

static bool read_statement(struct reader *r, struct command *out)
{
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++)
        if (take(r, statements[i].word))
            return statements[i].read(r, out) && at_end(r);
    return false;
}

bool sql_next(struct span text, size_t *at, struct command *out)
{
    struct reader r = { .text = text, .at = *at };
    do {
        advance(&r);
        if (r.now.kind == TOKEN_END)
            return false;
    } while (at_end(&r));
    *out = (struct command){ .kind = COMMAND_WRONG };
    if (!read_statement(&r, out)) {
        out->kind = COMMAND_WRONG;
        out->position = (size_t)(r.now.raw.data - text.data);
        out->wrong = r.now.raw;
        while (!at_end(&r))
            advance(&r);
    }
    *at = r.at;
    return true;
}

static void decode_hex(struct value *v)
{
    char bytes[SQL_TEXT_MAX] = "";
    for (size_t i = 0; v->text[2 * i] && v->text[2 * i + 1]; i++)
        bytes[i] = (char)strtol((char[]){ v->text[2 * i], v->text[2 * i + 1], '\0' }, NULL, 16);
    memcpy(v->text, bytes, sizeof v->text);
}

/* A literal, or convert_from(decode('…','hex'),'UTF8'). */
static bool take_text(struct reader *r, struct value *v)
{
    if (!take(r, "pg_catalog"))
        return take_value(r, v);
    if (!take(r, ".") || !take(r, "convert_from") || !take(r, "(") || !take(r, "pg_catalog") || !take(r, ".") ||
        !take(r, "decode") || !take(r, "(") || !take_value(r, v))
        return false;
    decode_hex(v);
    struct value how;
    return take(r, ",") && take_value(r, &how) && take(r, ")") && take(r, ",") && take_value(r, &how) && take(r, ")");
}

bool sql_next_row(const struct command *c, size_t *at, struct value *channel, struct value *payload)
{
    struct reader r = { .text = c->body, .at = *at };
    struct value id;
    advance(&r);
    take(&r, ",");
    if (!take(&r, "(") || !take_value(&r, &id) || !take(&r, ",") || !take_text(&r, channel) || !take(&r, ",") ||
        !take_text(&r, payload))
        return false;
    for (int depth = 1; depth > 0 && !at_end(&r);) {
        *at = r.at;
        depth += strcmp(r.now.text, "(") == 0 && r.now.kind == TOKEN_SIGN;
        depth -= strcmp(r.now.text, ")") == 0 && r.now.kind == TOKEN_SIGN;
        advance(&r);
    }
    return true;
}

bool sql_next_setting(const struct command *c, size_t *at, struct value *name, struct value *value)
{
    struct reader r = { .text = c->body, .at = *at };
    *value = (struct value){ .kind = VALUE_NONE };
    advance(&r);
    take(&r, ",");
    if (!take(&r, "pg_catalog") || !take(&r, "."))
        return false;
    bool sets = take(&r, "set_config");
    if ((!sets && !take(&r, "current_setting")) || !take(&r, "(") || !take_value(&r, name))
        return false;
    if (sets && (!take(&r, ",") || !take_value(&r, value)))
        return false;
    if (!take(&r, ","))
        return false;
    advance(&r);
    *at = r.at;
    return true;
}

bool sql_is_control(const struct command *c)
{
    return c->kind >= COMMAND_BEGIN && c->kind <= COMMAND_PREPARE_TRANSACTION;
}

bool sql_is_exit(const struct command *c)
{
    return c->kind == COMMAND_COMMIT || c->kind == COMMAND_ROLLBACK || c->kind == COMMAND_ROLLBACK_TO ||
           c->kind == COMMAND_PREPARE_TRANSACTION;
}

bool sql_is_query(const struct command *c)
{
    return c->kind >= COMMAND_VALUE || c->kind == COMMAND_SHOW;
}

unsigned sql_parameter_count(const struct command *c)
{
    unsigned count = 0;
    for (unsigned i = 0; i < SQL_ARGS_MAX; i++)
        if (c->args[i].kind == VALUE_PARAMETER && c->args[i].parameter > count)
            count = c->args[i].parameter;
    return count;
}

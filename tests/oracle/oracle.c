/* Holds the statement scanner against PostgreSQL's own scanner and parser.
 *
 *   oracle DIRECTORY FILE SEED COUNT
 *
 * DIRECTORY has files of statements, a NUL behind each (cut_corpus.py). Each file's statements are compared one by one, and then all those
 * that PostgreSQL can parse as one long string. FILE has the forms of statements that matter, one a line. From both COUNT texts are
 * made (mutate.h).
 *
 * Where PostgreSQL can parse a text, statements have to begin and end where it says, and be what it says, names and literals
 * included, and leave behind what it says. Where it can only cut the text into tokens, these have to be the same, and statements have to end at its semicolons.
 * Where it cannot even do that, it is enough to come to an end. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "protocol/statement_state.h"
#include "tests/oracle/mutate.h"
#include "tests/oracle/peer.h"

enum { TEXT_DEADLINE_S = 60, SHOWN_MAX = 20, MUTATED_SIZE_MAX = 4000 };

static struct {
    size_t statements; /* that agreed in everything */
    size_t tokens;     /* texts that agreed in tokens and semicolons, for they cannot be parsed */
    size_t refused;    /* texts that libpg_query's scanner refuses, or cannot read as PostgreSQL does */
    size_t disagreements;
} tally;

static const struct sql_options *options(void)
{
    static struct sql_options o = { .standard_conforming_strings = true };
    o.encoding = encoding_utf8();
    return &o;
}

static void disagree(const char *text, const char *what, struct span own, struct span peer)
{
    if (tally.disagreements++ < SHOWN_MAX)
        printf("disagreement: %s\n  own:  %.*s\n  peer: %.*s\n  text: %s\n\n", what, (int)own.size, own.data,
               (int)peer.size, peer.data, text);
}

static struct span part(const char *text, size_t start, size_t end)
{
    return span_make(text + start, end - start);
}

static char *copy_of(struct span s)
{
    char *copy = strndup(s.data, s.size);
    if (!copy)
        abort();
    return copy;
}

/* --- tokens ----------------------------------------------------------------------------------- */

static bool is_class(enum sql_token_kind kind, enum peer_class class)
{
    switch (kind) {
    case SQL_WORD:
        return class == PEER_WORD;
    case SQL_NAME:
        return class == PEER_NAME;
    case SQL_STRING:
        return class == PEER_STRING;
    case SQL_BITS:
        return class == PEER_BITS;
    case SQL_NUMBER:
        return class == PEER_NUMBER;
    case SQL_PARAMETER:
        return class == PEER_PARAMETER;
    case SQL_SYMBOL:
        return class == PEER_SYMBOL;
    case SQL_END:
    case SQL_BROKEN:
        break;
    }
    return false;
}

/* The next token, or all the symbols that make up the peer's next operator. */
static struct sql_token next_own(struct sql_lexer *l, size_t end)
{
    struct sql_token token = sql_lexer_next(l);
    while (token.kind == SQL_SYMBOL && l->at < end) {
        size_t before = l->at;
        if (sql_lexer_next(l).kind != SQL_SYMBOL || l->at > end) {
            l->at = before;
            break;
        }
        token.text.size = (size_t)(l->text.data + l->at - token.text.data);
    }
    return token;
}

/* libpg_query, unlike PostgreSQL, gives comments out as tokens, and so does not join the pieces of a literal over them. */
static bool is_joined_over_comment(const struct sql_token *own, const struct peer_tokens *peer, size_t i)
{
    bool literal = own->kind == SQL_STRING || own->kind == SQL_BITS;
    return literal && own->text.size > peer->list[i].at.end - peer->list[i].at.start && i + 1 < peer->count &&
           peer->list[i + 1].class == PEER_COMMENT;
}

enum agreement { DISAGREE, AGREE, CANNOT_AGREE };

static enum agreement compare_tokens(const char *text, const struct peer_tokens *peer)
{
    struct sql_lexer l;
    sql_lexer_init(&l, span_of(text), options());
    for (size_t i = 0; i < peer->count; i++) {
        struct range at = peer->list[i].at;
        if (peer->list[i].class == PEER_COMMENT)
            continue;
        struct sql_token own = next_own(&l, at.end);
        if (is_joined_over_comment(&own, peer, i))
            return CANNOT_AGREE;
        if (!is_class(own.kind, peer->list[i].class) || own.text.data != text + at.start || l.at != at.end) {
            disagree(text, "token", own.text, part(text, at.start, at.end));
            return DISAGREE;
        }
    }
    struct sql_token rest = sql_lexer_next(&l);
    if (rest.kind == SQL_END)
        return AGREE;
    disagree(text, "token", rest.text, span_of(""));
    return DISAGREE;
}

/* 1$$…$$: a literal right behind a number. No statement may have that, and the scanner does not look for it. */
static bool has_literal_behind_number(const char *text, const struct peer_tokens *peer)
{
    for (size_t i = 1; i < peer->count; i++) {
        enum peer_class before = peer->list[i - 1].class;
        bool adjacent = peer->list[i].at.start == peer->list[i - 1].at.end;
        if (adjacent && (before == PEER_NUMBER || before == PEER_PARAMETER) && text[peer->list[i].at.start] == '$')
            return true;
    }
    return false;
}

static bool is_semicolon(const char *text, const struct peer_token *t)
{
    return t->class == PEER_SYMBOL && text[t->at.start] == ';';
}

/* What stands between semicolons, by the peer's tokens. *i moves behind the semicolon. False: nothing is left. */
static bool next_group(const char *text, const struct peer_tokens *peer, size_t *i, struct range *group)
{
    bool any = false;
    for (; *i < peer->count; ++*i) {
        const struct peer_token *t = &peer->list[*i];
        if (t->class == PEER_COMMENT)
            continue;
        if (!is_semicolon(text, t)) {
            if (!any)
                group->start = t->at.start;
            group->end = t->at.end;
            any = true;
        } else if (any) {
            ++*i;
            return true;
        }
    }
    return any;
}

/* A statement is a group, except that one that begins with CREATE may be several. */
static bool semicolons_agree(const char *text, const struct peer_tokens *peer)
{
    struct statement s;
    struct range group = { 0, 0 };
    size_t offset = 0, i = 0;
    while (statement_next(span_of(text), &offset, options(), &s)) {
        size_t start = (size_t)(s.text.data - text), end = start + s.text.size;
        bool found = next_group(text, peer, &i, &group) && group.start == start;
        if (found && strncasecmp(s.text.data, "create", 6) == 0)
            while (group.end < end && next_group(text, peer, &i, &group))
                ;
        /* A statement of CREATE that the text does not finish may end in semicolons. */
        if (!found || (group.end != end && offset != strlen(text))) {
            disagree(text, "semicolon", s.text, part(text, group.start, group.end));
            return false;
        }
    }
    bool more = next_group(text, peer, &i, &group);
    if (more)
        disagree(text, "semicolon", span_of(""), part(text, group.start, group.end));
    return !more;
}

/* --- statements ------------------------------------------------------------------------------- */

/* Comments and white space only. */
static bool is_empty(const char *text, size_t start, size_t end)
{
    struct peer_tokens tokens = { 0 };
    char *piece = copy_of(part(text, start, end));
    bool empty = peer_scan(piece, &tokens);
    for (size_t i = 0; i < tokens.count; i++)
        empty = empty && tokens.list[i].class == PEER_COMMENT;
    free(tokens.list);
    free(piece);
    return empty;
}

/* What makes PostgreSQL's tree the same as that of a form that the scanner knows, while the scanner leaves it to the server: parentheses, ALL and
 * other kinds of casts around a call and its arguments; $1 as a value of SET, which only libpg_query takes; and the number of a parameter that
 * no integer holds. */
static bool is_written_otherwise(const char *statement)
{
    struct peer_tokens tokens = { 0 };
    size_t parentheses = 0;
    bool otherwise = false, is_set = false;
    peer_scan(statement, &tokens);
    for (size_t i = 0; i < tokens.count; i++) {
        struct span token = part(statement, tokens.list[i].at.start, tokens.list[i].at.end);
        bool before_cast = i + 1 < tokens.count && statement[tokens.list[i + 1].at.start] == ':';
        bool before_string = i + 1 < tokens.count && tokens.list[i + 1].class == PEER_STRING;
        parentheses += span_is(token, "(");
        is_set = is_set || sql_word_is(token, "set");
        otherwise = otherwise || sql_word_is(token, "all") || sql_word_is(token, "cast") ||
                    (sql_word_is(token, "text") && before_string) ||
                    ((sql_word_is(token, "true") || sql_word_is(token, "false")) && before_cast) ||
                    (tokens.list[i].class == PEER_PARAMETER && (is_set || token.size > sizeof "$999999999" - 1));
    }
    free(tokens.list);
    return otherwise || parentheses > 1;
}

static bool descriptions_agree(const char *statement, struct span own, struct span peer)
{
    if (span_equal(own, peer))
        return true;
    if (memmem(own.data, own.size, UNREADABLE, strlen(UNREADABLE)))
        return strchr(statement, '\\') || strcasestr(statement, "u&");
    return span_is(own, "other") && is_written_otherwise(statement);
}

static bool kinds_agree(const struct statement *s)
{
    struct buffer own = { 0 }, peer = { 0 };
    char *statement = copy_of(s->text);
    own_describe(s, options(), &own);
    bool agree =
        peer_describe(statement, &peer) && descriptions_agree(statement, buffer_span(&own), buffer_span(&peer));
    if (!agree)
        disagree(statement, "kind", buffer_span(&own), buffer_span(&peer));
    buffer_free(&own);
    buffer_free(&peer);
    free(statement);
    return agree;
}

/* --- what they leave behind ------------------------------------------------------------------- */

static bool has_line(const struct buffer *lines, const char *line, size_t size)
{
    for (size_t at = 0; at + size <= lines->size; at++)
        if ((at == 0 || lines->data[at - 1] == '\n') && memcmp(lines->data + at, line, size) == 0)
            return true;
    return false;
}

/* Every line of `lines` is in one of the others. */
static bool has_lines(const struct buffer *lines, const struct buffer *one, const struct buffer *other)
{
    for (size_t at = 0, size; at < lines->size; at += size) {
        const char *line = lines->data + at;
        size = (size_t)((const char *)memchr(line, '\n', lines->size - at) - line) + 1;
        if (!has_line(one, line, size) && !has_line(other, line, size))
            return false;
    }
    return true;
}

static bool states_agree(struct span text)
{
    struct buffer own = { 0 }, must = { 0 }, may = { 0 };
    char *statement = copy_of(text);
    own_states(text, options(), &own);
    bool agree = peer_states(statement, &must, &may) && has_lines(&must, &own, &own) && has_lines(&own, &must, &may);
    if (!agree)
        disagree(statement, "left behind", buffer_span(&own), buffer_span(&must));
    buffer_free(&own);
    buffer_free(&must);
    buffer_free(&may);
    free(statement);
    return agree;
}

/* The quick look must not pass what leaves anything behind. */
static bool quick_look_agrees(const char *text)
{
    struct buffer own = { 0 };
    own_states(span_of(text), options(), &own);
    bool agrees = own.size == 0 || statement_may_leave_state(span_of(text));
    if (!agrees)
        disagree(text, "quick look", span_of("nothing left"), buffer_span(&own));
    buffer_free(&own);
    return agrees;
}

/* --- statements of a text --------------------------------------------------------------------- */

static bool statements_agree(const char *text, const struct ranges *peer)
{
    struct statement s;
    size_t offset = 0, i = 0, size = strlen(text);
    for (; statement_next(span_of(text), &offset, options(), &s); i++) {
        struct range want = i < peer->count ? peer->list[i] : (struct range){ size, size };
        size_t start = (size_t)(s.text.data - text), end = start + s.text.size;
        if (start < want.start || end > want.end || !is_empty(text, want.start, start) ||
            !is_empty(text, end, want.end)) {
            disagree(text, "statement", s.text, part(text, want.start, want.end));
            return false;
        }
        if (!kinds_agree(&s) || !states_agree(s.text))
            return false;
    }
    if (i != peer->count)
        disagree(text, "count", span_of(""), part(text, peer->list[i].start, peer->list[i].end));
    return i == peer->count;
}

/* The quick look must not take anything else for one ordinary statement. */
static bool plain_agrees(const char *text)
{
    struct statement s;
    struct span all = span_of(text);
    size_t offset = 0;
    bool plain = statement_next(all, &offset, options(), &s) && s.kind == STATEMENT_OTHER &&
                 !statement_next(all, &offset, options(), &s);
    bool agrees = plain || !statement_is_plain(all, options());
    if (!agrees)
        disagree(text, "plain", span_of("yes"), span_of("no"));
    return agrees;
}

/* True when the text can be parsed and all of it agrees. */
static bool compare(const char *text)
{
    static struct peer_tokens tokens;
    static struct ranges statements;
    alarm(TEXT_DEADLINE_S); /* a hang is a failure, too */
    if (!plain_agrees(text) || !quick_look_agrees(text))
        return false;
    enum agreement same_tokens = peer_scan(text, &tokens) ? compare_tokens(text, &tokens) : CANNOT_AGREE;
    if (same_tokens != AGREE) {
        tally.refused += same_tokens == CANNOT_AGREE;
        return false;
    }
    if (!peer_split(text, &statements)) {
        tally.tokens += has_literal_behind_number(text, &tokens) || semicolons_agree(text, &tokens);
        return false;
    }
    bool agree = statements_agree(text, &statements);
    tally.statements += agree ? statements.count : 0;
    return agree;
}

/* --- texts ------------------------------------------------------------------------------------ */

static char *read_file(const char *directory, const char *name, size_t *size)
{
    struct buffer path = { 0 }, content = { 0 };
    char chunk[1 << 16];
    buffer_format(&path, "%s/%s", directory, name);
    buffer_append_string(&path, span_of(""));
    FILE *f = fopen(path.data, "r");
    if (!f) {
        perror(path.data);
        exit(1);
    }
    for (size_t got; (got = fread(chunk, 1, sizeof chunk, f)) > 0;)
        buffer_append(&content, chunk, got);
    fclose(f);
    buffer_free(&path);
    *size = content.size;
    return content.data; /* for good: the pool keeps pieces of it */
}

static void pool_add(struct pool *p, const char *statement)
{
    if (p->count == p->capacity) {
        p->capacity = p->capacity ? p->capacity * 2 : 1024;
        p->list = realloc(p->list, p->capacity * sizeof *p->list);
        if (!p->list)
            abort();
    }
    p->list[p->count++] = statement;
}

/* The statements of one file, then those that can be parsed as one text. */
static void compare_file(const char *directory, const char *name, struct pool *pool)
{
    struct buffer all = { 0 };
    size_t size;
    const char *text = read_file(directory, name, &size);
    for (const char *s = text; s < text + size; s += strlen(s) + 1) {
        if (compare(s))
            buffer_append_text(&all, s);
        if (strlen(s) <= MUTATED_SIZE_MAX)
            pool_add(pool, s);
    }
    buffer_append_string(&all, span_of(""));
    size_t before = tally.statements;
    compare(all.data);
    tally.statements = before; /* they were counted one by one */
    buffer_free(&all);
}

/* One statement a line, all of which can be parsed. */
static void compare_lines(const char *file, struct pool *pool)
{
    size_t size, before = tally.statements, count = 0;
    char *text = read_file(".", file, &size);
    for (char *line = text, *end; line < text + size && (end = memchr(line, '\n', size - (size_t)(line - text)));
         line = end + 1) {
        struct buffer statement = { 0 };
        buffer_append(&statement, line, (size_t)(end - line));
        buffer_append_text(&statement, "\n;");
        buffer_append_string(&statement, span_of(""));
        if (!compare(statement.data))
            disagree(statement.data, "cannot be parsed", span_of(""), span_of(""));
        pool_add(pool, statement.data);
        count++;
    }
    printf("%zu of %zu forms in %s agree\n", tally.statements - before, count, file);
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static void compare_directory(const char *directory, struct pool *pool)
{
    struct dirent **files;
    int count = scandir(directory, &files, is_visible, alphasort);
    for (int i = 0; i < count; i++)
        compare_file(directory, files[i]->d_name, pool);
    printf("%d files of PostgreSQL's: %zu statements agree; of %zu texts that cannot be parsed the tokens agree; %zu "
           "are beyond its scanner\n",
           count, tally.statements, tally.tokens, tally.refused);
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: oracle DIRECTORY FILE SEED COUNT\n");
        return 2;
    }
    struct pool corpus = { 0 }, forms = { 0 };
    struct buffer text = { 0 };
    struct random random = { .state = strtoull(argv[3], NULL, 10) * 2 + 1 };
    size_t count = strtoull(argv[4], NULL, 10);
    compare_directory(argv[1], &corpus);
    bool enough = tally.statements > 9 * (tally.tokens + tally.refused) && corpus.count > 0;
    if (!enough)
        printf("too few statements could be compared\n");
    compare_lines(argv[2], &forms);
    tally.statements = tally.tokens = tally.refused = 0;
    for (size_t i = 0; enough && i < count; i++) {
        mutate(&random, i % 2 ? &forms : &corpus, &corpus, &text);
        compare(text.data);
    }
    printf("%zu mutations, seed %s: %zu statements agree; of %zu texts that cannot be parsed the tokens agree; %zu are "
           "beyond its scanner\n%zu disagreements\n",
           count, argv[3], tally.statements, tally.tokens, tally.refused, tally.disagreements);
    return !enough || tally.disagreements > 0;
}

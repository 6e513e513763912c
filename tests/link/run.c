/* Stories of links: what clients send, what servers get, what servers say, what sessions are handed.
 *
 *     == P4_a_sentence_that_says_what_is_true     begins a story; # begins a comment; an indented line goes on with the one above
 *     client a [session] [unnamed] [name=value …] a link: pool = session, prepare_unnamed = on, settings of its startup packet
 *     server 1 name=value …                       what the server reports
 *     a + 1                                       the server is attached
 *     a > P s "SELECT 1" S                        the session sends, in the notation of tests/transcripts/notation.h
 *     1 > P $1 "SELECT 1" S                       the server has got that, and nothing else. $1: the first statement of the story
 *     1 < 1 Z I                                   the server sends
 *     a < 1 Z I                                   the session was handed that, and nothing else
 *     a - [lost]                                  the server may be released, and is; or was lost
 *     a held | free | pinned "why" | unpinned | settled | failed 08P01
 *     a cancelled                                 a cancel request has been there
 *     a ends | cannot end
 *     a sleeps | stays awake                      its client does nothing: only what is needed later is kept, and it wakes up; or it may not
 *     a refused > messages                        no server was to be had for them
 *     a prepares 3 1                              three statements, one by one, at server 1
 *     a floods S                                  20,000 Syncs, of which 10,000 and a Flush leave until those are answered
 *     1 dirty | clean                             whether DISCARD ALL is due before anybody else gets it
 *
 * A story is told over and over: with all bytes of a line at once, byte by byte, and with each line cut once, at every place. */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/link/stage.h"
#include "tests/transcripts/notation.h"

enum { LINE_MAX_SIZE = 4000 };

struct telling {
    struct stage stage;
    uint64_t first_id; /* that of $1 */
    struct notes want, got;
    size_t longest; /* line, in bytes of messages */
    const char *file;
    unsigned line;
    bool failed;
};

__attribute__((format(printf, 2, 3))) static void fail(struct telling *t, const char *format, ...)
{
    if (t->failed)
        return;
    t->failed = true;
    va_list args;
    va_start(args, format);
    printf("%s:%u: ", t->file, t->line);
    vprintf(format, args);
    printf(" (cut %zu)\n", t->stage.cut);
    va_end(args);
}

/* --- messages ------------------------------------------------------------------------------------- */

/* $1 is the name of the first statement of the story on the servers. */
static void put_names(const struct telling *t, const char *text, char out[LINE_MAX_SIZE])
{
    size_t size = 0;
    for (; *text != '\0' && size + STATEMENT_NAME_SIZE < LINE_MAX_SIZE; text++) {
        if (*text == '$' && isdigit((unsigned char)text[1]) && (text[-1] == ' ' || text[-1] == '"')) {
            char *end;
            unsigned long number = strtoul(text + 1, &end, 10);
            statement_server_name(t->first_id + number - 1, out + size);
            size += strlen(out + size);
            text = end - 1;
        } else {
            out[size++] = *text;
        }
    }
    out[size] = '\0';
}

/* False, with t->failed: they cannot be read. */
static bool read_messages(struct telling *t, enum speaker from, const char *text, struct buffer *out)
{
    char named[LINE_MAX_SIZE];
    put_names(t, text, named);
    notes_clear(&t->want);
    if (notes_read_text(&t->want, from, span_of(named)) && (out == NULL || notes_build(&t->want, from, out)))
        return true;
    fail(t, "%s", t->want.error);
    return false;
}

static void expect(struct telling *t, enum speaker from, const char *text, struct buffer *got)
{
    size_t at;
    if (!read_messages(t, from, text, NULL))
        return;
    notes_clear(&t->got);
    bool readable = notes_read_bytes(&t->got, from, buffer_span(got));
    if (!readable || !notes_match(&t->want, &t->got, &at)) {
        struct buffer words = { 0 };
        notes_print(&t->got, &words);
        fail(t, "got %.*s%s%s", (int)words.size, words.data, readable ? "" : ", then ", t->got.error);
        buffer_free(&words);
    }
    buffer_clear(got);
}

/* --- the lines ------------------------------------------------------------------------------------- */

static struct stage_client *client_of(struct telling *t, char name)
{
    struct stage_client *c = &t->stage.clients[name - 'a'];
    if (c->link == NULL)
        stage_add_client(&t->stage, c, (struct link_start){ 0 }, parameters_none());
    return c;
}

static void declare_client(struct telling *t, char name, char *rest)
{
    struct link_start start = { 0 };
    struct parameters *settings = parameters_none();
    for (char *word = strtok(rest, " "); word != NULL; word = strtok(NULL, " ")) {
        char *equals = strchr(word, '=');
        if (strcmp(word, "session") == 0)
            start.keeps_server = true;
        else if (strcmp(word, "unnamed") == 0)
            start.prepares_unnamed = true;
        else if (equals != NULL)
            settings = parameters_with(settings, span_make(word, (size_t)(equals - word)), span_of(equals + 1));
    }
    stage_add_client(&t->stage, &t->stage.clients[name - 'a'], start, settings);
}

static void declare_server(struct telling *t, char name, char *rest)
{
    for (char *word = strtok(rest, " "); word != NULL; word = strtok(NULL, " ")) {
        size_t size = strcspn(word, "=");
        link_server_on_parameter(t->stage.servers[name - '1'].server, span_make(word, size), span_of(word + size + 1));
    }
}

static void release(struct telling *t, struct stage_client *c, const char *rest)
{
    if (c->at == NULL)
        fail(t, "no server is attached");
    else if (strcmp(rest, "lost") != 0 && !link_may_release(c->link))
        fail(t, "the server may not be released");
    else
        stage_detach(c);
}

static void prepare_many(struct telling *t, struct stage_client *c, const char *rest)
{
    char text[60];
    int count = atoi(rest);
    for (int i = 1; i <= count; i++) {
        struct buffer bytes = { 0 };
        snprintf(text, sizeof text, " P s%d \"SELECT %d\" S", i, i);
        read_messages(t, FROM_CLIENT, text, &bytes);
        stage_client_sends(&t->stage, c, buffer_span(&bytes));
        buffer_clear(&bytes);
        read_messages(t, FROM_SERVER, " 1 Z I", &bytes);
        stage_server_sends(&t->stage, c->at, buffer_span(&bytes));
        buffer_free(&bytes);
    }
    buffer_clear(&c->got);
    buffer_clear(&c->at->got);
}

static void append_times(struct buffer *out, const struct buffer *one, size_t times)
{
    for (size_t i = 0; i < times; i++)
        buffer_append_span(out, buffer_span(one));
}

/* `rest` is answered by a ReadyForQuery. */
static void flood(struct telling *t, struct stage_client *c, const char *rest)
{
    enum { AT_ONCE = 10000 };
    struct buffer one = { 0 }, ready = { 0 }, bytes = { 0 }, answers = { 0 };
    read_messages(t, FROM_CLIENT, rest, &one);
    read_messages(t, FROM_SERVER, " Z I", &ready);
    append_times(&bytes, &one, 2 * (size_t)AT_ONCE);
    append_times(&answers, &ready, AT_ONCE);
    stage_client_sends(&t->stage, c, buffer_span(&bytes));
    for (size_t flush = 5, i = 0; i < 2; i++, flush = 0) {
        if (c->at->got.size != AT_ONCE * one.size + flush)
            fail(t, "%zu bytes have left", c->at->got.size);
        buffer_clear(&c->at->got);
        stage_server_sends(&t->stage, c->at, buffer_span(&answers));
    }
    if (c->got.size != 2 * answers.size)
        fail(t, "%zu bytes of answers", c->got.size);
    buffer_clear(&c->got);
    buffer_free(&one);
    buffer_free(&ready);
    buffer_free(&bytes);
    buffer_free(&answers);
}

static void refuse(struct telling *t, struct stage_client *c, char *rest)
{
    struct buffer backlog = { 0 };
    if (read_messages(t, FROM_CLIENT, strchr(rest, '>') + 1, &backlog))
        link_refuse(c->link, buffer_span(&backlog));
    buffer_free(&backlog);
}

static bool is_quoted(const char *rest, const char *text)
{
    return text != NULL && strlen(rest) == strlen(text) + 2 && strncmp(rest + 1, text, strlen(text)) == 0;
}

static void expect_state(struct telling *t, struct stage_client *c, const char *word, const char *rest)
{
    bool ok = false;
    if (strcmp(word, "held") == 0)
        ok = !link_may_release(c->link);
    else if (strcmp(word, "free") == 0)
        ok = link_may_release(c->link);
    else if (strcmp(word, "pinned") == 0)
        ok = is_quoted(rest, c->pinned);
    else if (strcmp(word, "unpinned") == 0)
        ok = c->pinned == NULL;
    else if (strcmp(word, "settled") == 0)
        ok = link_is_settled(c->link);
    else if (strcmp(word, "failed") == 0)
        ok = link_error(c->link) != NULL && strcmp(link_error_sqlstate(c->link), rest) == 0;
    else if (strcmp(word, "ends") == 0)
        ok = stage_end(&t->stage, c);
    else if (strcmp(word, "cannot") == 0)
        ok = !stage_end(&t->stage, c);
    else if (strcmp(word, "sleeps") == 0)
        ok = stage_sleep(c);
    else if (strcmp(word, "stays") == 0)
        ok = !link_may_sleep(c->link);
    else
        fail(t, "no such line");
    if (!ok)
        fail(t, "it is not so (%s%s)", c->pinned != NULL ? "pinned: " : "", c->pinned != NULL ? c->pinned : "");
}

static void on_client_line(struct telling *t, char name, const char *word, char *rest)
{
    struct stage_client *c = client_of(t, name);
    struct buffer bytes = { 0 };
    if (strcmp(word, "+") == 0) {
        stage_attach(&t->stage, c, &t->stage.servers[rest[0] - '1']);
    } else if (strcmp(word, "-") == 0) {
        release(t, c, rest);
    } else if (strcmp(word, ">") == 0) {
        if (read_messages(t, FROM_CLIENT, rest - 1, &bytes))
            stage_client_sends(&t->stage, c, buffer_span(&bytes));
    } else if (strcmp(word, "<") == 0) {
        expect(t, FROM_SERVER, rest, &c->got);
    } else if (strcmp(word, "prepares") == 0) {
        prepare_many(t, c, rest);
    } else if (strcmp(word, "floods") == 0) {
        flood(t, c, rest);
    } else if (strcmp(word, "refused") == 0) {
        refuse(t, c, rest);
    } else if (strcmp(word, "cancelled") == 0) {
        stage_cancelled(&t->stage, c);
    } else {
        expect_state(t, c, word, rest);
    }
    t->longest = bytes.size > t->longest ? bytes.size : t->longest;
    buffer_free(&bytes);
}

static void on_server_line(struct telling *t, char name, const char *word, char *rest)
{
    struct stage_server *s = &t->stage.servers[name - '1'];
    struct buffer bytes = { 0 };
    if (strcmp(word, ">") == 0) {
        expect(t, FROM_CLIENT, rest - 1, &s->got);
    } else if (strcmp(word, "<") == 0) {
        if (read_messages(t, FROM_SERVER, rest, &bytes) && !stage_server_sends(&t->stage, s, buffer_span(&bytes)))
            fail(t, "nobody is attached to server %c", name);
    } else if (link_server_needs_reset(s->server) != (strcmp(word, "dirty") == 0)) {
        fail(t, "it is not so");
    }
    t->longest = bytes.size > t->longest ? bytes.size : t->longest;
    buffer_free(&bytes);
}

static void on_line(struct telling *t, char *line)
{
    char who[20], word[20];
    int size = 0;
    if (sscanf(line, "%19s %19s %n", who, word, &size) < 2) {
        fail(t, "no such line");
        return;
    }
    char *rest = line + size;
    if (strcmp(who, "client") == 0)
        declare_client(t, word[0], rest);
    else if (strcmp(who, "server") == 0)
        declare_server(t, word[0], rest);
    else if (isdigit((unsigned char)who[0]))
        on_server_line(t, who[0], word, rest);
    else
        on_client_line(t, who[0], word, rest);
}

/* --- stories ----------------------------------------------------------------------------------------- */

struct story {
    char *name;
    char **lines;
    unsigned *numbers;
    unsigned count;
};

static void open_telling(struct telling *t, size_t cut)
{
    stage_open(&t->stage, cut);
    struct sql_options options = { .encoding = encoding_utf8() };
    struct shared_statement *last = statements_share(t->stage.statements, 0, span_of("none"), false, &options, 0);
    t->first_id = last->id + 1;
    statements_release(t->stage.statements, last);
}

/* Nobody may have got what the story does not tell of. */
static void close_telling(struct telling *t)
{
    for (unsigned i = 0; i < STAGE_SERVERS; i++)
        expect(t, FROM_CLIENT, "", &t->stage.servers[i].got);
    for (unsigned i = 0; i < STAGE_CLIENTS; i++)
        expect(t, FROM_SERVER, "", &t->stage.clients[i].got);
    stage_close(&t->stage);
    notes_free(&t->want);
    notes_free(&t->got);
}

/* False: it has failed. *longest: of its lines, in bytes. */
static bool tell(const struct story *s, const char *file, size_t cut, size_t *longest)
{
    struct telling t = { .file = file };
    open_telling(&t, cut);
    for (unsigned i = 0; i < s->count && !t.failed; i++) {
        char *line = strdup(s->lines[i]);
        t.line = s->numbers[i];
        on_line(&t, line);
        free(line);
    }
    close_telling(&t);
    *longest = t.longest;
    return !t.failed;
}

static bool tell_in_all_ways(const struct story *s, const char *file)
{
    size_t longest = 1;
    bool ok = true;
    for (size_t cut = CUT_NOWHERE; ok && cut <= longest; cut++)
        ok = tell(s, file, cut, &longest);
    if (!ok)
        printf("FAILED %s\n", s->name);
    return ok;
}

static void add_line(struct story *s, char *line, unsigned number)
{
    size_t size = strlen(line);
    while (size > 0 && isspace((unsigned char)line[size - 1]))
        line[--size] = '\0';
    if (isspace((unsigned char)line[0]) && s->count > 0) {
        char *joined = NULL;
        if (asprintf(&joined, "%s %s", s->lines[s->count - 1], line) < 0)
            abort();
        free(s->lines[s->count - 1]);
        s->lines[s->count - 1] = joined;
        return;
    }
    s->lines = realloc(s->lines, (s->count + 1) * sizeof *s->lines);
    s->numbers = realloc(s->numbers, (s->count + 1) * sizeof *s->numbers);
    if (s->lines == NULL || s->numbers == NULL)
        abort();
    s->lines[s->count] = strdup(line);
    s->numbers[s->count++] = number;
}

static void forget(struct story *s)
{
    for (unsigned i = 0; i < s->count; i++)
        free(s->lines[i]);
    free(s->lines);
    free(s->numbers);
    free(s->name);
    *s = (struct story){ 0 };
}

static void tell_file(const char *path, unsigned *passed, unsigned *failed)
{
    FILE *f = fopen(path, "r");
    if (f == NULL) {
        perror(path);
        ++*failed;
        return;
    }
    struct story s = { 0 };
    char line[LINE_MAX_SIZE];
    bool more = true;
    for (unsigned number = 1; more; number++) {
        more = fgets(line, sizeof line, f) != NULL;
        bool begins = more && strncmp(line, "== ", 3) == 0;
        if ((begins || !more) && s.name != NULL) {
            ++*(tell_in_all_ways(&s, path) ? passed : failed);
            forget(&s);
        }
        if (begins)
            s.name = strndup(line + 3, strcspn(line + 3, "\n"));
        else if (more && line[0] != '#' && line[0] != '\n')
            add_line(&s, line, number);
    }
    fclose(f);
}

int main(int argc, char **argv)
{
    unsigned passed = 0, failed = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < argc; i++)
        tell_file(argv[i], &passed, &failed);
    printf("%u passed, %u failed\n", passed, failed);
    return failed > 0;
}

/* The link, between two clients that take turns and two pooled servers.
 *
 * An input is a script of steps. Its first byte chooses how the links are made; then come letters, each with as many bytes as it needs:
 *
 *   t    the other client's turn                         p n  from now on, bytes arrive in pieces of n (0: whole)
 *   q n  a Query of texts[n]                             P n m  a Parse of names[n], texts[m]
 *   B n  a Bind of names[n]      D n  a Describe         E  an Execute          C n  a Close of names[n]
 *   b n  a Bind of names[n] to a portal with a name, which f executes
 *   S    a Sync      H  a Flush      F  a FunctionCall   c n  COPY: data, its end, its failure
 *   m n  a message of type and body as n bytes follow    k  the beginning of a long CopyData; the next message is its end
 *   s n  a server is to be had: the client gets number n, if it waits and that is free
 *   r    the wait has ended without a server             x  a cancel request has been there
 *   a n  the server answers; n bytes choose its luck     g n  so many bytes of its answers arrive
 *   y n  the listener hears a channel, or cannot         e  the client goes; another takes its place
 *   A    the type of a column changes, on all servers
 *   l    the server is lost                              z n m  a byte of the server's answers is another one: it lies from then on
 *
 * What must hold, whatever is said:
 * - a piece lies within the input, behind what is skipped, and a link keeps no more than it was sent;
 * - what the server gets is whole messages, and not without end.
 * And with a server that does not lie:
 * - it is released only when it is idle, and has nothing of a client's that the next one would see;
 * - the client gets whole messages, and one ReadyForQuery for each that it asked for;
 * - a client that has gone gives its server back, and a new one with settings finds those there, and no others;
 * - who has described a statement gets rows like that, or is told once that its columns have changed, on whatever server. */
#include "protocol/message.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/link_world.h"

static const char *const texts[] = {
    "SELECT 1",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "ROLLBACK TO s",
    "SET a.x = 'one'",
    "SET a.x = 'two'",
    "SET a.y = 'one'",
    "RESET a.x",
    "RESET ALL",
    "SET application_name = 'app'",
    "RESET application_name",
    "DISCARD ALL",
    "DEALLOCATE ALL",
    "PREPARE p AS SELECT 2",
    "EXECUTE p",
    "DEALLOCATE p",
    "LISTEN news",
    "UNLISTEN news",
    "UNLISTEN *",
    "COPY t FROM STDIN",
    "CREATE TEMP TABLE t (i int)",
    "FAIL",
    "SELECT 2; SET a.y = 'two'; SELECT 3",
    "",
    "SET a.x = 'three'; FAIL",
    "PREPARE q AS SELECT 3; EXECUTE q",
    "SELECT 1; DISCARD ALL",
    "BEGIN; SET a.x = 'four'",
    "COPY t FROM STDIN; SELECT 4",
    "SELECT pg_catalog.set_config('a.y', 'five', false)",
    "SET SESSION AUTHORIZATION bob",
    "LISTEN news; COMMIT",
};

enum { TEXTS = sizeof texts / sizeof texts[0] };

static const char *const names[] = { "", "s", "t", "p", "pgatomic_1" };

enum { NAMES = sizeof names / sizeof names[0] };

/* --- the script ---------------------------------------------------------------------------------------- */

struct script {
    const uint8_t *data;
    size_t size, at;
};

static unsigned next_byte(struct script *from)
{
    return from->at < from->size ? from->data[from->at++] : 0;
}

static struct span next_bytes(struct script *from, size_t size)
{
    size_t left = from->size - from->at;
    size = size < left ? size : left;
    from->at += size;
    return span_make((const char *)from->data + from->at - size, size);
}

/* --- what the client says ---------------------------------------------------------------------------------- */

/* COPY FROM STDIN reads what comes behind it. */
static bool copies(const char *text)
{
    return strncmp(text, "COPY", 4) == 0;
}

static void say_query(struct world *w, struct side *s, const char *text)
{
    struct buffer made = { 0 };
    message_add_query(&made, span_of(text));
    s->asked++;
    s->uncertain |= s->in_pipeline || copies(text);
    world_say(w, s, &made, 0);
}

static void say_copy(struct world *w, struct side *s, unsigned what)
{
    struct buffer made = { 0 };
    if (what % 3 == 0)
        message_add_copy_fail(&made, span_of("no"));
    else
        message_add_empty(&made, what % 3 == 1 ? 'c' : 'd');
    s->uncertain = true;
    world_say(w, s, &made, 0);
}

static void say_extended(struct world *w, struct side *s, char letter, struct script *from)
{
    struct buffer made = { 0 };
    struct span name = { 0 }, portal = span_of(letter == 'b' || letter == 'f' ? "x" : "");
    if (letter != 'E' && letter != 'f')
        name = span_of(names[next_byte(from) % NAMES]);
    const char *text = letter == 'P' ? texts[next_byte(from) % TEXTS] : "";
    if (letter == 'P')
        message_add_parse(&made, name, span_of(text));
    else if (letter == 'B' || letter == 'b')
        message_add_bind(&made, portal, name);
    else if (letter == 'D')
        message_add_describe(&made, 'S', name);
    else if (letter == 'C')
        message_add_close(&made, 'S', name);
    else
        message_add_execute(&made, portal, 0);
    s->in_pipeline = true;
    s->uncertain |= copies(text);
    world_say(w, s, &made, 0);
}

static void say_sync(struct world *w, struct side *s)
{
    struct buffer made = { 0 };
    message_add_sync(&made);
    s->asked++;
    s->in_pipeline = false;
    world_say(w, s, &made, 0);
}

static void say_empty(struct world *w, struct side *s, char letter)
{
    struct buffer made = { 0 };
    message_add_empty(&made, letter);
    s->asked += letter == 'F';
    s->uncertain |= s->in_pipeline;
    world_say(w, s, &made, 0);
}

/* A message of any type that a session hands on, with any body. */
static void say_anything(struct world *w, struct side *s, struct span body)
{
    static const char types[] = "QPBDECHdcf";
    struct buffer made = { 0 };
    if (body.size == 0)
        return;
    buffer_append_u8(&made, (uint8_t)types[(unsigned char)body.data[0] % (sizeof types - 1)]);
    buffer_append_u32(&made, (uint32_t)body.size + 3);
    buffer_append(&made, body.data + 1, body.size - 1);
    s->asked++;
    s->uncertain = w->strange = true;
    world_say(w, s, &made, 0);
}

static void begin_copy_data(struct world *w, struct side *s)
{
    char data[300] = { 0 };
    struct buffer made = { 0 };
    buffer_append_u8(&made, 'd');
    buffer_append_u32(&made, sizeof data + 4);
    buffer_append(&made, data, sizeof data);
    s->uncertain = true;
    world_say(w, s, &made, 100);
}

static void take_turn(struct world *w, char letter, struct script *from)
{
    struct side *s = &w->sides[w->turn];
    switch (letter) {
    case 't':
        w->turn = (w->turn + 1) % SIDES;
        return;
    case 'p':
        w->piece = next_byte(from);
        return;
    case 'q':
        say_query(w, s, texts[next_byte(from) % TEXTS]);
        return;
    case 'P':
    case 'B':
    case 'b':
    case 'D':
    case 'E':
    case 'f':
    case 'C':
        say_extended(w, s, letter, from);
        return;
    case 'S':
        say_sync(w, s);
        return;
    case 'H':
    case 'F':
        say_empty(w, s, letter);
        return;
    case 'c':
        say_copy(w, s, next_byte(from));
        return;
    case 'm':
        say_anything(w, s, next_bytes(from, next_byte(from)));
        return;
    case 'k':
        begin_copy_data(w, s);
        return;
    case 's':
        world_attach(w, s, next_byte(from));
        return;
    case 'r':
        world_refuse(s);
        return;
    case 'x':
        world_cancel(w, s);
        return;
    case 'a':
        if (s->upstream != NULL)
            world_answer(s->upstream, next_bytes(from, next_byte(from) % 8));
        return;
    case 'g':
        if (s->upstream != NULL)
            world_arrive(w, s->upstream, next_byte(from));
        return;
    case 'y':
        world_hear_channel(w, s, next_byte(from) % 4 > 0);
        return;
    case 'A':
        small_postgres_alter((small_postgres_type() + 1) % 3);
        return;
    case 'e':
        world_leave(w, s);
        return;
    case 'l':
        if (s->upstream != NULL)
            world_lose_server(w, s);
        return;
    case 'z': {
        unsigned at = next_byte(from);
        world_lie(w, s, at, next_byte(from));
        return;
    }
    default:
        return;
    }
}

/* --- the end -------------------------------------------------------------------------------------------- */

static void check_answers(const struct world *w, const struct side *s)
{
    bool finished = s->backlog.size == 0 && s->rest.size == 0 && !s->in_pipeline && !s->uncertain && !s->gone;
    MUST(!world_is_honest(w) || !finished || s->ready == s->asked);
}

static void prepare_and_run(struct world *w, struct upstream *u, const char *name)
{
    struct buffer made = { 0 };
    message_add_parse(&made, span_of(name), span_of("SELECT 1"));
    message_add_bind(&made, (struct span){ 0 }, span_of(name));
    message_add_execute(&made, (struct span){ 0 }, 0);
    world_say(w, &w->sides[0], &made, 0);
    world_attach(w, &w->sides[0], (unsigned)(u - w->upstreams));
    world_settle(w);
}

/* Who comes next finds on the server what it has set, and nothing else, and can prepare what it likes. */
static void check_next_client(struct world *w, struct upstream *u)
{
    struct side *s = &w->sides[0];
    struct parameters *base = parameters_with(parameters_none(), span_of("a.y"), span_of("next"));
    world_replace_link(w, s, base);
    parameters_release(base);
    prepare_and_run(w, u, "s");
    if (s->outdated) { /* nobody had seen yet that the column has changed */
        s->outdated = false;
        say_sync(w, s);
        world_settle(w);
        prepare_and_run(w, u, "again");
    }
    MUST(!s->outdated);
    MUST(s->upstream == u && !u->v.skipping && !u->v.now.dirty && !u->v.now.listens);
    MUST(strcmp(u->v.now.value[0], "") == 0 && strcmp(u->v.now.value[1], "next") == 0);
    say_sync(w, s);
    world_settle(w);
    world_leave(w, s);
    world_settle(w);
    MUST(s->upstream == NULL);
}

/* The client prepares a statement and has it described; once more if it hears in place of that that the columns have changed. */
static void describe_at(struct world *w, struct side *s, unsigned number, char name[2])
{
    do {
        struct buffer made = { 0 };
        MUST(++name[0] <= 'e');
        s->outdated = false;
        message_add_parse(&made, span_of(name), span_of("SELECT 1"));
        message_add_describe(&made, 'S', span_of(name));
        world_say(w, s, &made, 0);
        say_sync(w, s);
        world_attach(w, s, number);
        world_settle(w);
    } while (s->outdated);
    MUST(s->upstream == NULL && s->type == small_postgres_type());
}

static void run_at(struct world *w, struct side *s, unsigned number, const char *name)
{
    struct buffer made = { 0 };
    message_add_bind(&made, (struct span){ 0 }, span_of(name));
    message_add_execute(&made, (struct span){ 0 }, 0);
    s->row = UINT32_MAX;
    world_say(w, s, &made, 0);
    say_sync(w, s);
    world_attach(w, s, number);
    world_settle(w);
    MUST(s->upstream == NULL && s->row == (s->outdated ? UINT32_MAX : s->type));
}

/* Rows are what they were described to be, or their client hears once that they are not. */
static void check_columns(struct world *w)
{
    char last[SIDES][2] = { "a", "a" };
    for (unsigned i = 0; i < SIDES; i++) {
        world_replace_link(w, &w->sides[i], w->base);
        describe_at(w, &w->sides[i], i, last[i]);
    }
    small_postgres_alter((small_postgres_type() + 1) % 3);
    for (unsigned n = 0; n < 2 * SIDES; n++) {
        unsigned i = n % SIDES, number = (i + 1 + n / SIDES) % SIDES;
        struct side *s = &w->sides[i];
        run_at(w, s, number, last[i]);
        MUST(s->outdated == (n < SIDES));
        if (s->outdated)
            describe_at(w, s, number, last[i]);
        run_at(w, s, number, last[i]);
        MUST(!s->outdated);
    }
    for (unsigned i = 0; i < SIDES; i++)
        world_leave(w, &w->sides[i]);
    world_settle(w);
}

static void wind_up(struct world *w)
{
    w->piece = 0;
    world_settle(w);
    for (size_t i = 0; i < SIDES; i++) {
        check_answers(w, &w->sides[i]);
        world_leave(w, &w->sides[i]);
    }
    world_settle(w);
    for (size_t i = 0; i < SIDES; i++) {
        struct side *s = &w->sides[i];
        MUST(w->lied || s->upstream == NULL);
        if (s->upstream != NULL)
            world_lose_server(w, s);
    }
    if (world_is_honest(w) && !(w->rules & KEEPS_SERVER))
        check_columns(w);
    for (size_t i = 0; i < SIDES && world_is_honest(w); i++)
        check_next_client(w, &w->upstreams[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 600)
        return 0;
    struct script from = { data + 1, size - 1, 0 };
    struct world *w = calloc(1, sizeof *w);
    MUST(w);
    world_init(w, data[0], size);
    while (from.at < from.size)
        take_turn(w, (char)next_byte(&from), &from);
    wind_up(w);
    world_free(w);
    free(w);
    return 0;
}

/* The link, between two clients that take turns and two pooled servers.
 *
 * An input is a script of steps. Its first byte chooses how the links are made; then come letters, each with as many bytes as it needs:
 *
 *   t    the other client's turn                         p n  from now on, bytes arrive in pieces of n (0: whole)
 *   q n  a Query of texts[n]                             P n m  a Parse of names[n], texts[m]
 *   B n  a Bind of names[n]      D n  a Describe         E  an Execute          C n  a Close of names[n]
 *   S    a Sync      H  a Flush      F  a FunctionCall   c n  COPY: data, its end, its failure
 *   m n  a message of type and body as n bytes follow    k  the beginning of a long CopyData; the next message is its end
 *   s n  a server is to be had: the client gets number n, if it waits and that is free
 *   r    the wait has ended without a server             x  a cancel request has been there
 *   a n  the server answers; n bytes choose its luck     g n  so many bytes of its answers arrive
 *   y n  the listener hears a channel, or cannot         e  the client goes; another takes its place
 *   l    the server is lost                              z n m  a byte of the server's answers is another one: it lies from then on
 *
 * The shell in the middle keeps the bargain of link.h as proxy/pool/pooled.c does. What must hold, whatever is said:
 * - a piece lies within the input, behind what is skipped, and a link keeps no more than it was sent;
 * - what the server gets is whole messages, and not without end.
 * And with a server that does not lie:
 * - it is released only when it is idle, and has nothing of a client's that the next one would see;
 * - the client gets whole messages, and one ReadyForQuery for each that it asked for;
 * - a client that has gone gives its server back, and a new one with settings finds those there, and no others. */
#include "proxy/link/inside.h"
#include "tests/fuzz/small_postgres.h"
#include "tests/unit/bytes.h"

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

enum { TEXTS = sizeof texts / sizeof texts[0], SIDES = 2 };

static const char *const names[] = { "", "s", "t", "p", "pgatomic_1" };

enum { NAMES = sizeof names / sizeof names[0], NOBODY = -1 };

struct upstream {
    struct small_postgres v;
    struct link_server *record;
    int owner; /* the side that has it, or NOBODY */
};

struct side {
    struct link *link;
    struct upstream *upstream;
    struct buffer backlog; /* for a server that it waits for */
    struct buffer kept;    /* the server's bytes that nobody is done with */
    struct buffer shown;   /* what the session got, up to the last whole message */
    struct buffer rest;    /* of the message that the client has begun */
    size_t said, messages; /* to the link */
    size_t asked, ready;   /* ReadyForQuery */
    size_t listening;      /* answers that the listener owes */
    bool uncertain;        /* how many it gets: an error may skip a Query, COPY a Sync */
    bool in_pipeline;
    bool gone, pinned;
    bool cut_short; /* it has gone in the middle of a message */
};

struct world {
    struct statements *statements;
    struct parameters *base;
    struct actions out;
    struct side sides[SIDES];
    struct upstream upstreams[SIDES];
    unsigned rules, turn, piece;
    bool lied, strange;
    size_t size, sent;
};

enum { KEEPS_SERVER = 1, PREPARES_UNNAMED = 2, HAS_LISTENER = 4, HAS_BASE = 8 };

static bool is_honest(const struct world *w)
{
    return !w->lied && !w->strange;
}

/* --- links -------------------------------------------------------------------------------------------- */

static void on_listen(void *context, struct span channel)
{
    struct side *s = context;
    MUST(channel.size > 0);
    s->listening++;
}

static void on_unlisten(void *context, struct span channel)
{
    MUST(context != NULL && channel.size > 0);
}

static void on_pinned(void *context, const char *cause)
{
    struct side *s = context;
    MUST(cause != NULL);
    s->pinned = true;
}

static struct link *open_link(struct world *w, struct side *s, struct parameters *base)
{
    struct link_start start = { .statements = w->statements,
                                .base = base,
                                .keeps_server = w->rules & KEEPS_SERVER,
                                .prepares_unnamed = w->rules & PREPARES_UNNAMED,
                                .on_listen = w->rules & HAS_LISTENER ? on_listen : NULL,
                                .on_unlisten = on_unlisten,
                                .on_pinned = on_pinned,
                                .context = s };
    return link_new(&start);
}

static void close_side(struct side *s)
{
    link_free(s->link);
    buffer_free(&s->backlog);
    buffer_free(&s->kept);
    buffer_free(&s->shown);
    buffer_free(&s->rest);
    *s = (struct side){ 0 };
}

/* --- servers ------------------------------------------------------------------------------------------ */

static void open_upstream(struct upstream *u)
{
    small_postgres_init(&u->v);
    u->record = link_server_new();
    u->owner = NOBODY;
    link_server_on_parameter(u->record, span_of(setting_names[REPORTED]), span_of(""));
}

static void close_upstream(struct upstream *u)
{
    small_postgres_reset(&u->v);
    link_server_free(u->record);
}

static void detach(struct side *s)
{
    link_detach(s->link);
    s->upstream->owner = NOBODY;
    s->upstream = NULL;
    buffer_free(&s->kept);
}

/* The client goes with it, as its session would have it. */
static void lose_server(struct world *w, struct side *s)
{
    struct upstream *u = s->upstream;
    detach(s);
    close_upstream(u);
    open_upstream(u);
    close_side(s);
    s->link = open_link(w, s, w->base);
}

/* Nothing of a client's is there, but for the settings that the link knows of. */
static void check_released(const struct world *w, struct upstream *u)
{
    if (w->lied)
        return;
    small_postgres_answer(
        &u->v, (struct span){ 0 }); /* what gets no reply may be under way: a Flush, the data of a failed COPY */
    MUST(small_postgres_is_idle(&u->v));
    if (w->strange || link_server_needs_reset(u->record))
        return;
    MUST(!u->v.now.dirty && !u->v.now.listens);
    for (size_t i = 0; i < SETTINGS; i++) {
        const char *told = parameters_value(u->record->told, span_of(setting_names[i]));
        MUST(strcmp(told != NULL ? told : "", u->v.now.value[i]) == 0);
    }
}

static void give_back(struct side *s)
{
    struct upstream *u = s->upstream;
    detach(s);
    if (link_server_needs_reset(u->record)) {
        u->v.now = u->v.before = (struct session_state){ 0 };
        drop_all_named(&u->v, false);
        link_server_on_reset(u->record);
    }
}

static void settle_side(struct world *w, struct side *s)
{
    if (s->upstream == NULL)
        return;
    MUST(s->link->partial.size <= s->said && s->link->owed.count <= 10 * s->messages + 20);
    if (link_error(s->link) != NULL) {
        MUST(!is_honest(w) || s->cut_short);
        lose_server(w, s);
        return;
    }
    if (!link_may_release(s->link) || s->kept.size > 0 || s->rest.size > 0)
        return;
    check_released(w, s->upstream);
    give_back(s);
    if (!s->gone)
        return;
    close_side(s);
    s->link = open_link(w, s, w->base);
}

/* --- to the server ------------------------------------------------------------------------------------ */

static void perform(struct world *w, struct side *s)
{
    for (size_t i = 0; i < w->out.count; i++) {
        MUST(w->out.list[i].kind == ACTION_TO_SERVER && s->upstream != NULL);
        w->sent += w->out.list[i].bytes.size;
        MUST(w->sent <= 100000 + 1000 * w->size);
        buffer_append_span(&s->upstream->v.unread, w->out.list[i].bytes);
    }
    actions_clear(&w->out);
}

static void hear(struct world *w, struct side *s);

static void hand_over(struct world *w, struct side *s, struct span bytes)
{
    struct span copy = bytes_exact(bytes);
    link_on_client(s->link, copy, &w->out);
    perform(w, s);
    bytes_free(copy);
    if (link_has_due(s->link))
        hear(w, s);
}

static void to_link(struct world *w, struct side *s, struct span bytes)
{
    size_t piece = w->piece > 0 ? w->piece : bytes.size;
    if (s->upstream == NULL) {
        buffer_append_span(&s->backlog, bytes);
        return;
    }
    for (size_t at = 0; at < bytes.size && s->upstream != NULL; at += piece)
        hand_over(w, s, span_make(bytes.data + at, piece < bytes.size - at ? piece : bytes.size - at));
}

/* A message of the client, of which the last `held_back` bytes come with the next. */
static void client_says(struct world *w, struct side *s, struct buffer *made_take, size_t held_back)
{
    size_t size = made_take->size - held_back;
    if (!s->gone) {
        s->said += made_take->size;
        s->messages++;
        to_link(w, s, buffer_span(&s->rest));
        buffer_clear(&s->rest);
        to_link(w, s, span_make(made_take->data, size));
        buffer_append(&s->rest, made_take->data + size, held_back);
        if (s->upstream != NULL)
            settle_side(w, s);
    }
    buffer_free(made_take);
}

/* --- from the server ---------------------------------------------------------------------------------- */

static void show(struct world *w, struct side *s, struct span bytes)
{
    struct frame f;
    enum frame_result result = FRAME_MORE;
    MUST(!s->gone || bytes.size == 0 || w->lied);
    buffer_append_span(&s->shown, bytes);
    if (w->lied)
        return;
    while ((result = frame_next_whole(backend_messages, buffer_span(&s->shown), INT32_MAX, &f, NULL)) == FRAME_OK) {
        s->ready += f.type == 'Z';
        buffer_consume(&s->shown, f.bytes.size);
    }
    MUST(result == FRAME_MORE && s->ready <= s->asked);
}

static void hear(struct world *w, struct side *s)
{
    struct span input = bytes_exact(buffer_span(&s->kept));
    struct link_piece piece;
    size_t used = 0;
    for (size_t pieces = 0;; pieces++) {
        struct span rest = span_make(input.data + used, input.size - used);
        bool more = link_on_server(s->link, rest, &piece, &w->out);
        perform(w, s);
        MUST(piece.skip <= rest.size && pieces <= 100 + 10 * (s->messages + input.size));
        used += piece.skip;
        if (!more)
            break;
        show(w, s, piece.bytes);
        if (piece.own)
            continue;
        MUST(piece.bytes.data == rest.data + piece.skip && piece.skip + piece.bytes.size <= rest.size);
        link_took(s->link, piece.bytes.size);
        used += piece.bytes.size;
    }
    buffer_consume(&s->kept, used);
    bytes_free(input);
}

static void arrive(struct world *w, struct upstream *u, size_t size)
{
    struct small_postgres *v = &u->v;
    size = size < v->flushed ? size : v->flushed;
    if (u->owner == NOBODY || size == 0)
        return;
    struct side *s = &w->sides[u->owner];
    buffer_append(&s->kept, v->output.data, size);
    buffer_consume(&v->output, size);
    v->flushed -= size;
    hear(w, s);
    settle_side(w, s);
}

static void answer(struct upstream *u, struct span choices)
{
    if (u->owner != NOBODY)
        small_postgres_answer(&u->v, choices);
}

/* --- turns ----------------------------------------------------------------------------------------------- */

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

static void take_server(struct world *w, struct side *s, unsigned number)
{
    struct upstream *u = &w->upstreams[number % SIDES];
    if (u->owner != NOBODY || s->upstream != NULL || s->backlog.size == 0)
        return;
    u->owner = (int)(s - w->sides);
    s->upstream = u;
    link_attach(s->link, u->record, &w->out);
    perform(w, s);
    struct buffer backlog = s->backlog;
    s->backlog = (struct buffer){ 0 };
    to_link(w, s, buffer_span(&backlog));
    buffer_free(&backlog);
    settle_side(w, s);
}

static void refuse(struct world *w, struct side *s)
{
    struct buffer replies = { 0 };
    if (s->upstream != NULL || s->backlog.size == 0)
        return;
    link_refuse(s->link, buffer_span(&s->backlog), "53300", "no server", &replies);
    buffer_clear(&s->backlog);
    show(w, s, buffer_span(&replies));
    buffer_free(&replies);
    s->uncertain = true;
}

static void client_goes(struct world *w, struct side *s)
{
    if (s->upstream == NULL) {
        close_side(s);
        s->link = open_link(w, s, w->base);
        return;
    }
    if (s->gone)
        return;
    bool clean = link_end(s->link, &w->out);
    perform(w, s);
    s->gone = true;
    s->cut_short = s->rest.size > 0;
    s->listening = 0;
    buffer_clear(&s->rest);
    if (clean)
        settle_side(w, s);
    else
        lose_server(w, s);
}

static void hear_of_channel(struct world *w, struct side *s, bool ok)
{
    if (s->listening == 0)
        return;
    s->listening--;
    link_on_listening(s->link, ok, &w->out);
    perform(w, s);
    settle_side(w, s);
}

static void be_cancelled(struct world *w, struct side *s)
{
    if (s->upstream == NULL)
        return;
    link_on_cancelled(s->link, &w->out);
    perform(w, s);
    s->messages++;
}

static void lie(struct world *w, struct side *s, unsigned at, unsigned value)
{
    struct buffer *b = s->upstream != NULL ? &s->upstream->v.output : NULL;
    if (b == NULL || b->size == 0)
        return;
    b->data[at % b->size] = (char)value;
    w->lied = true;
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
    client_says(w, s, &made, 0);
}

static void say_copy(struct world *w, struct side *s, unsigned what)
{
    struct buffer made = { 0 };
    if (what % 3 == 0)
        message_add_copy_fail(&made, span_of("no"));
    else
        message_add_empty(&made, what % 3 == 1 ? 'c' : 'd');
    s->uncertain = true;
    client_says(w, s, &made, 0);
}

static void say_extended(struct world *w, struct side *s, char letter, struct script *from)
{
    struct buffer made = { 0 };
    struct span name = { 0 };
    if (letter != 'E')
        name = span_of(names[next_byte(from) % NAMES]);
    const char *text = letter == 'P' ? texts[next_byte(from) % TEXTS] : "";
    if (letter == 'P')
        message_add_parse(&made, name, span_of(text));
    else if (letter == 'B')
        message_add_bind(&made, (struct span){ 0 }, name);
    else if (letter == 'D')
        message_add_describe(&made, 'S', name);
    else if (letter == 'C')
        message_add_close(&made, 'S', name);
    else
        message_add_execute(&made, (struct span){ 0 }, 0);
    s->in_pipeline = true;
    s->uncertain |= copies(text);
    client_says(w, s, &made, 0);
}

static void say_sync(struct world *w, struct side *s)
{
    struct buffer made = { 0 };
    message_add_sync(&made);
    s->asked++;
    s->in_pipeline = false;
    client_says(w, s, &made, 0);
}

static void say_empty(struct world *w, struct side *s, char letter)
{
    struct buffer made = { 0 };
    message_add_empty(&made, letter);
    s->asked += letter == 'F';
    s->uncertain |= s->in_pipeline;
    client_says(w, s, &made, 0);
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
    client_says(w, s, &made, 0);
}

static void begin_copy_data(struct world *w, struct side *s)
{
    char data[300] = { 0 };
    struct buffer made = { 0 };
    buffer_append_u8(&made, 'd');
    buffer_append_u32(&made, sizeof data + 4);
    buffer_append(&made, data, sizeof data);
    s->uncertain = true;
    client_says(w, s, &made, 100);
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
    case 'D':
    case 'E':
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
        take_server(w, s, next_byte(from));
        return;
    case 'r':
        refuse(w, s);
        return;
    case 'x':
        be_cancelled(w, s);
        return;
    case 'a':
        if (s->upstream != NULL)
            answer(s->upstream, next_bytes(from, next_byte(from) % 8));
        return;
    case 'g':
        if (s->upstream != NULL)
            arrive(w, s->upstream, next_byte(from));
        return;
    case 'y':
        hear_of_channel(w, s, next_byte(from) % 4 > 0);
        return;
    case 'e':
        client_goes(w, s);
        return;
    case 'l':
        if (s->upstream != NULL)
            lose_server(w, s);
        return;
    case 'z': {
        unsigned at = next_byte(from);
        lie(w, s, at, next_byte(from));
        return;
    }
    default:
        return;
    }
}

/* --- the end ------------------------------------------------------------------------------------------------ */

static void settle(struct world *w)
{
    for (int round = 0; round < 12; round++) {
        for (size_t i = 0; i < SIDES; i++) {
            while (w->sides[i].listening > 0)
                hear_of_channel(w, &w->sides[i], true);
            answer(&w->upstreams[i], (struct span){ 0 });
            arrive(w, &w->upstreams[i], SIZE_MAX);
        }
    }
}

static void check_answers(const struct world *w, const struct side *s)
{
    bool finished = s->backlog.size == 0 && s->rest.size == 0 && !s->in_pipeline && !s->uncertain && !s->gone;
    MUST(!is_honest(w) || !finished || s->ready == s->asked);
}

/* Who comes next finds on the server what it has set, and nothing else, and can prepare what it likes. */
static void check_next_client(struct world *w, struct upstream *u)
{
    struct side *s = &w->sides[0];
    struct parameters *base = parameters_with(parameters_none(), span_of("a.y"), span_of("next"));
    link_free(s->link);
    s->link = open_link(w, s, base);
    parameters_release(base);
    struct buffer made = { 0 };
    message_add_parse(&made, span_of("s"), span_of("SELECT 1"));
    message_add_bind(&made, (struct span){ 0 }, span_of("s"));
    message_add_execute(&made, (struct span){ 0 }, 0);
    client_says(w, s, &made, 0);
    take_server(w, s, (unsigned)(u - w->upstreams));
    settle(w);
    MUST(s->upstream == u && !u->v.skipping && !u->v.now.dirty && !u->v.now.listens);
    MUST(strcmp(u->v.now.value[0], "") == 0 && strcmp(u->v.now.value[1], "next") == 0);
    say_sync(w, s);
    settle(w);
    client_goes(w, s);
    settle(w);
    MUST(s->upstream == NULL);
}

static void wind_up(struct world *w)
{
    w->piece = 0;
    settle(w);
    for (size_t i = 0; i < SIDES; i++) {
        check_answers(w, &w->sides[i]);
        client_goes(w, &w->sides[i]);
    }
    settle(w);
    for (size_t i = 0; i < SIDES; i++) {
        struct side *s = &w->sides[i];
        MUST(w->lied || s->upstream == NULL);
        if (s->upstream != NULL)
            lose_server(w, s);
    }
    for (size_t i = 0; i < SIDES && is_honest(w); i++)
        check_next_client(w, &w->upstreams[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 600)
        return 0;
    struct script from = { data + 1, size - 1, 0 };
    struct world *w = calloc(1, sizeof *w);
    MUST(w);
    w->rules = data[0];
    w->size = size;
    w->statements = statements_new();
    w->base = parameters_none();
    if (w->rules & HAS_BASE)
        w->base = parameters_with(w->base, span_of("a.x"), span_of("base"));
    for (size_t i = 0; i < SIDES; i++) {
        open_upstream(&w->upstreams[i]);
        w->sides[i].link = open_link(w, &w->sides[i], w->base);
    }
    while (from.at < from.size)
        take_turn(w, (char)next_byte(&from), &from);
    wind_up(w);
    for (size_t i = 0; i < SIDES; i++) {
        close_side(&w->sides[i]);
        close_upstream(&w->upstreams[i]);
    }
    parameters_release(w->base);
    statements_free(w->statements);
    actions_free(&w->out);
    free(w);
    return 0;
}

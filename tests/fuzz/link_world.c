#include "tests/fuzz/link_world.h"

#include <string.h>

#include "protocol/message.h"
#include "proxy/link/inside.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/bytes.h"

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

void world_lose_server(struct world *w, struct side *s)
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
    if (w->lied || link_server_is_out_of_step(u->record))
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
    if (link_server_is_out_of_step(u->record)) {
        close_upstream(u);
        open_upstream(u);
    } else if (link_server_needs_reset(u->record)) {
        small_postgres_discard(&u->v);
        link_server_on_reset(u->record);
    }
}

static void settle_side(struct world *w, struct side *s)
{
    if (s->upstream == NULL)
        return;
    MUST(s->link->partial.size <= s->said && s->link->owed.count <= 10 * s->messages + 20);
    if (link_error(s->link) != NULL) {
        MUST(!world_is_honest(w) || s->cut_short || link_server_is_out_of_step(s->upstream->record));
        world_lose_server(w, s);
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

void world_say(struct world *w, struct side *s, struct buffer *made_take, size_t held_back)
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

static void note_columns(struct side *s, const struct frame *f)
{
    struct span body = frame_body(f);
    struct message_error error;
    if (f->type == 'T' && body.size == 22) /* of one column, c */
        s->type = wire_get_u32(body.data + 10);
    else if (f->type == 'D' && body.size == 7)
        s->row = (unsigned)(body.data[6] - '0');
    else if (f->type == 'E' && message_read_error(body, &error))
        s->outdated |= span_is(error.sqlstate, "0A000");
}

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
        note_columns(s, &f);
        buffer_consume(&s->shown, f.bytes.size);
    }
    /* A COPY that has failed may have read what is answered then, as far as anybody knows. */
    MUST(result == FRAME_MORE && (s->ready <= s->asked || link_server_is_out_of_step(s->upstream->record)));
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

void world_arrive(struct world *w, struct upstream *u, size_t size)
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

void world_answer(struct upstream *u, struct span choices)
{
    if (u->owner != NOBODY)
        small_postgres_answer(&u->v, choices);
}

/* --- what happens ------------------------------------------------------------------------------------- */

void world_attach(struct world *w, struct side *s, unsigned number)
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

void world_refuse(struct side *s)
{
    if (s->upstream != NULL || s->backlog.size == 0)
        return;
    link_refuse(s->link, buffer_span(&s->backlog));
    buffer_clear(&s->backlog);
    s->uncertain = true;
}

void world_leave(struct world *w, struct side *s)
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
        world_lose_server(w, s);
}

void world_hear_channel(struct world *w, struct side *s, bool ok)
{
    if (s->listening == 0)
        return;
    s->listening--;
    link_on_listening(s->link, ok, &w->out);
    perform(w, s);
    settle_side(w, s);
}

void world_cancel(struct world *w, struct side *s)
{
    if (s->upstream == NULL)
        return;
    link_on_cancelled(s->link, &w->out);
    perform(w, s);
    s->messages++;
}

void world_lie(struct world *w, struct side *s, unsigned at, unsigned value)
{
    struct buffer *b = s->upstream != NULL ? &s->upstream->v.output : NULL;
    if (b == NULL || b->size == 0)
        return;
    b->data[at % b->size] = (char)value;
    w->lied = true;
}

void world_settle(struct world *w)
{
    size_t rounds = 12 + w->sides[0].messages + w->sides[1].messages; /* each may have to wait for the one before */
    for (size_t round = 0; round < rounds; round++) {
        for (size_t i = 0; i < SIDES; i++) {
            while (w->sides[i].listening > 0)
                world_hear_channel(w, &w->sides[i], true);
            world_answer(&w->upstreams[i], (struct span){ 0 });
            world_arrive(w, &w->upstreams[i], SIZE_MAX);
        }
    }
}

/* --- the world ---------------------------------------------------------------------------------------- */

void world_replace_link(struct world *w, struct side *s, struct parameters *base)
{
    link_free(s->link);
    s->link = open_link(w, s, base);
}

void world_init(struct world *w, unsigned rules, size_t input_size)
{
    *w =
        (struct world){ .rules = rules, .size = input_size, .statements = statements_new(), .base = parameters_none() };
    small_postgres_alter(0);
    if (rules & HAS_BASE)
        w->base = parameters_with(w->base, span_of("a.x"), span_of("base"));
    for (size_t i = 0; i < SIDES; i++) {
        open_upstream(&w->upstreams[i]);
        w->sides[i].link = open_link(w, &w->sides[i], w->base);
    }
}

void world_free(struct world *w)
{
    for (size_t i = 0; i < SIDES; i++) {
        close_side(&w->sides[i]);
        close_upstream(&w->upstreams[i]);
    }
    parameters_release(w->base);
    statements_free(w->statements);
    actions_free(&w->out);
}

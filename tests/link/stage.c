#include "tests/link/stage.h"

#include <stdlib.h>

void stage_open(struct stage *s, size_t cut)
{
    *s = (struct stage){ .statements = statements_new(), .cut = cut };
    for (unsigned i = 0; i < STAGE_SERVERS; i++)
        s->servers[i].server = link_server_new();
}

void stage_close(struct stage *s)
{
    for (unsigned i = 0; i < STAGE_CLIENTS; i++) {
        struct stage_client *c = &s->clients[i];
        if (c->at != NULL)
            stage_detach(c);
        link_free(c->link);
        parameters_release(c->base);
        buffer_free(&c->input);
        buffer_free(&c->got);
    }
    for (unsigned i = 0; i < STAGE_SERVERS; i++) {
        link_server_free(s->servers[i].server);
        buffer_free(&s->servers[i].got);
    }
    actions_free(&s->actions);
    statements_free(s->statements);
}

static void on_pinned(void *context, const char *cause)
{
    struct stage_client *c = context;
    c->pinned = cause;
}

void stage_add_client(struct stage *s, struct stage_client *c, struct link_start start,
                      struct parameters *settings_take)
{
    c->base = settings_take;
    start.statements = s->statements;
    start.base = settings_take;
    start.on_pinned = on_pinned;
    start.context = c;
    c->start = start;
    c->link = link_new(&start);
}

/* --- moving bytes -------------------------------------------------------------------------------- */

static void perform(struct stage *s, struct stage_client *c)
{
    for (size_t i = 0; i < s->actions.count; i++)
        if (s->actions.list[i].kind == ACTION_TO_SERVER && c->at != NULL)
            buffer_append_span(&c->at->got, s->actions.list[i].bytes);
    actions_clear(&s->actions);
}

/* The session takes a piece; when bytes are cut, half of it first. */
static void take(struct stage *s, struct stage_client *c, const struct link_piece *piece)
{
    size_t size = piece->bytes.size;
    if (!piece->own && s->cut != CUT_NOWHERE && size > 1)
        size /= 2;
    buffer_append(&c->got, piece->bytes.data, size);
    if (piece->own)
        return;
    link_took(c->link, size);
    buffer_consume(&c->input, size);
}

/* As the shell does it: after the last of what has come the link is not asked again unless it says that it has more. */
static void pump(struct stage *s, struct stage_client *c)
{
    struct link_piece piece;
    bool more = true;
    while (more) {
        /* exactly what there is, so that a read past its end is seen */
        struct span input = buffer_span(&c->input);
        char *copy = malloc(input.size > 0 ? input.size : 1);
        if (copy == NULL)
            abort();
        if (input.size > 0)
            memcpy(copy, input.data, input.size);
        more = link_on_server(c->link, span_make(copy, input.size), &piece, &s->actions);
        buffer_consume(&c->input, piece.skip);
        if (more)
            take(s, c, &piece);
        more = more && (piece.own || c->input.size > 0 || link_has_due(c->link));
        free(copy);
        perform(s, c);
    }
}

static size_t next_cut(const struct stage *s, size_t at, size_t size)
{
    if (s->cut == CUT_EVERYWHERE)
        return 1;
    return at == 0 && s->cut > CUT_EVERYWHERE && s->cut - 1 < size ? s->cut - 1 : size - at;
}

void stage_client_sends(struct stage *s, struct stage_client *c, struct span bytes)
{
    for (size_t at = 0, size; at < bytes.size; at += size) {
        size = next_cut(s, at, bytes.size);
        char *copy = malloc(size);
        if (copy == NULL)
            abort();
        memcpy(copy, bytes.data + at, size);
        link_on_client(c->link, span_make(copy, size), &s->actions);
        perform(s, c);
        free(copy);
        if (link_has_due(c->link))
            pump(s, c);
    }
}

bool stage_server_sends(struct stage *s, struct stage_server *from, struct span bytes)
{
    struct stage_client *to = NULL;
    for (unsigned i = 0; i < STAGE_CLIENTS; i++)
        if (s->clients[i].at == from)
            to = &s->clients[i];
    if (to == NULL)
        return false;
    for (size_t at = 0, size; at < bytes.size; at += size) {
        size = next_cut(s, at, bytes.size);
        buffer_append(&to->input, bytes.data + at, size);
        pump(s, to);
    }
    return true;
}

/* --- coming and going ------------------------------------------------------------------------------ */

void stage_attach(struct stage *s, struct stage_client *c, struct stage_server *to)
{
    c->at = to;
    link_attach(c->link, to->server, &s->actions);
    perform(s, c);
}

void stage_detach(struct stage_client *c)
{
    link_detach(c->link);
    c->at = NULL;
    buffer_free(&c->input);
}

bool stage_sleep(struct stage_client *c)
{
    struct link_asleep asleep;
    struct link_start reloaded = c->start;
    reloaded.keeps_server = !c->start.keeps_server;
    reloaded.prepares_unnamed = !c->start.prepares_unnamed;
    if (!link_may_sleep(c->link))
        return false;
    link_sleep(c->link, &asleep);
    c->link = link_wake(&asleep, &reloaded);
    return true;
}

bool stage_end(struct stage *s, struct stage_client *c)
{
    bool ok = link_end(c->link, &s->actions);
    perform(s, c);
    return ok;
}

void stage_cancelled(struct stage *s, struct stage_client *c)
{
    link_on_cancelled(c->link, &s->actions);
    perform(s, c);
}

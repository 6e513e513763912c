/* A link with a server that answers nothing before it is told to. */
#ifndef TESTS_UNIT_LINK_BENCH_H
#define TESTS_UNIT_LINK_BENCH_H

#include <string.h>

#include "protocol/message.h"
#include "proxy/link/link.h"

struct bench {
    struct statements *statements;
    struct parameters *base;
    struct link_server *server;
    struct link *link;
    struct actions out;
    struct buffer seen;  /* types of the messages that the client saw */
    struct buffer asked; /* of a listener: "+a" for each channel that is wanted, "-a" for each that is not any more */
    const char *pinned;  /* why; NULL: it is not */
};

static inline void bench_on_listen(void *context, struct span channel)
{
    struct bench *b = context;
    buffer_format(&b->asked, "+%.*s", (int)channel.size, channel.data);
}

static inline void bench_on_unlisten(void *context, struct span channel)
{
    struct bench *b = context;
    buffer_format(&b->asked, "-%.*s", (int)channel.size, channel.data);
}

static inline void bench_on_pinned(void *context, const char *cause)
{
    struct bench *b = context;
    b->pinned = cause;
}

/* A client whose startup packet has these settings. */
static inline void bench_open_with(struct bench *b, bool listens, struct parameters *base_take)
{
    *b = (struct bench){ .statements = statements_new(), .base = base_take, .server = link_server_new() };
    b->link = link_new(&(struct link_start){ .statements = b->statements,
                                             .base = b->base,
                                             .on_listen = listens ? bench_on_listen : NULL,
                                             .on_unlisten = listens ? bench_on_unlisten : NULL,
                                             .on_pinned = bench_on_pinned,
                                             .context = b });
    link_attach(b->link, b->server, &b->out);
}

static inline void bench_open(struct bench *b, bool listens)
{
    bench_open_with(b, listens, parameters_none());
}

static inline void bench_close(struct bench *b)
{
    link_detach(b->link);
    link_free(b->link);
    link_server_free(b->server);
    statements_free(b->statements);
    parameters_release(b->base);
    actions_free(&b->out);
    buffer_free(&b->seen);
    buffer_free(&b->asked);
}

/* From the client; frees `made`. */
static inline void bench_send(struct bench *b, struct buffer *made)
{
    link_on_client(b->link, actions_keep(&b->out, buffer_span(made)), &b->out);
    buffer_free(made);
}

static inline void bench_send_query(struct bench *b, const char *sql)
{
    struct buffer made = { 0 };
    message_add_query(&made, span_of(sql));
    bench_send(b, &made);
}

/* From the server: all that the link has for the client then; frees `made`. */
static inline void bench_reply(struct bench *b, struct buffer *made)
{
    struct link_piece piece;
    size_t used = 0;
    while (link_on_server(b->link, span_make(made->data + used, made->size - used), &piece, &b->out)) {
        for (size_t at = 0; at < piece.bytes.size; at += 1 + wire_get_u32(piece.bytes.data + at + 1))
            buffer_append_u8(&b->seen, (uint8_t)piece.bytes.data[at]);
        used += piece.skip + (piece.own ? 0 : piece.bytes.size);
        link_took(b->link, piece.own ? 0 : piece.bytes.size);
    }
    buffer_free(made);
}

/* What has gone to the server since this was last asked; to be freed. */
static inline struct buffer bench_sent(struct bench *b)
{
    struct buffer all = { 0 };
    for (size_t i = 0; i < b->out.count; i++)
        buffer_append_span(&all, b->out.list[i].bytes);
    actions_clear(&b->out);
    return all;
}

#endif

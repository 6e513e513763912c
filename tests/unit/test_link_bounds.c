/* What a client can make its link keep. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "protocol/frame.h"
#include "protocol/message.h"
#include "proxy/link/link.h"

/* A link with a server that answers nothing before it is told to. */
struct bench {
    struct statements *statements;
    struct parameters *base;
    struct link_server *server;
    struct link *link;
    struct actions out;
    struct buffer seen; /* types of the messages that the client saw */
};

static void set_up(struct bench *b)
{
    *b = (struct bench){ .statements = statements_new(), .base = parameters_none(), .server = link_server_new() };
    b->link = link_new(&(struct link_start){ .statements = b->statements, .base = b->base });
    link_attach(b->link, b->server, &b->out);
}

static void tear_down(struct bench *b)
{
    link_detach(b->link);
    link_free(b->link);
    link_server_free(b->server);
    statements_free(b->statements);
    parameters_release(b->base);
    actions_free(&b->out);
    buffer_free(&b->seen);
}

/* Frees `made`. */
static void send_made(struct bench *b, struct buffer *made)
{
    link_on_client(b->link, actions_keep(&b->out, buffer_span(made)), &b->out);
    buffer_free(made);
}

/* All that the link has for the client, with this from the server; frees `made`. */
static void reply_made(struct bench *b, struct buffer *made)
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

static void add_execute(struct buffer *made)
{
    message_add_execute(made, (struct span){ 0 }, 0);
}

/* How many messages of a type have gone to the server since this was last asked. */
static size_t count_sent(struct bench *b, char type)
{
    struct buffer all = { 0 };
    size_t count = 0;
    for (size_t i = 0; i < b->out.count; i++)
        buffer_append_span(&all, b->out.list[i].bytes);
    for (size_t at = 0; at < all.size; at += 1 + wire_get_u32(all.data + at + 1))
        count += all.data[at] == type;
    buffer_free(&all);
    actions_clear(&b->out);
    return count;
}

static size_t count_seen(const struct bench *b, char type)
{
    size_t count = 0;
    for (size_t i = 0; i < b->seen.size; i++)
        count += b->seen.data[i] == type;
    return count;
}

Test(link_bounds, P2_a_client_that_hears_of_nothing_is_owed_no_more_than_a_number_of_replies)
{
    enum { CLOSES = 100, BATCHES = 1000 };
    struct bench b;
    struct buffer made = { 0 };
    size_t sent = 0;
    set_up(&b);
    add_execute(&made);
    send_made(&b, &made);
    while (!link_is_full(b.link) && sent < BATCHES * CLOSES) {
        for (size_t i = 0; i < CLOSES; i++)
            message_add_close(&made, 'S', span_of("a"));
        send_made(&b, &made);
        sent += CLOSES;
    }
    cr_assert(link_is_full(b.link), "%zu replies are owed", sent);
    cr_expect_eq(count_sent(&b, 'H'), 1, "the server would keep what it has until something asks for it");

    message_add_command_complete(&made, span_of("SELECT 1"));
    reply_made(&b, &made);
    cr_expect_eq(count_seen(&b, 'C'), 1);
    cr_expect_eq(count_seen(&b, '3'), sent);
    cr_expect_not(link_is_held(b.link));
    tear_down(&b);
}

Test(link_bounds, P2_what_waited_for_replies_goes_on_when_the_last_has_come)
{
    enum { EXECUTES = 15000, OWED = 10000 };
    struct bench b;
    struct buffer made = { 0 };
    set_up(&b);
    for (size_t i = 0; i < EXECUTES; i++) {
        message_add_describe(&made, 'S',
                             span_of("none")); /* each by itself, so that it is counted when it is looked at */
        add_execute(&made);
    }
    message_add_sync(&made);
    send_made(&b, &made);
    cr_expect(link_is_held(b.link));
    size_t out = count_sent(&b, 'E');
    for (size_t done = 0; done < EXECUTES && out > 0; done += out, out = count_sent(&b, 'E')) {
        cr_expect_leq(out, OWED);
        for (size_t i = 0; i < out; i++) {
            message_add_empty(&made, 'n');
            message_add_command_complete(&made, span_of("SELECT 1"));
        }
        reply_made(&b, &made);
    }
    cr_expect_not(link_is_held(b.link));
    cr_expect_eq(count_seen(&b, 'C'), EXECUTES);
    message_add_ready(&made, 'I');
    reply_made(&b, &made);
    cr_expect(link_may_release(b.link));
    tear_down(&b);
}

Test(link_bounds, P2_a_pipeline_that_waits_and_fails_is_skipped_to_its_Sync)
{
    enum { CLOSES = 20000 };
    struct bench b;
    struct buffer made = { 0 };
    set_up(&b);
    add_execute(&made);
    for (size_t i = 0; i < CLOSES; i++)
        message_add_close(&made, 'S', span_of("a"));
    message_add_sync(&made);
    send_made(&b, &made);
    cr_expect(link_is_held(b.link));
    message_add_error(&made, &(struct message_fault){ "ERROR", "22012", span_of("division by zero"), { 0 }, { 0 } });
    reply_made(&b, &made);
    cr_expect_not(link_is_held(b.link));
    cr_expect_eq(count_sent(&b, 'S'), 1);
    message_add_ready(&made, 'I');
    reply_made(&b, &made);
    cr_expect(span_is(buffer_span(&b.seen), "EZ"));
    cr_expect(link_may_release(b.link));
    tear_down(&b);
}

Test(link_bounds, P4_portals_that_wait_to_prepare_something_are_bounded)
{
    enum { BINDS = 250, BOUND = 200 };
    struct bench b;
    struct buffer made = { 0 };
    char name[8];
    set_up(&b);
    message_add_parse(&made, span_of("s"), span_of("PREPARE p AS SELECT 1"));
    for (int i = 0; i < BINDS; i++) {
        snprintf(name, sizeof name, "%d", i);
        message_add_bind(&made, span_of(name), span_of("s"));
    }
    message_add_sync(&made);
    send_made(&b, &made);
    struct buffer sent = { 0 };
    for (size_t i = 0; i < b.out.count; i++)
        buffer_append_span(&sent, b.out.list[i].bytes);
    size_t refused = 0;
    for (const char *at = sent.data;
         (at = memmem(at, (size_t)(sent.data + sent.size - at), "pgatomic_none", 13)) != NULL; at++)
        refused++;
    cr_expect_eq(refused, BINDS - BOUND);
    buffer_free(&sent);
    tear_down(&b);
}

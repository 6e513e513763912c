#include <criterion/criterion.h>

#include "protocol/message.h"
#include "proxy/link/link.h"

/* A link with a server, and what it has asked of the listener. */
struct bench {
    struct statements *statements;
    struct parameters *base;
    struct link_server *server;
    struct link *link;
    struct actions out;
    struct buffer asked; /* "+a" for each channel that is wanted, "-a" for each that is not any more */
};

static void on_listen(void *context, struct span channel)
{
    struct bench *b = context;
    buffer_format(&b->asked, "+%.*s", (int)channel.size, channel.data);
}

static void on_unlisten(void *context, struct span channel)
{
    struct bench *b = context;
    buffer_format(&b->asked, "-%.*s", (int)channel.size, channel.data);
}

static void set_up(struct bench *b)
{
    *b = (struct bench){ .statements = statements_new(), .base = parameters_none(), .server = link_server_new() };
    b->link = link_new(&(struct link_start){ .statements = b->statements,
                                             .base = b->base,
                                             .on_listen = on_listen,
                                             .on_unlisten = on_unlisten,
                                             .context = b });
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
    buffer_free(&b->asked);
}

static void send_query(struct bench *b, const char *sql)
{
    struct buffer made = { 0 };
    message_add_query(&made, span_of(sql));
    link_on_client(b->link, actions_keep(&b->out, buffer_span(&made)), &b->out);
    buffer_free(&made);
}

/* The server's reply; how many of its bytes the session saw. */
static size_t reply(struct bench *b, const char *channel, const char *tag)
{
    struct buffer made = { 0 };
    struct link_piece piece;
    size_t seen = 0, used = 0;
    if (channel != NULL)
        message_add_data_row(&made, span_of(channel));
    message_add_command_complete(&made, span_of(tag));
    message_add_ready(&made, 'I');
    while (link_on_server(b->link, span_make(made.data + used, made.size - used), &piece, &b->out)) {
        used += piece.skip + piece.bytes.size;
        seen += piece.bytes.size;
        link_took(b->link, piece.bytes.size);
    }
    buffer_free(&made);
    return seen;
}

/* Whether the words have gone to the server since this was last asked. */
static bool has_sent(struct bench *b, const char *words)
{
    bool found = false;
    for (size_t i = 0; i < b->out.count; i++) {
        struct span bytes = b->out.list[i].bytes;
        found = found || memmem(bytes.data, bytes.size, words, strlen(words)) != NULL;
    }
    actions_clear(&b->out);
    return found;
}

static bool has_asked(struct bench *b, const char *want)
{
    bool same = span_is(buffer_span(&b->asked), want);
    buffer_clear(&b->asked);
    return same;
}

/* LISTEN a, from the client's word to the end. */
static void listen_to_a(struct bench *b)
{
    send_query(b, "LISTEN a");
    link_on_listening(b->link, true, &b->out);
    reply(b, NULL, "LISTEN");
    reply(b, "a", "UNLISTEN");
    actions_clear(&b->out);
    buffer_clear(&b->asked);
}

Test(link_listens, P6_a_LISTEN_goes_out_when_the_listener_hears_its_channel)
{
    struct bench b;
    set_up(&b);
    send_query(&b, "LISTEN a; LISTEN b");
    cr_expect(has_asked(&b, "+a+b"));
    send_query(&b, "SELECT 1");
    cr_expect(link_is_held(b.link));
    cr_expect_not(has_sent(&b, "LISTEN"));
    link_on_listening(b.link, true, &b.out);
    cr_expect(link_is_held(b.link));
    link_on_listening(b.link, true, &b.out);
    cr_expect_not(link_is_held(b.link));
    cr_expect(has_sent(&b, "LISTEN a; LISTEN b"));
    tear_down(&b);
}

Test(link_listens, P6_the_server_forgets_its_channels_before_it_goes_to_somebody_else)
{
    struct bench b;
    set_up(&b);
    send_query(&b, "LISTEN a");
    link_on_listening(b.link, true, &b.out);
    cr_expect_gt(reply(&b, NULL, "LISTEN"), 0);
    cr_expect(has_sent(&b, "UNLISTEN *"));
    cr_expect_not(link_may_release(b.link));
    cr_expect_eq(reply(&b, "a", "UNLISTEN"), 0, "the client has not asked that");
    cr_expect(link_may_release(b.link));
    cr_expect(has_asked(&b, "+a"));
    tear_down(&b);
}

Test(link_listens, P6_a_channel_that_the_server_does_not_listen_to_afterwards_is_given_up)
{
    struct bench b;
    set_up(&b);
    send_query(&b, "BEGIN; LISTEN a; ROLLBACK");
    link_on_listening(b.link, true, &b.out);
    reply(&b, NULL, "ROLLBACK");
    reply(&b, NULL, "UNLISTEN");
    cr_expect(has_asked(&b, "+a-a"));
    tear_down(&b);
}

Test(link_listens, P6_a_channel_that_is_heard_is_not_waited_for_again)
{
    struct bench b;
    set_up(&b);
    listen_to_a(&b);
    send_query(&b, "LISTEN a");
    cr_expect(has_sent(&b, "LISTEN a"));
    cr_expect(has_asked(&b, ""));
    tear_down(&b);
}

Test(link_listens, P6_UNLISTEN_counts_when_it_is_committed)
{
    struct bench b;
    set_up(&b);
    listen_to_a(&b);
    send_query(&b, "BEGIN; UNLISTEN a; ROLLBACK");
    reply(&b, NULL, "ROLLBACK");
    reply(&b, NULL, "UNLISTEN");
    cr_expect(has_asked(&b, ""));
    send_query(&b, "UNLISTEN *");
    reply(&b, NULL, "UNLISTEN");
    reply(&b, NULL, "UNLISTEN");
    cr_expect(has_asked(&b, "-a"));
    tear_down(&b);
}

Test(link_listens, P6_a_listener_that_refuses_leaves_the_server_to_the_client)
{
    struct bench b;
    set_up(&b);
    send_query(&b, "LISTEN a");
    link_on_listening(b.link, false, &b.out);
    cr_expect(has_sent(&b, "LISTEN a"));
    reply(&b, NULL, "LISTEN");
    cr_expect_not(has_sent(&b, "UNLISTEN"));
    cr_expect_not(link_may_release(b.link));
    cr_expect(has_asked(&b, "+a-a"));
    tear_down(&b);
}

Test(link_listens, P6_who_listens_stays_awake)
{
    struct bench b;
    set_up(&b);
    listen_to_a(&b);
    cr_assert(link_may_release(b.link));
    link_detach(b.link);
    cr_expect_not(link_may_sleep(b.link));
    tear_down(&b);
}

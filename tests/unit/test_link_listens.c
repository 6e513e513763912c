#include <criterion/criterion.h>

#include "tests/unit/link_bench.h"

/* The server's reply; how many of its messages the session saw. */
static size_t reply(struct bench *b, const char *channel, const char *tag)
{
    struct buffer made = { 0 };
    buffer_clear(&b->seen);
    if (channel != NULL)
        message_add_data_row(&made, span_of(channel));
    message_add_command_complete(&made, span_of(tag));
    message_add_ready(&made, 'I');
    bench_reply(b, &made);
    return b->seen.size;
}

/* Whether the words have gone to the server since this was last asked. */
static bool has_sent(struct bench *b, const char *words)
{
    struct buffer all = bench_sent(b);
    bool found = all.size > 0 && memmem(all.data, all.size, words, strlen(words)) != NULL;
    buffer_free(&all);
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
    bench_send_query(b, "LISTEN a");
    link_on_listening(b->link, true, &b->out);
    reply(b, NULL, "LISTEN");
    reply(b, "a", "UNLISTEN");
    actions_clear(&b->out);
    buffer_clear(&b->asked);
}

Test(link_listens, P6_a_LISTEN_goes_out_when_the_listener_hears_its_channel)
{
    struct bench b;
    bench_open(&b, true);
    bench_send_query(&b, "LISTEN a; LISTEN b");
    cr_expect(has_asked(&b, "+a+b"));
    bench_send_query(&b, "SELECT 1");
    cr_expect(link_is_held(b.link));
    cr_expect_not(has_sent(&b, "LISTEN"));
    link_on_listening(b.link, true, &b.out);
    cr_expect(link_is_held(b.link));
    link_on_listening(b.link, true, &b.out);
    cr_expect_not(link_is_held(b.link));
    cr_expect(has_sent(&b, "LISTEN a; LISTEN b"));
    bench_close(&b);
}

Test(link_listens, P6_the_server_forgets_its_channels_before_it_goes_to_somebody_else)
{
    struct bench b;
    bench_open(&b, true);
    bench_send_query(&b, "LISTEN a");
    link_on_listening(b.link, true, &b.out);
    cr_expect_gt(reply(&b, NULL, "LISTEN"), 0);
    cr_expect(has_sent(&b, "UNLISTEN *"));
    cr_expect_not(link_may_release(b.link));
    cr_expect_eq(reply(&b, "a", "UNLISTEN"), 0, "the client has not asked that");
    cr_expect(link_may_release(b.link));
    cr_expect(has_asked(&b, "+a"));
    bench_close(&b);
}

Test(link_listens, P6_a_channel_that_the_server_does_not_listen_to_afterwards_is_given_up)
{
    struct bench b;
    bench_open(&b, true);
    bench_send_query(&b, "BEGIN; LISTEN a; ROLLBACK");
    link_on_listening(b.link, true, &b.out);
    reply(&b, NULL, "ROLLBACK");
    reply(&b, NULL, "UNLISTEN");
    cr_expect(has_asked(&b, "+a-a"));
    bench_close(&b);
}

Test(link_listens, P6_a_channel_that_is_heard_is_not_waited_for_again)
{
    struct bench b;
    bench_open(&b, true);
    listen_to_a(&b);
    bench_send_query(&b, "LISTEN a");
    cr_expect(has_sent(&b, "LISTEN a"));
    cr_expect(has_asked(&b, ""));
    bench_close(&b);
}

Test(link_listens, P6_UNLISTEN_counts_when_it_is_committed)
{
    struct bench b;
    bench_open(&b, true);
    listen_to_a(&b);
    bench_send_query(&b, "BEGIN; UNLISTEN a; ROLLBACK");
    reply(&b, NULL, "ROLLBACK");
    reply(&b, NULL, "UNLISTEN");
    cr_expect(has_asked(&b, ""));
    bench_send_query(&b, "UNLISTEN *");
    reply(&b, NULL, "UNLISTEN");
    reply(&b, NULL, "UNLISTEN");
    cr_expect(has_asked(&b, "-a"));
    bench_close(&b);
}

Test(link_listens, P6_a_listener_that_refuses_leaves_the_server_to_the_client)
{
    struct bench b;
    bench_open(&b, true);
    bench_send_query(&b, "LISTEN a");
    link_on_listening(b.link, false, &b.out);
    cr_expect(has_sent(&b, "LISTEN a"));
    reply(&b, NULL, "LISTEN");
    cr_expect_not(has_sent(&b, "UNLISTEN"));
    cr_expect_not(link_may_release(b.link));
    cr_expect(has_asked(&b, "+a-a"));
    bench_close(&b);
}

Test(link_listens, P6_who_listens_stays_awake)
{
    struct bench b;
    bench_open(&b, true);
    listen_to_a(&b);
    cr_assert(link_may_release(b.link));
    link_detach(b.link);
    cr_expect_not(link_may_sleep(b.link));
    bench_close(&b);
}

/* The tags of what one text does, in their order, and how its transaction ends. */
static void run_query(struct bench *b, const char *sql, const char *const *tags, char status)
{
    struct buffer made = { 0 };
    bench_send_query(b, sql);
    for (; *tags != NULL; tags++)
        message_add_command_complete(&made, span_of(*tags));
    message_add_ready(&made, status);
    bench_reply(b, &made);
}

Test(link_listens, P6_an_UNLISTEN_behind_a_savepoint_that_is_gone_back_to_does_not_count)
{
    static const char *const before[] = { "BEGIN", "SAVEPOINT", NULL }, *const unlisten[] = { "UNLISTEN", NULL },
                             *const back[] = { "ROLLBACK", "COMMIT", NULL },
                             *const release[] = { "RELEASE", "COMMIT", NULL };
    struct bench b;
    bench_open(&b, true);
    listen_to_a(&b);
    run_query(&b, "BEGIN; SAVEPOINT s", before, 'T');
    run_query(&b, "UNLISTEN a", unlisten, 'T');
    run_query(&b, "ROLLBACK TO s; COMMIT", back, 'I');
    reply(&b, NULL, "UNLISTEN");
    cr_expect(has_asked(&b, ""));
    run_query(&b, "BEGIN; SAVEPOINT s", before, 'T');
    run_query(&b, "UNLISTEN a", unlisten, 'T');
    run_query(&b, "RELEASE s; COMMIT", release, 'I');
    reply(&b, NULL, "UNLISTEN");
    cr_expect(has_asked(&b, "-a"));
    cr_expect(link_may_release(b.link));
    bench_close(&b);
}

/* UNLISTEN a, then so many savepoints, in a transaction that commits. */
static void unlisten_ahead_of_savepoints(struct bench *b, size_t savepoints)
{
    struct buffer text = { 0 }, made = { 0 };
    buffer_append_text(&text, "BEGIN;UNLISTEN a;");
    message_add_command_complete(&made, span_of("BEGIN"));
    message_add_command_complete(&made, span_of("UNLISTEN"));
    for (size_t i = 0; i < savepoints; i++) {
        buffer_append_text(&text, "SAVEPOINT s;");
        message_add_command_complete(&made, span_of("SAVEPOINT"));
    }
    buffer_append_string(&text, span_of("COMMIT"));
    message_add_command_complete(&made, span_of("COMMIT"));
    message_add_ready(&made, 'I');
    bench_send_query(b, text.data);
    bench_reply(b, &made);
    reply(b, NULL, "UNLISTEN");
    buffer_free(&text);
}

Test(link_listens, P2_of_a_transaction_with_too_many_savepoints_no_UNLISTEN_counts)
{
    struct bench b;
    bench_open(&b, true);
    listen_to_a(&b);
    unlisten_ahead_of_savepoints(&b, 30000);
    cr_expect(has_asked(&b, ""));
    unlisten_ahead_of_savepoints(&b, 1000);
    cr_expect(has_asked(&b, "-a"), "and the next one counts again");
    cr_expect(link_may_release(b.link));
    link_detach(b.link);
    cr_expect(link_may_sleep(b.link));
    link_attach(b.link, b.server, &b.out);
    bench_close(&b);
}

Test(link_listens, P6_an_UNLISTEN_that_is_only_described_does_not_count)
{
    struct bench b;
    struct buffer made = { 0 };
    bench_open(&b, true);
    listen_to_a(&b);
    message_add_parse(&made, span_of("u"), span_of("UNLISTEN a"));
    message_add_describe(&made, 'S', span_of("u"));
    message_add_sync(&made);
    bench_send(&b, &made);
    message_add_empty(&made, '1');
    message_add_empty(&made, 't');
    message_add_empty(&made, 'n');
    message_add_ready(&made, 'I');
    bench_reply(&b, &made);
    reply(&b, NULL, "UNLISTEN");
    cr_expect(has_asked(&b, ""));
    message_add_bind(&made, (struct span){ 0 }, span_of("u"));
    message_add_execute(&made, (struct span){ 0 }, 0);
    message_add_sync(&made);
    bench_send(&b, &made);
    message_add_empty(&made, '2');
    message_add_command_complete(&made, span_of("UNLISTEN"));
    message_add_ready(&made, 'I');
    bench_reply(&b, &made);
    reply(&b, NULL, "UNLISTEN");
    cr_expect(has_asked(&b, "-a"));
    bench_close(&b);
}

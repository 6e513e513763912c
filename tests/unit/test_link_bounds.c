/* What a client can make its link keep. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "protocol/frame.h"
#include "tests/unit/link_bench.h"

static void add_execute(struct buffer *made)
{
    message_add_execute(made, (struct span){ 0 }, 0);
}

/* How many messages of a type have gone to the server since this was last asked. */
static size_t count_sent(struct bench *b, char type)
{
    struct buffer all = bench_sent(b);
    size_t count = 0;
    for (size_t at = 0; at < all.size; at += 1 + wire_get_u32(all.data + at + 1))
        count += all.data[at] == type;
    buffer_free(&all);
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
    bench_open(&b, false);
    add_execute(&made);
    bench_send(&b, &made);
    while (!link_is_full(b.link) && sent < BATCHES * CLOSES) {
        for (size_t i = 0; i < CLOSES; i++)
            message_add_close(&made, 'S', span_of("a"));
        bench_send(&b, &made);
        sent += CLOSES;
    }
    cr_assert(link_is_full(b.link), "%zu replies are owed", sent);
    cr_expect_eq(count_sent(&b, 'H'), 1, "the server would keep what it has until something asks for it");

    message_add_command_complete(&made, span_of("SELECT 1"));
    bench_reply(&b, &made);
    cr_expect_eq(count_seen(&b, 'C'), 1);
    cr_expect_eq(count_seen(&b, '3'), sent);
    cr_expect_not(link_is_held(b.link));
    bench_close(&b);
}

Test(link_bounds, P2_what_waited_for_replies_goes_on_when_the_last_has_come)
{
    enum { EXECUTES = 15000, OWED = 10000 };
    struct bench b;
    struct buffer made = { 0 };
    bench_open(&b, false);
    for (size_t i = 0; i < EXECUTES; i++) {
        message_add_describe(&made, 'S',
                             span_of("none")); /* each by itself, so that it is counted when it is looked at */
        add_execute(&made);
    }
    message_add_sync(&made);
    bench_send(&b, &made);
    cr_expect(link_is_held(b.link));
    size_t out = count_sent(&b, 'E');
    for (size_t done = 0; done < EXECUTES && out > 0; done += out, out = count_sent(&b, 'E')) {
        cr_expect_leq(out, OWED);
        for (size_t i = 0; i < out; i++) {
            message_add_empty(&made, 'n');
            message_add_command_complete(&made, span_of("SELECT 1"));
        }
        bench_reply(&b, &made);
    }
    cr_expect_not(link_is_held(b.link));
    cr_expect_eq(count_seen(&b, 'C'), EXECUTES);
    message_add_ready(&made, 'I');
    bench_reply(&b, &made);
    cr_expect(link_may_release(b.link));
    bench_close(&b);
}

Test(link_bounds, P2_a_pipeline_that_waits_and_fails_is_skipped_to_its_Sync)
{
    enum { CLOSES = 20000 };
    struct bench b;
    struct buffer made = { 0 };
    bench_open(&b, false);
    add_execute(&made);
    for (size_t i = 0; i < CLOSES; i++)
        message_add_close(&made, 'S', span_of("a"));
    message_add_sync(&made);
    bench_send(&b, &made);
    cr_expect(link_is_held(b.link));
    message_add_error(&made, &(struct message_fault){ "ERROR", "22012", span_of("division by zero"), { 0 }, { 0 } });
    bench_reply(&b, &made);
    cr_expect_not(link_is_held(b.link));
    cr_expect_eq(count_sent(&b, 'S'), 1);
    message_add_ready(&made, 'I');
    bench_reply(&b, &made);
    cr_expect(span_is(buffer_span(&b.seen), "EZ"));
    cr_expect(link_may_release(b.link));
    bench_close(&b);
}

/* The client sets something, and the server says that it has a value of that size. */
static void set_one(struct bench *b, const char *sql, size_t size, size_t cut)
{
    struct buffer made = { 0 }, value = { 0 };
    bench_send_query(b, sql);
    message_add_command_complete(&made, span_of("SET"));
    message_add_ready(&made, 'I');
    bench_reply(b, &made);
    while (value.size < size)
        buffer_append_text(&value, "x");
    message_add_data_row(&made, buffer_span(&value));
    message_add_command_complete(&made, span_of("SELECT 1"));
    message_add_ready(&made, 'I');
    struct buffer rest = { 0 };
    buffer_append(&rest, made.data + cut, made.size - cut);
    made.size = cut;
    struct link_piece piece;
    bool any = link_on_server(b->link, buffer_span(&made), &piece, &b->out);
    cr_expect_not(any, "it is none of the client's business");
    buffer_consume(&made, piece.skip);
    buffer_append_span(&made, buffer_span(&rest));
    bench_reply(b, &made);
    buffer_free(&rest);
    buffer_free(&value);
}

Test(link_bounds, P2_settings_that_are_too_large_are_not_kept_however_they_come)
{
    static const struct {
        size_t size, cut;
        bool pins;
    } rows[] = {
        { 250000, 0, false },   { 250000, 100, false },   { 270000, 0, true },
        { 270000, 1000, true }, { 10000000, 1000, true },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct bench b;
        bench_open(&b, false);
        set_one(&b, "SET my.a = 'x'", rows[i].size, rows[i].cut);
        cr_expect_eq(b.pinned != NULL, rows[i].pins, "%zu bytes", rows[i].size);
        cr_expect_eq(link_may_release(b.link), !rows[i].pins);
        cr_expect_not(link_is_settling(b.link));
        cr_expect_null(link_error(b.link));
        bench_close(&b);
    }
}

Test(link_bounds, P2_settings_that_are_too_large_together_keep_their_server)
{
    struct bench b;
    bench_open(&b, false);
    set_one(&b, "SET my.a = 'x'", 120000, 0);
    set_one(&b, "SET my.b = 'x'", 120000, 0);
    set_one(&b, "SET my.a = 'y'", 130000, 0);
    cr_expect_null(b.pinned, "it has taken the place of the other");
    set_one(&b, "SET my.c = 'x'", 20000, 0);
    cr_expect_str_eq(b.pinned, "many settings");
    cr_expect_not(link_may_release(b.link));
    bench_close(&b);
}

Test(link_bounds, P4_portals_that_wait_to_prepare_something_are_bounded)
{
    enum { BINDS = 250, BOUND = 200 };
    struct bench b;
    struct buffer made = { 0 };
    char name[16];
    bench_open(&b, false);
    message_add_parse(&made, span_of("s"), span_of("PREPARE p AS SELECT 1"));
    for (int i = 0; i < BINDS; i++) {
        snprintf(name, sizeof name, "%d", i);
        message_add_bind(&made, span_of(name), span_of("s"));
    }
    message_add_sync(&made);
    bench_send(&b, &made);
    struct buffer sent = bench_sent(&b);
    size_t refused = 0;
    for (const char *at = sent.data;
         (at = memmem(at, (size_t)(sent.data + sent.size - at), "pgatomic_none", 13)) != NULL; at++)
        refused++;
    cr_expect_eq(refused, BINDS - BOUND);
    buffer_free(&sent);
    bench_close(&b);
}

#include "tests/unit/with_config.h"

#include "proxy/session/actions.h"

static struct actions actions;

static void forget_all(void)
{
    actions_free(&actions);
}

TestSuite(actions, .fini = forget_all);

static void expect_bytes(size_t i, enum action_kind kind, const char *want)
{
    cr_assert_lt(i, actions.count);
    struct span got = actions.list[i].bytes;
    cr_expect_eq(actions.list[i].kind, kind, "action %zu", i);
    cr_expect(span_is(got, want), "action %zu: <%.*s>, not <%s>", i, (int)got.size, got.data, want);
}

Test(actions, adjacent_bytes_for_one_side_are_one_send)
{
    static const char input[] = "onetwothree";
    actions_to_server(&actions, span_make(input, 3));
    actions_to_server(&actions, span_make(input + 3, 3));
    actions_to_server(&actions, span_make(input + 6, 5));

    cr_expect_eq(actions.count, 1);
    expect_bytes(0, ACTION_TO_SERVER, "onetwothree");
}

Test(actions, bytes_with_a_gap_between_them_are_two)
{
    static const char input[] = "one-two";
    actions_to_client(&actions, span_make(input, 3));
    actions_to_client(&actions, span_make(input + 4, 3));

    cr_expect_eq(actions.count, 2);
    expect_bytes(0, ACTION_TO_CLIENT, "one");
    expect_bytes(1, ACTION_TO_CLIENT, "two");
}

Test(actions, bytes_for_the_other_side_do_not_keep_a_run_apart)
{
    static const char client[] = "abcd", server[] = "wxyz";
    actions_to_server(&actions, span_make(client, 2));
    actions_to_client(&actions, span_make(server, 2));
    actions_to_server(&actions, span_make(client + 2, 2));
    actions_to_client(&actions, span_make(server + 2, 2));

    cr_expect_eq(actions.count, 2);
    expect_bytes(0, ACTION_TO_SERVER, "abcd");
    expect_bytes(1, ACTION_TO_CLIENT, "wxyz");
}

Test(actions, E6_what_has_to_happen_between_two_bytes_keeps_them_apart)
{
    static const char input[] = "onetwo";
    actions_to_client(&actions, span_make(input, 3));
    actions_add(&actions, ACTION_PUBLISH);
    actions_to_client(&actions, span_make(input + 3, 3));

    cr_expect_eq(actions.count, 3);
    cr_expect_eq(actions.list[1].kind, ACTION_PUBLISH);
    expect_bytes(2, ACTION_TO_CLIENT, "two");
}

Test(actions, no_bytes_are_no_action)
{
    actions_to_client(&actions, span_make("", 0));
    actions_to_server(&actions, span_make(NULL, 0));
    cr_expect_eq(actions.count, 0);
}

Test(actions, copies_stay_where_they_are_until_the_list_is_cleared)
{
    struct span kept[200];
    char text[100];
    for (size_t i = 0; i < 200; i++) {
        memset(text, 'a' + (int)(i % 26), sizeof text);
        kept[i] = actions_keep(&actions, span_make(text, sizeof text));
    }
    for (size_t i = 0; i < 200; i++)
        for (size_t j = 0; j < sizeof text; j++)
            cr_assert_eq(kept[i].data[j], 'a' + (char)(i % 26));
}

Test(actions, a_copy_may_be_larger_than_the_arena_and_smaller_than_anything)
{
    char *large = calloc(1, 100000);
    struct span copy = actions_keep(&actions, span_make(large, 100000));
    cr_expect_eq(copy.size, 100000);
    cr_expect_eq(memcmp(copy.data, large, 100000), 0);
    cr_expect_eq(actions_keep(&actions, span_make(NULL, 0)).size, 0);
    free(large);
}

Test(actions, a_cleared_list_lets_go_of_events_and_requests)
{
    static const unsigned char id[EVENT_ID_SIZE] = { 1 };
    struct config *c = config_of(ANY_DATABASE);
    struct request *r = request_new(id, &(struct request_names){ "", "", "", "", "", "" }, c, 0);

    for (int round = 0; round < 3; round++) {
        struct action *published = actions_add(&actions, ACTION_PUBLISH);
        published->request = request_retain(r);
        published->events = notification_new(id, r, config_channel(c, "x", 1), span_of("x"), span_of("y"));
        actions_add(&actions, ACTION_REQUEST_COMMITTED)->request = request_retain(r);
        cr_expect_eq(atomic_load(&r->references), 4);
        actions_clear(&actions);
        cr_expect_eq(atomic_load(&r->references), 1);
        cr_expect_eq(actions.count, 0);
    }
    request_release(r);
    config_release(c);
}

Test(actions, an_action_begins_with_nothing_of_an_older_one)
{
    actions_add(&actions, ACTION_SET_TIMER)->deadline_us = 5;
    actions_clear(&actions);
    const struct action *a = actions_add(&actions, ACTION_SET_TIMER);

    cr_expect_eq(a->deadline_us, 0);
    cr_expect_null(a->events);
    cr_expect_null(a->request);
    cr_expect_eq(a->bytes.size, 0);
}

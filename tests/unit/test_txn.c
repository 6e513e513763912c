#include "tests/unit/with_config.h"

#include "protocol/buffer.h"
#include "proxy/session/txn.h"

static struct config *config;
static struct request *request;
static struct txn txn;

static void open_transaction(void)
{
    static const unsigned char id[EVENT_ID_SIZE] = { 1 };
    config = config_of(ANY_DATABASE);
    request = request_new(id, &(struct request_names){ "", "", "shop", "app", "", "" }, config, 0);
    txn = (struct txn){ 0 };
}

static void close_transaction(void)
{
    txn_free(&txn);
    request_release(request);
    config_release(config);
}

TestSuite(txn, .init = open_transaction, .fini = close_transaction);

static void hold(const char *payload)
{
    static const unsigned char id[EVENT_ID_SIZE] = { 2 };
    txn_hold(&txn, notification_new(id, request, config_channel(config, "c", 1), span_of("c"), span_of(payload)));
}

static void savepoint(const char *name)
{
    txn_savepoint(&txn, span_of(name));
}

static bool release(const char *name)
{
    return txn_release(&txn, span_of(name));
}

/* Takes a list; its payloads, in order, stay readable until the next call. */
static const char *payloads_of(struct notification *take)
{
    static char words[200];
    words[0] = '\0';
    for (const struct notification *e = take; e; e = e->next)
        strcat(strcat(words, words[0] ? " " : ""), e->payload);
    notification_list_free(take);
    return words;
}

/* What a ROLLBACK TO discards; "(unknown)" when there is no such savepoint. */
static const char *rolled_back_to(const char *name)
{
    struct notification *cut = NULL;
    return txn_rollback_to(&txn, span_of(name), &cut) ? payloads_of(cut) : "(unknown)";
}

static const char *all(void)
{
    return payloads_of(txn_take(&txn));
}

Test(txn, E2_events_are_kept_in_the_order_in_which_they_were_captured)
{
    hold("a");
    hold("b");
    hold("c");
    cr_expect_str_eq(all(), "a b c");
}

Test(txn, E3_taking_the_events_leaves_an_empty_transaction_without_savepoints)
{
    hold("a");
    savepoint("s");
    hold("b");
    cr_expect_str_eq(all(), "a b");
    cr_expect_null(txn_take(&txn));
    cr_expect_eq(txn_find(&txn, span_of("s")), 0);
    hold("c");
    cr_expect_str_eq(all(), "c", "and is as good as new");
}

Test(txn, E4_rollback_to_discards_only_what_came_after)
{
    hold("before");
    savepoint("s");
    hold("after");
    hold("later");
    cr_expect_str_eq(rolled_back_to("s"), "after later");
    cr_expect_str_eq(all(), "before");
}

Test(txn, E4_rollback_to_keeps_its_savepoint)
{
    savepoint("s");
    hold("first");
    cr_expect_str_eq(rolled_back_to("s"), "first");
    hold("second");
    cr_expect_str_eq(rolled_back_to("s"), "second");
    cr_expect(release("s"));
    cr_expect_str_eq(rolled_back_to("s"), "(unknown)");
}

Test(txn, E4_rollback_to_forgets_the_savepoints_after_it)
{
    savepoint("outer");
    savepoint("inner");
    cr_expect_str_eq(rolled_back_to("outer"), "");
    cr_expect_eq(txn_find(&txn, span_of("outer")), 1);
    cr_expect_eq(txn_find(&txn, span_of("inner")), 0);
    cr_expect_not(release("inner"));
}

Test(txn, E4_release_merges_upward)
{
    savepoint("outer");
    hold("a");
    savepoint("inner");
    hold("b");
    cr_expect(release("inner"));
    hold("c");
    cr_expect_str_eq(rolled_back_to("outer"), "a b c", "what was captured in inner is outer's now");
    cr_expect_str_eq(all(), "");
}

Test(txn, E4_release_takes_the_savepoints_inside_with_it)
{
    savepoint("outer");
    savepoint("inner");
    hold("a");
    cr_expect(release("outer"));
    cr_expect_not(release("inner"));
    cr_expect_str_eq(all(), "a");
}

Test(txn, E4_savepoint_names_shadow)
{
    savepoint("s");
    hold("a");
    savepoint("s");
    hold("b");
    cr_expect_eq(txn_find(&txn, span_of("s")), 2, "the newest is meant");
    cr_expect_str_eq(rolled_back_to("s"), "b");
    cr_expect(release("s"));
    cr_expect_str_eq(rolled_back_to("s"), "a", "the older comes back to light");
    cr_expect(release("s"));
    cr_expect_not(release("s"));
}

Test(txn, E4_an_unknown_savepoint_changes_nothing)
{
    savepoint("s");
    hold("a");
    cr_expect_not(release("S"), "names are compared as they are: folding is the reader's work");
    cr_expect_str_eq(rolled_back_to("t"), "(unknown)");
    cr_expect_str_eq(rolled_back_to(""), "(unknown)");
    cr_expect_str_eq(rolled_back_to("s"), "a");
}

Test(txn, E4_names_are_compared_whole)
{
    txn_savepoint(&txn, span_make("save", 2));
    hold("a");
    cr_expect_str_eq(rolled_back_to("save"), "(unknown)");
    cr_expect_str_eq(rolled_back_to("s"), "(unknown)");
    cr_expect_str_eq(rolled_back_to("sa"), "a");
}

Test(txn, E4_a_rollback_in_the_middle_leaves_earlier_savepoints_where_they_were)
{
    hold("a");
    savepoint("one");
    hold("b");
    savepoint("two");
    hold("c");
    cr_expect_str_eq(rolled_back_to("two"), "c");
    hold("d");
    cr_expect_str_eq(rolled_back_to("one"), "b d");
    cr_expect_str_eq(all(), "a");
}

Test(txn, a_transaction_that_ends_with_its_session_frees_what_it_holds)
{
    for (int i = 0; i < 1000; i++) {
        hold("x");
        if (i % 3 == 0)
            savepoint("s");
    }
    txn_free(&txn);
    cr_expect_eq(atomic_load(&request->references), 1);
    cr_expect_null(txn_take(&txn));
}

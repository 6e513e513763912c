#include "tests/unit/with_config.h"

#include "protocol/message.h"
#include "proxy/session/session.h"

/* What transcripts cannot say: the order of actions of different kinds, within one call. */

static struct config *config;
static struct session *session;
static struct actions actions;
static unsigned char next_id;

static void new_id(void *context, unsigned char id[EVENT_ID_SIZE])
{
    (void)context;
    memset(id, 0, EVENT_ID_SIZE);
    id[0] = ++next_id;
}

static void open_session(void)
{
    config = config_of(ANY_DATABASE "sink \"log\" { type = log } "
                                    "channel \"c\" { sink = {\"log\"} forward = off } "
                                    "route \"web\" { match = \"*\" mode = atomic }");
    struct session_start start = { .config = config,
                                   .who = { NULL, "", "shop", "app" },
                                   .client = "127.0.0.1:50000",
                                   .client_encoding = span_of("UTF8"),
                                   .standard_conforming_strings = true,
                                   .new_id = new_id };
    session = session_new(&start);
}

static void close_session(void)
{
    session_free(session);
    actions_free(&actions);
    config_release(config);
}

TestSuite(session, .init = open_session, .fini = close_session);

/* Hands in the one message in `made`, which stays: actions point into it. */
static void hand_in(struct buffer *made, bool from_client)
{
    struct frame f;
    actions_clear(&actions);
    cr_assert_eq(frame_next(from_client ? frontend_messages : backend_messages, buffer_span(made), 1 << 20, &f, NULL),
                 FRAME_OK);
    if (from_client)
        cr_assert_eq(session_on_client(session, &f, &actions), SESSION_TAKEN);
    else
        session_on_server(session, &f, &actions);
}

static struct buffer said; /* the last message that was handed in */

static void query(const char *sql)
{
    buffer_clear(&said);
    message_add_query(&said, span_of(sql));
    hand_in(&said, true);
}

static void complete(const char *tag)
{
    buffer_clear(&said);
    message_add_command_complete(&said, span_of(tag));
    hand_in(&said, false);
}

static void ready(char status)
{
    buffer_clear(&said);
    message_add_ready(&said, status);
    hand_in(&said, false);
}

/* The place of the first action of that kind; the count of actions when there is none. */
static size_t place_of(enum action_kind kind)
{
    size_t i = 0;
    while (i < actions.count && actions.list[i].kind != kind)
        i++;
    return i;
}

static bool is_among(enum action_kind kind)
{
    return place_of(kind) < actions.count;
}

static void expect_published_before_the_client_hears(void)
{
    cr_expect(is_among(ACTION_PUBLISH));
    cr_expect(is_among(ACTION_TO_CLIENT));
    cr_expect_lt(place_of(ACTION_PUBLISH), place_of(ACTION_TO_CLIENT));
}

Test(session, E6_an_outcome_is_answered_after_its_events_were_handed_over)
{
    query("SET pgatomic.request = '/'");
    query("NOTIFY c, 'x'");
    query("INSERT INTO t VALUES (1)");
    complete("BEGIN");
    complete("INSERT 0 1");
    ready('T');
    query("SET pgatomic.outcome = 'commit'");
    cr_expect_not(is_among(ACTION_PUBLISH), "COMMIT was only written");
    complete("COMMIT");
    expect_published_before_the_client_hears();
    buffer_free(&said);
}

Test(session, E6_a_clients_own_commit_is_answered_after_its_events_were_handed_over)
{
    query("BEGIN");
    complete("BEGIN");
    ready('T');
    query("NOTIFY c, 'x'");
    query("COMMIT");
    cr_expect_not(is_among(ACTION_PUBLISH), "COMMIT was only written");
    complete("COMMIT");
    expect_published_before_the_client_hears();
    buffer_free(&said);
}

Test(session, E6_an_implicit_transaction_is_ready_after_its_events_were_handed_over)
{
    query("SELECT 1; NOTIFY c, 'x'");
    complete("SELECT 1");
    complete("SHOW"); /* what stands in the place of the NOTIFY */
    cr_expect_not(is_among(ACTION_PUBLISH), "it is not committed before ReadyForQuery");
    ready('I');
    expect_published_before_the_client_hears();
    buffer_free(&said);
}

Test(session, E6_a_chained_commit_is_answered_after_its_events_were_handed_over)
{
    query("BEGIN");
    complete("BEGIN");
    ready('T');
    query("NOTIFY c, 'x'");
    query("COMMIT AND CHAIN");
    complete("COMMIT");
    expect_published_before_the_client_hears();
    buffer_free(&said);
}

Test(session, E6_a_request_that_never_reached_the_server_is_answered_after_its_events_were_handed_over)
{
    query("SET pgatomic.request = '/'");
    query("NOTIFY c, 'x'");
    query("SET pgatomic.outcome = 'commit'");
    cr_expect_not(is_among(ACTION_TO_SERVER));
    expect_published_before_the_client_hears();
    buffer_free(&said);
}

/* The session sleeps and wakes up. */
static void expect_sleep(const char *after)
{
    struct session_asleep asleep;
    cr_assert(session_may_sleep(session), "it stays awake after %s", after);
    session_sleep(session, &asleep);
    session = session_wake(&asleep, &(struct session_start){ .new_id = new_id });
}

Test(session, P3_a_session_that_is_between_requests_may_sleep)
{
    expect_sleep("its beginning");
    query("SELECT 1");
    cr_expect_not(session_may_sleep(session), "a reply is owed");
    complete("SELECT 1");
    ready('I');
    expect_sleep("a statement");
    query("BEGIN ISOLATION LEVEL SERIALIZABLE");
    complete("BEGIN");
    ready('T');
    cr_expect_not(session_may_sleep(session), "a transaction is open");
    query("NOTIFY c, 'x'");
    query("COMMIT");
    complete("COMMIT");
    ready('I');
    expect_sleep("a transaction with an event");
    query("SET pgatomic.request = '/'");
    cr_expect_not(session_may_sleep(session), "a request has begun");
    query("SELECT 1");
    complete("BEGIN");
    complete("SELECT 1");
    ready('T');
    query("SET pgatomic.outcome = 'commit'");
    complete("COMMIT");
    ready('I');
    expect_sleep("a request");
    buffer_free(&said);
}

Test(session, P3_what_a_session_has_counted_and_is_called_outlives_its_sleep)
{
    struct session_facts before, asleep, after;
    query("SELECT 1");
    complete("SELECT 1");
    ready('I');
    session_tell_facts(session, &before);
    struct session_asleep left;
    session_sleep(session, &left);
    session_tell_facts_asleep(&left, &asleep);
    session = session_wake(&left, &(struct session_start){ .new_id = new_id });
    session_tell_facts(session, &after);
    cr_expect_eq(before.queries, 1);
    cr_expect_eq(asleep.queries, 1);
    cr_expect_eq(after.queries, 1);
    cr_expect_eq(after.transactions, before.transactions);
    cr_expect_str_eq(asleep.database, "shop");
    cr_expect_str_eq(after.user, "app");
    cr_expect_eq(asleep.status, 'I');
    buffer_free(&said);
}

Test(session, P2_frames_of_a_steady_conversation_need_no_room_that_grows)
{
    for (int i = 0; i < 10000; i++) {
        query("SELECT 1");
        complete("SELECT 1");
        ready('I');
    }
    cr_expect_leq(actions.capacity, 16);
    cr_expect_not(session_is_busy(session));
    buffer_free(&said);
}

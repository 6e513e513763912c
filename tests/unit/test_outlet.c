#include "tests/unit/with_config.h"

#include "proxy/events/outlet.h"
#include "proxy/ops/log.h"

/* --- a sink that does as it is told -------------------------------------------------------------- */

enum { MOST = 64 };

static struct fake {
    struct delivery *hand[MOST]; /* in the order in which they were handed over */
    size_t count;
    char taken[MOST * 2]; /* payloads, in the order of confirmation */
    unsigned opened, closed, flushed, tries;
} fake;

static void *fake_open(const struct sink *block, const struct sink_host *host)
{
    (void)block, (void)host;
    fake.opened++;
    return &fake;
}

static void fake_deliver(void *sink, struct delivery *d)
{
    cr_assert(sink == &fake && fake.count < MOST);
    fake.hand[fake.count++] = d;
    fake.tries++;
}

static void fake_flush(void *sink)
{
    (void)sink;
    fake.flushed++;
}

static void fake_close(void *sink)
{
    (void)sink;
    fake.closed++;
    fake.count = 0;
}

static const struct sink_type one_at_a_time = {
    .name = "fake", .window = 4, .open = fake_open, .deliver = fake_deliver, .flush = fake_flush, .close = fake_close
};
static const struct sink_type in_order = { .name = "fake",
                                           .window = 4,
                                           .keeps_order = true,
                                           .open = fake_open,
                                           .deliver = fake_deliver,
                                           .flush = fake_flush,
                                           .close = fake_close };

/* Gives back the delivery of this payload. */
static void give_back(const char *payload, enum delivery_result result)
{
    size_t i = 0;
    while (i < fake.count && strcmp(fake.hand[i]->event->payload, payload) != 0)
        i++;
    cr_assert(i < fake.count, "%s is not in hand", payload);
    struct delivery *d = fake.hand[i];
    if (result == DELIVERED)
        strcat(fake.taken, d->event->payload);
    memmove(&fake.hand[i], &fake.hand[i + 1], (--fake.count - i) * sizeof *fake.hand);
    delivery_done(d, result, result == DELIVERED ? NULL : "no", 0);
}

/* The payloads in hand. */
static const char *in_hand(void)
{
    static char text[MOST * 2];
    text[0] = '\0';
    for (size_t i = 0; i < fake.count; i++)
        strcat(text, fake.hand[i]->event->payload);
    return text;
}

/* --- an outlet ----------------------------------------------------------------------------------- */

static struct {
    struct loop loop;
    struct config *config;
    struct sink block;
    struct request *request;
    struct outlet *outlet;
    struct tally *tally;
} stage;

static void on_turn(void *context)
{
    (void)context;
    outlet_hand_over(stage.outlet);
    loop_stop(&stage.loop);
}

/* Turns the loop until `count` are in hand. */
static void turn_until(size_t count)
{
    outlet_hand_over(stage.outlet);
    while (fake.count < count)
        loop_run(&stage.loop);
}

static void set_up(const struct sink_type *type, unsigned attempts)
{
    fake = (struct fake){ .count = 0 };
    loop_init(&stage.loop, on_turn, NULL);
    stage.config = config_of(ANY_DATABASE "log { file = \"/dev/null\" } sink \"out\" { type = log }"
                                          "channel \"any.*\" { sink = {\"out\"}  ordering = none }"
                                          "channel \"*\" { sink = {\"out\"} }");
    cr_assert(log_open(stage.config));
    stage.block = *config_sink(stage.config, "out");
    stage.block.retry = (struct sink_retry){ .first_ms = 2, .max_ms = 8, .attempts = attempts };
    unsigned char id[EVENT_ID_SIZE] = { 1 };
    stage.request = request_new(id, &(struct request_names){ "", "", "shop", "app", "", "" }, stage.config, 1000000);
    stage.tally = tally_sink("out");
    struct sink_host host = { &stage.loop, NULL };
    stage.outlet = outlet_new(type, &stage.block, stage.config, &host);
}

static void tear_down(void)
{
    outlet_give_up(stage.outlet, "shutdown", true);
    outlet_free(stage.outlet);
    cr_expect_eq(fake.opened, fake.closed);
    cr_expect_eq(tally_read(&stage.tally->held_events), 0);
    cr_expect_eq(tally_read(&stage.tally->held_bytes), 0);
    cr_expect_eq(atomic_load(&stage.request->references), 1);
    request_release(stage.request);
    config_release(stage.config);
    loop_destroy(&stage.loop);
    log_end_thread();
}

static void add(const char *channel, const char *payload)
{
    static unsigned char id[EVENT_ID_SIZE];
    id[0]++;
    struct notification *e = notification_new(id, stage.request, config_channel(stage.config, channel, strlen(channel)),
                                              span_of(channel), span_of(payload));
    struct parcel *p = parcel_new(e, 1000000);
    cr_assert_not_null(p);
    outlet_add(stage.outlet, &p->shipments[0]);
}

Test(outlet, E5_a_channel_has_one_event_in_hand_at_a_time)
{
    set_up(&one_at_a_time, 3);
    add("a", "1");
    add("a", "2");
    add("b", "3");
    outlet_hand_over(stage.outlet);
    cr_expect_str_eq(in_hand(), "13");
    give_back("1", DELIVERED);
    give_back("3", DELIVERED);
    outlet_hand_over(stage.outlet);
    give_back("2", DELIVERED);
    cr_expect_str_eq(fake.taken, "132");
    cr_expect_eq(fake.flushed, 2);
    tear_down();
}

Test(outlet, E5_a_channel_without_ordering_has_as_many_as_the_sink_takes)
{
    set_up(&one_at_a_time, 3);
    add("any.thing", "1");
    add("any.thing", "2");
    add("any.thing", "3");
    outlet_hand_over(stage.outlet);
    cr_expect_str_eq(in_hand(), "123");
    tear_down();
}

Test(outlet, E5_no_more_than_the_window_is_in_hand)
{
    set_up(&in_order, 3);
    for (const char *payload = "1\0002\0003\0004\0005\0006\0"; *payload != '\0'; payload += 2)
        add("a", payload);
    outlet_hand_over(stage.outlet);
    cr_expect_str_eq(in_hand(), "1234");
    give_back("1", DELIVERED);
    outlet_hand_over(stage.outlet);
    cr_expect_str_eq(in_hand(), "2345");
    tear_down();
}

Test(outlet, E5_channels_take_turns_where_a_sink_keeps_order)
{
    set_up(&in_order, 3);
    add("a", "1");
    add("a", "2");
    add("a", "3");
    add("b", "4");
    outlet_hand_over(stage.outlet);
    cr_expect_str_eq(in_hand(), "1423");
    tear_down();
}

Test(outlet, E5_a_failing_event_holds_back_only_its_own_channel)
{
    set_up(&one_at_a_time, 3);
    add("a", "1");
    add("a", "2");
    add("b", "3");
    add("b", "4");
    outlet_hand_over(stage.outlet);
    give_back("1", DELIVERY_FAILED);
    give_back("3", DELIVERED);
    outlet_hand_over(stage.outlet);
    cr_expect_str_eq(in_hand(), "4");
    turn_until(2);
    cr_expect_str_eq(in_hand(), "41");
    cr_expect_eq(fake.hand[1]->attempt, 2);
    tear_down();
}

Test(outlet, E5_events_that_failed_with_the_first_are_put_back_in_order_without_a_try)
{
    set_up(&in_order, 2);
    add("a", "1");
    add("a", "2");
    add("a", "3");
    outlet_hand_over(stage.outlet);
    give_back("1", DELIVERY_FAILED);
    give_back("3", DELIVERY_FAILED); /* in whatever order they come back */
    add("a", "4");
    turn_until(1); /* by the rest of the channel alone nothing goes: "2" is still out */
    cr_expect_str_eq(in_hand(), "2");
    give_back("2", DELIVERY_FAILED);
    turn_until(4);
    cr_expect_str_eq(in_hand(), "1234");
    cr_expect_eq(fake.hand[0]->attempt, 2);
    cr_expect_eq(fake.hand[1]->attempt, 1);
    cr_expect_eq(fake.hand[2]->attempt, 1);
    tear_down();
}

Test(outlet, E12_the_last_try_that_fails_is_the_death_of_an_event_and_its_channel_goes_on)
{
    uint64_t dead = tally_read(&tally_sink("out")->dead), retried = tally_read(&tally_sink("out")->retried);
    set_up(&one_at_a_time, 3);
    add("a", "1");
    add("a", "2");
    for (int i = 0; i < 3; i++) {
        turn_until(1);
        cr_expect_str_eq(in_hand(), "1");
        give_back("1", DELIVERY_FAILED);
    }
    turn_until(1);
    cr_expect_str_eq(in_hand(), "2");
    cr_expect_eq(tally_read(&stage.tally->dead) - dead, 1);
    cr_expect_eq(tally_read(&stage.tally->retried) - retried, 2);
    tear_down();
}

Test(outlet, E12_what_is_refused_is_dead_at_once)
{
    set_up(&one_at_a_time, 3);
    add("a", "1");
    add("a", "2");
    outlet_hand_over(stage.outlet);
    give_back("1", DELIVERY_REFUSED);
    outlet_hand_over(stage.outlet);
    cr_expect_str_eq(in_hand(), "2");
    cr_expect_eq(tally_read(&stage.tally->dead), 1);
    tear_down();
}

Test(outlet, E12_a_sink_that_wants_nothing_any_more_is_asked_again_after_a_reload)
{
    set_up(&one_at_a_time, 3);
    add("a", "1");
    add("a", "2");
    add("b", "3");
    outlet_hand_over(stage.outlet);
    give_back("1", DELIVERY_STOPPED);
    add("c", "4");
    outlet_hand_over(stage.outlet);
    cr_expect_str_eq(in_hand(), "3");
    give_back("3", DELIVERY_FAILED);
    cr_expect_eq(tally_read(&stage.tally->dead), 4);
    outlet_reload(stage.outlet, &one_at_a_time, &stage.block, stage.config);
    add("c", "5");
    outlet_hand_over(stage.outlet);
    cr_expect_str_eq(in_hand(), "5");
    cr_expect_eq(fake.opened, 1);
    tear_down();
}

Test(outlet, E12_a_sink_that_fails_whatever_it_gets_is_probed)
{
    set_up(&one_at_a_time, 100);
    char channel[] = "any.x", payload[] = "a";
    for (; payload[0] <= 't'; payload[0]++)
        add(channel, payload);
    outlet_hand_over(stage.outlet);
    while (fake.tries < 8) {
        give_back((char[]){ fake.hand[0]->event->payload[0], '\0' }, DELIVERY_FAILED);
        outlet_hand_over(stage.outlet);
    }
    while (fake.count > 0)
        give_back((char[]){ fake.hand[0]->event->payload[0], '\0' }, DELIVERY_FAILED);
    for (int i = 0; i < 3; i++) {
        turn_until(1);
        cr_expect_eq(fake.count, 1);
        give_back((char[]){ fake.hand[0]->event->payload[0], '\0' }, DELIVERY_FAILED);
    }
    turn_until(1);
    cr_expect_eq(fake.count, 1);
    give_back((char[]){ fake.hand[0]->event->payload[0], '\0' }, DELIVERED);
    turn_until(4);
    cr_expect_eq(fake.count, 4);
    tear_down();
}

Test(outlet, E12_a_changed_block_opens_the_sink_anew_and_its_events_go_again)
{
    set_up(&in_order, 2);
    add("a", "1");
    add("a", "2");
    outlet_hand_over(stage.outlet);
    struct sink changed = stage.block;
    changed.timeout_ms += 1;
    outlet_reload(stage.outlet, &in_order, &changed, stage.config);
    cr_expect_eq(fake.opened, 2);
    cr_expect_eq(fake.closed, 1);
    outlet_hand_over(stage.outlet);
    cr_expect_str_eq(in_hand(), "12");
    cr_expect_eq(fake.hand[0]->attempt, 1);
    tear_down();
}

Test(outlet, E12_a_receiver_that_asks_for_time_gets_it_for_all_its_events)
{
    set_up(&one_at_a_time, 3);
    stage.block.retry.max_ms = 60 * 1000;
    add("a", "1");
    outlet_hand_over(stage.outlet);
    struct delivery *d = fake.hand[0];
    fake.count = 0;
    delivery_done(d, DELIVERY_FAILED, "not now", 40 * 1000);
    add("b", "2");
    outlet_hand_over(stage.outlet);
    cr_expect_eq(fake.count, 0);
    cr_expect_not(outlet_is_busy(stage.outlet, loop_now_us(&stage.loop) + 30 * 1000000));
    cr_expect(outlet_is_busy(stage.outlet, loop_now_us(&stage.loop) + 50 * 1000000));
    tear_down();
}

/* --- whatever happens ------------------------------------------------------------------------------ */

enum { CHANNELS = 6, EVENTS = 60 };

/* What each channel has had confirmed last, and how many events are over. */
static struct {
    char last[CHANNELS];
    unsigned over;
} seen;

static size_t channel_of(const struct delivery *d)
{
    return (size_t)(d->event->name[0] - 'a');
}

static void note_delivered(const struct delivery *d)
{
    char *last = &seen.last[channel_of(d)];
    cr_assert_lt(*last, d->event->payload[0], "channel %s: %d behind %d", d->event->name, d->event->payload[0], *last);
    *last = d->event->payload[0];
    seen.over++;
}

static struct delivery *take_from_hand(size_t i)
{
    struct delivery *d = fake.hand[i];
    memmove(&fake.hand[i], &fake.hand[i + 1], (--fake.count - i) * sizeof *fake.hand);
    return d;
}

static size_t first_of_its_channel(size_t i)
{
    size_t first = 0;
    while (channel_of(fake.hand[first]) != channel_of(fake.hand[i]))
        first++;
    return first;
}

/* As a sink that keeps order must: with one, all behind it fail. */
static void fail_from(size_t i, enum delivery_result result)
{
    size_t channel = channel_of(fake.hand[i]);
    struct delivery *d = take_from_hand(i);
    seen.over += result == DELIVERY_REFUSED;
    delivery_done(d, result, "no", 0);
    for (size_t k = i; k < fake.count;)
        if (channel_of(fake.hand[k]) == channel)
            delivery_done(take_from_hand(k), DELIVERY_FAILED, "no", 0);
        else
            k++;
}

static void something_happens(unsigned *seed)
{
    if (fake.count == 0)
        return;
    size_t i = (size_t)rand_r(seed) % fake.count;
    switch (rand_r(seed) % 4) {
    case 0:
        fail_from(i, DELIVERY_FAILED);
        return;
    case 1:
        fail_from(i, rand_r(seed) % 4 == 0 ? DELIVERY_REFUSED : DELIVERY_FAILED);
        return;
    default: {
        struct delivery *d = take_from_hand(first_of_its_channel(i));
        note_delivered(d);
        delivery_done(d, DELIVERED, NULL, 0);
    }
    }
}

/* One turn of the loop, which has a timer to wake it. */
static void turn_once(void)
{
    struct timer *soon = timer_new(&stage.loop, on_turn, NULL);
    timer_start(soon, 0);
    loop_run(&stage.loop);
    timer_free(soon);
}

static void play(const struct sink_type *type, unsigned seed)
{
    set_up(type, 1000000);
    memset(&seen, 0, sizeof seen);
    stage.block.retry.first_ms = stage.block.retry.max_ms = 1;
    unsigned added = 0;
    while (seen.over < EVENTS) {
        if (added < EVENTS && rand_r(&seed) % 2 == 0) {
            char channel[] = { (char)('a' + rand_r(&seed) % CHANNELS), '\0' },
                 payload[] = { (char)(1 + added++), '\0' };
            add(channel, payload);
        }
        if (rand_r(&seed) % 64 == 0) {
            struct sink changed = stage.block;
            changed.timeout_ms = (uint64_t)rand_r(&seed);
            outlet_reload(stage.outlet, type, &changed, stage.config);
            outlet_reload(stage.outlet, type, &stage.block, stage.config);
        }
        turn_once();
        cr_assert_leq(fake.count, type->window);
        something_happens(&seed);
    }
    cr_expect_eq(fake.count, 0);
    tear_down();
}

Test(outlet, E5_whatever_fails_each_event_is_over_once_and_in_its_channels_order)
{
    for (unsigned seed = 1; seed <= 10; seed++) {
        play(&one_at_a_time, seed);
        play(&in_order, seed);
    }
}

#include <criterion/criterion.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "protocol/message.h"
#include "proxy/pool/cancel.h"

static struct address address_of(uint16_t port)
{
    struct address a;
    cr_assert(address_set_ip(&a, "127.0.0.1", port));
    return a;
}

static struct secure_way way_to(uint16_t port)
{
    return (struct secure_way){ .address = address_of(port) };
}

static bool leads_to(uint32_t process_id, struct span secret, uint16_t port)
{
    struct cancel_target target;
    if (!cancel_key_find(process_id, secret, &target))
        return false;
    cr_assert_eq(target.process_id, process_id);
    cr_assert(span_equal(span_make(target.secret, target.secret_size), secret));
    return ntohs(target.way.address.in.sin_port) == port;
}

Test(cancel, P7_a_key_leads_to_its_server_until_that_is_gone)
{
    struct secure_way a = way_to(1), b = way_to(2);
    struct cancel_key *first = cancel_key_add(7, span_make("\0\0\0\1", 4), &a);
    struct cancel_key *second = cancel_key_add(7, span_make("\0\0\0\2", 4), &b);
    cr_assert(leads_to(7, span_make("\0\0\0\1", 4), 1));
    cr_assert(leads_to(7, span_make("\0\0\0\2", 4), 2));
    cancel_key_remove(first);
    cr_assert_not(leads_to(7, span_make("\0\0\0\1", 4), 1));
    cr_assert(leads_to(7, span_make("\0\0\0\2", 4), 2));
    cancel_key_remove(second);
    cr_assert_not(leads_to(7, span_make("\0\0\0\2", 4), 2));
}

Test(cancel, P7_nothing_but_the_whole_key_will_do)
{
    struct secure_way a = way_to(1);
    struct cancel_key *key = cancel_key_add(7, span_of("secret"), &a);
    cr_assert_not(leads_to(8, span_of("secret"), 1));
    cr_assert_not(leads_to(7, span_of("secre"), 1));
    cr_assert_not(leads_to(7, span_of("secretx"), 1));
    cr_assert_not(leads_to(7, span_of("Secret"), 1));
    cr_assert_not(leads_to(7, span_of("secreT"), 1));
    cr_assert_not(leads_to(7, span_of(""), 1));
    cancel_key_remove(key);
}

Test(cancel, P7_thousands_of_keys_are_told_apart)
{
    enum { COUNT = 3000 };
    static struct cancel_key *keys[COUNT];
    for (uint32_t i = 0; i < COUNT; i++) {
        struct secure_way a = way_to((uint16_t)(i + 1));
        keys[i] = cancel_key_add(i / 2, span_make((const char *)&i, sizeof i), &a);
    }
    for (uint32_t i = 0; i < COUNT; i += 3)
        cancel_key_remove(keys[i]);
    for (uint32_t i = 0; i < COUNT; i++)
        cr_assert_eq(leads_to(i / 2, span_make((const char *)&i, sizeof i), (uint16_t)(i + 1)), i % 3 != 0);
    for (uint32_t i = 0; i < COUNT; i++)
        if (i % 3 != 0)
            cancel_key_remove(keys[i]);
}

/* --- minted keys ----------------------------------------------------------------------------------- */

/* A pool's server, the client that holds it, one who cancels that client's query, and an upstream by hand. */
struct scene {
    struct loop loop;
    struct cancel_requests requests;
    int upstream; /* listens */
    struct address address;
    struct cancel_key *key;
    struct cancel_guard guard;
    bool holds_server;
    unsigned asked, closed, cleared;
    const char *error;
};

static void on_turn(void *context)
{
    (void)context;
}

static struct cancel_guard *aim(void *holder, struct cancel_target *out)
{
    struct scene *s = holder;
    s->asked++;
    if (!s->holds_server)
        return NULL;
    *out = (struct cancel_target){ .way.address = s->address, .process_id = 7, .secret_size = 4, .secret = "abcd" };
    return &s->guard;
}

static void on_clear(void *owner)
{
    struct scene *s = owner;
    s->cleared++;
}

static void on_closed(void *context, const char *error)
{
    struct scene *s = context;
    s->closed++;
    s->error = error;
    loop_stop(&s->loop);
}

static void setup(struct scene *s)
{
    *s = (struct scene){ .holds_server = true, .guard = { .on_clear = on_clear, .owner = s } };
    loop_init(&s->loop, on_turn, NULL);
    s->requests.loop = &s->loop;
    s->requests.aim = aim;
    s->upstream = socket(AF_INET, SOCK_STREAM, 0);
    s->address = address_of(0);
    cr_assert_eq(bind(s->upstream, &s->address.any, s->address.size), 0);
    cr_assert_eq(listen(s->upstream, 8), 0);
    cr_assert_eq(getsockname(s->upstream, &s->address.any, &s->address.size), 0);
    s->key = cancel_key_mint(&s->requests, 0, s);
}

static void teardown(struct scene *s)
{
    cancel_key_remove(s->key);
    cancel_requests_drop(&s->requests);
    loop_destroy(&s->loop);
    close(s->upstream);
}

static struct cancel_request *carry(struct scene *s)
{
    return cancel_carry(&s->requests, cancel_key_process_id(s->key), cancel_key_secret(s->key), true, on_closed, s);
}

static void stop_loop(void *context)
{
    loop_stop(context);
}

/* Turns the loop until all that was posted so far is done. */
static void turn(struct scene *s)
{
    loop_post(&s->loop, stop_loop, &s->loop);
    loop_run(&s->loop);
}

/* The connection of a request that was sent, which has said what it should. */
static int take_request(struct scene *s)
{
    int fd = accept(s->upstream, NULL, NULL);
    cr_assert(fd >= 0);
    struct timer *timer = timer_new(&s->loop, stop_loop, &s->loop);
    char packet[64];
    ssize_t got = recv(fd, packet, sizeof packet, MSG_DONTWAIT);
    for (unsigned tries = 0; got < 0 && tries < 1000; tries++) {
        timer_start(timer, 1000);
        loop_run(&s->loop);
        got = recv(fd, packet, sizeof packet, MSG_DONTWAIT);
    }
    timer_free(timer);
    struct message_startup m;
    size_t size;
    cr_assert_eq(message_read_startup(span_make(packet, (size_t)got), 1000, &m, &size), FRAME_OK);
    cr_assert(m.kind == STARTUP_CANCEL && m.process_id == 7 && span_is(m.secret, "abcd"));
    return fd;
}

Test(cancel, P3_minted_keys_are_random_and_as_long_as_the_protocol_allows)
{
    struct cancel_requests requests = { 0 };
    struct cancel_key *old = cancel_key_mint(&requests, 0, NULL);
    struct cancel_key *new = cancel_key_mint(&requests, 2, NULL);
    cr_assert_eq(cancel_key_secret(old).size, 4);
    cr_assert_eq(cancel_key_secret(new).size, 32);
    cr_assert_neq(cancel_key_process_id(old), cancel_key_process_id(new));
    cr_assert(cancel_key_process_id(old) > 0 && cancel_key_process_id(old) <= INT32_MAX);
    cr_assert(memcmp(cancel_key_secret(old).data, cancel_key_secret(new).data, 4) != 0);
    struct cancel_target target;
    cr_assert_not(cancel_key_find(cancel_key_process_id(old), cancel_key_secret(old), &target), "it is no server's");
    cancel_key_remove(old);
    cancel_key_remove(new);
}

Test(cancel, P7_a_minted_key_leads_to_the_server_that_its_holder_has, .timeout = 60)
{
    struct scene s;
    setup(&s);
    cr_assert_not_null(carry(&s));
    turn(&s);
    close(take_request(&s));
    loop_run(&s.loop);
    cr_assert(s.closed == 1 && s.error == NULL && s.asked == 1);
    cr_assert(cancel_guard_release(&s.requests, &s.guard), "nothing is on its way any more");
    cr_assert_eq(s.cleared, 0);
    teardown(&s);
}

Test(cancel, P7_a_server_is_nobody_elses_before_the_request_has_closed, .timeout = 60)
{
    struct scene s;
    setup(&s);
    carry(&s);
    turn(&s);
    int request = take_request(&s);
    s.holds_server = false;
    cr_assert_not(cancel_guard_release(&s.requests, &s.guard));
    cr_assert_eq(s.cleared, 0);
    close(request);
    loop_run(&s.loop);
    cr_assert(s.cleared == 1 && s.closed == 1);
    teardown(&s);
}

Test(cancel, P7_a_request_that_was_not_sent_when_the_server_is_released_is_never_sent, .timeout = 60)
{
    struct scene s;
    setup(&s);
    carry(&s);
    turn(&s); /* the holder was asked; that the connection is there has not been seen yet */
    bool clear = s.guard.pending == 1 && cancel_guard_release(&s.requests, &s.guard);
    cr_assert(clear);
    loop_run(&s.loop);
    cr_assert(s.closed == 1 && s.cleared == 0);
    char byte;
    int fd = accept(s.upstream, NULL, NULL);
    cr_assert_eq(recv(fd, &byte, 1, 0), 0, "nothing was said");
    close(fd);
    teardown(&s);
}

Test(cancel, P7_a_holder_that_runs_on_nothing_is_asked_and_nothing_is_sent, .timeout = 60)
{
    struct scene s;
    setup(&s);
    s.holds_server = false;
    carry(&s);
    loop_run(&s.loop);
    cr_assert(s.asked == 1 && s.closed == 1 && s.error == NULL && s.guard.pending == 0);
    teardown(&s);
}

Test(cancel, P7_a_holder_that_goes_before_it_is_asked_is_not_asked, .timeout = 60)
{
    struct scene s;
    setup(&s);
    carry(&s);
    cancel_key_remove(s.key);
    s.key = NULL;
    loop_run(&s.loop);
    cr_assert(s.asked == 0 && s.closed == 1);
    teardown(&s);
}

Test(cancel, P7_a_server_that_is_lost_has_no_guard_that_could_be_told, .timeout = 60)
{
    struct scene s;
    setup(&s);
    carry(&s);
    turn(&s);
    int request = take_request(&s);
    cr_assert_not(cancel_guard_release(&s.requests, &s.guard));
    cancel_guard_dissolve(&s.requests, &s.guard);
    close(request);
    loop_run(&s.loop);
    cr_assert(s.closed == 1 && s.cleared == 0);
    teardown(&s);
}

Test(cancel, P7_who_asked_may_leave_and_the_request_goes_on, .timeout = 60)
{
    struct scene s;
    setup(&s);
    cancel_abandon(carry(&s));
    turn(&s);
    int request = take_request(&s);
    cr_assert_not(cancel_guard_release(&s.requests, &s.guard));
    close(request);
    while (s.guard.released)
        turn(&s);
    cr_assert(s.cleared == 1 && s.closed == 0);
    teardown(&s);
}

Test(cancel, P7_what_is_on_its_way_at_the_end_of_the_process_is_dropped, .timeout = 60)
{
    struct scene s;
    setup(&s);
    carry(&s);
    turn(&s);
    carry(&s); /* of which the holder has not heard yet */
    teardown(&s);
    cr_assert(s.closed == 0 && s.asked == 1);
}

/* --- other processes --------------------------------------------------------------------------------- */

static struct address abstract_address(const char *name)
{
    struct address a = { 0 };
    a.un.sun_family = AF_UNIX;
    int size = snprintf(a.un.sun_path + 1, sizeof a.un.sun_path - 1, "pgatomic-test/%d/%s", (int)getpid(), name);
    a.size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)size);
    return a;
}

Test(cancel, P12_so_many_processes_are_known_the_newest_first)
{
    struct address list[CANCEL_PEERS_MAX];
    char name[] = "a";
    for (unsigned i = 0; i < CANCEL_PEERS_MAX + 2; i++, name[0]++) {
        struct address a = abstract_address(name);
        cancel_peer_add(&a);
        cancel_peer_add(&a);
    }
    cr_assert_eq(cancel_peers(list), CANCEL_PEERS_MAX);
    struct address newest = abstract_address("j"), oldest = abstract_address("c");
    cr_assert_arr_eq(&list[0].un, &newest.un, newest.size);
    cr_assert_arr_eq(&list[CANCEL_PEERS_MAX - 1].un, &oldest.un, oldest.size);
    cancel_peer_remove(&newest);
    cr_assert_eq(cancel_peers(list), CANCEL_PEERS_MAX - 1);
}

Test(cancel, P12_an_unknown_key_goes_to_every_other_process_and_who_is_gone_is_forgotten, .timeout = 60)
{
    struct scene s;
    setup(&s);
    struct address gone = abstract_address("gone"), here = abstract_address("here"), list[CANCEL_PEERS_MAX];
    close(s.upstream);
    s.upstream = socket(AF_UNIX, SOCK_STREAM, 0);
    cr_assert_eq(bind(s.upstream, &here.any, here.size), 0);
    cr_assert_eq(listen(s.upstream, 8), 0);
    cancel_peer_add(&here);
    cancel_peer_add(&gone);
    cr_assert_null(cancel_carry(&s.requests, 7, span_of("abcd"), false, on_closed, &s), "what was passed on already");
    cr_assert_not_null(cancel_carry(&s.requests, 7, span_of("abcd"), true, on_closed, &s));
    while (cancel_peers(list) == 2)
        turn(&s);
    close(take_request(&s));
    loop_run(&s.loop);
    cr_assert(s.closed == 1 && s.error == NULL);
    cr_assert_eq(cancel_peers(list), 1);
    teardown(&s);
}

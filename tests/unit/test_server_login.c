/* pgatomic's login to a server of a pool, against servers that say one thing or another. */
#include "proxy/pool/server_login.h"

#include "tests/unit/with_auth.h"

#include "tests/unit/bytes.h"

#define OK "R\0\0\0\x08\0\0\0\0"
#define READY "Z\0\0\0\5I"

struct outcome {
    enum auth_state state;
    struct server_login *login;
    struct link_server *record;
    struct buffer said; /* to the server */
};

static struct outcome log_in(uint16_t minor, struct span messages)
{
    struct outcome o = { .state = AUTH_MORE, .record = link_server_new() };
    struct credentials none = { 0 };
    struct server_login_start start = { .user = span_of("app"),
                                        .database = span_of("shop"),
                                        .credentials = &none,
                                        .minor = minor,
                                        .random = counting,
                                        .record = o.record };
    struct frame f;
    o.login = server_login_new(&start, &o.said);
    for (size_t at = 0; o.state == AUTH_MORE && at < messages.size; at += f.bytes.size) {
        struct span rest = span_make(messages.data + at, messages.size - at);
        cr_assert_eq(frame_next_whole(backend_messages, rest, 1 << 20, &f, NULL), FRAME_OK);
        o.state = server_login_on_frame(o.login, &f, &o.said);
    }
    return o;
}

static void end(struct outcome *o)
{
    server_login_free(o->login);
    link_server_free(o->record);
    buffer_free(&o->said);
}

Test(server_login, P3_the_startup_packet_names_the_user_and_the_database_and_nothing_of_any_client)
{
    struct outcome o = log_in(2, (struct span){ 0 });
    struct message_startup m;
    struct span user, database, other;
    size_t size;
    cr_assert_eq(message_read_startup(buffer_span(&o.said), 10000, &m, &size), FRAME_OK);
    cr_expect(size == o.said.size && m.major == 3 && m.minor == 2);
    cr_expect(startup_find(m.parameters, "user", &user) && span_is(user, "app"));
    cr_expect(startup_find(m.parameters, "database", &database) && span_is(database, "shop"));
    cr_expect_not(startup_find(m.parameters, "application_name", &other));
    end(&o);
}

Test(server_login, P3_what_the_server_reports_is_recorded_and_its_key_is_kept)
{
    struct outcome o = log_in(2, BYTES(OK "S\0\0\0\x0fTimeZone\0X\0"
                                          "K\0\0\0\x0c\0\0\0\7key!" READY));
    uint32_t process_id;
    struct span secret;
    cr_expect_eq(o.state, AUTH_OK);
    cr_expect(server_login_key(o.login, &process_id, &secret) && process_id == 7 && span_is(secret, "key!"));
    cr_expect_str_eq(link_server_parameter(o.record, span_of("TimeZone")), "X");
    end(&o);
}

static const struct {
    const char *name;
    uint16_t minor;
    struct span messages;
    const char *sqlstate, *words;
    bool refuses_version;
} refusals[] = {
    { "an error in the server's own words", 2, BYTES_INIT("E\0\0\0\x1eSFATAL\0VFATAL\0C53300\0Mno\0\0"), "53300", "no",
      false },
    { "a server that knows no minor versions", 2, BYTES_INIT("E\0\0\0\x1eSFATAL\0VFATAL\0C08P01\0Mno\0\0"), "08P01",
      "no", true },
    { "one that was asked for none", 0, BYTES_INIT("E\0\0\0\x1eSFATAL\0VFATAL\0C08P01\0Mno\0\0"), "08P01", "no",
      false },
    { "an error without an SQLSTATE", 2, BYTES_INIT("E\0\0\0\x09Mno\0\0"), "08006", "no", false },
    { "a session that begins ahead of its authentication", 2, BYTES_INIT(READY), "08P01",
      "the upstream sent a message ahead of its authentication", false },
    { "authentication twice", 2, BYTES_INIT(OK OK), "08P01", "the upstream asked for authentication twice", false },
    { "a row", 2, BYTES_INIT(OK "D\0\0\0\6\0\0"), "08P01",
      "the upstream sent a message that does not belong into a login", false },
    { "a key that is too short", 2, BYTES_INIT(OK "K\0\0\0\x09\0\0\0\7k"), "08P01",
      "the upstream sent a malformed BackendKeyData", false },
};

Test(server_login, P8_a_server_that_refuses_or_leaves_the_protocol_is_told_apart)
{
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        struct outcome o = log_in(refusals[i].minor, refusals[i].messages);
        cr_assert_eq(o.state, AUTH_FAILED, "%s", refusals[i].name);
        const struct server_login_fault *fault = server_login_fault(o.login);
        cr_expect_str_eq(fault->sqlstate, refusals[i].sqlstate, "%s", refusals[i].name);
        cr_expect_str_eq(fault->message, refusals[i].words, "%s", refusals[i].name);
        cr_expect_eq(fault->refuses_version, refusals[i].refuses_version, "%s", refusals[i].name);
        end(&o);
    }
}

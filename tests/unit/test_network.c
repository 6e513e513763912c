/* Networks, and the login rules that name them. */
#include "config/network.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <string.h>
#include <sys/un.h>

#include "config/config.h"

/* The address of a client: "unix", or what inet_pton() reads. */
static const struct sockaddr *peer_of(const char *text, struct sockaddr_storage *storage)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)storage;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)storage;

    memset(storage, 0, sizeof *storage);
    storage->ss_family = AF_UNIX;
    if (strchr(text, ':') != NULL) {
        storage->ss_family = AF_INET6;
        cr_assert(inet_pton(AF_INET6, text, &v6->sin6_addr) == 1);
    } else if (strcmp(text, "unix") != 0) {
        storage->ss_family = AF_INET;
        cr_assert(inet_pton(AF_INET, text, &v4->sin_addr) == 1);
    }
    return (const struct sockaddr *)storage;
}

static const struct {
    const char *network, *peer;
    bool want;
} rows[] = {
    { "127.0.0.1", "127.0.0.1", true },
    { "127.0.0.1", "127.0.0.2", false },
    { "127.0.0.1", "unix", false },
    { "10.0.0.0/8", "10.255.0.1", true },
    { "10.0.0.0/8", "11.0.0.1", false },
    { "10.128.0.0/9", "10.128.0.0", true },
    { "10.128.0.0/9", "10.127.255.255", false },
    { "192.168.1.4/30", "192.168.1.7", true },
    { "192.168.1.4/30", "192.168.1.8", false },
    { "0.0.0.0/0", "255.255.255.255", true },
    { "0.0.0.0/0", "::1", false },
    { "0.0.0.0/0", "::ffff:1.2.3.4", true },
    { "10.0.0.0/8", "::ffff:10.0.0.1", true },
    { "::1", "::1", true },
    { "::1/128", "::2", false },
    { "fd00::/8", "fdff::1", true },
    { "fd00::/8", "fe80::1", false },
    { "2001:db8::/33", "2001:db8:7fff::1", true },
    { "2001:db8::/33", "2001:db8:8000::1", false },
    { "::/0", "2001:db8::1", true },
    { "::/0", "127.0.0.1", false },
    { "::/0", "::ffff:127.0.0.1", false },
    { "unix", "unix", true },
    { "unix", "127.0.0.1", false },
};

Test(network, a_client_is_in_the_networks_that_its_address_begins_with)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sockaddr_storage storage;
        struct network n;
        cr_assert(network_parse(rows[i].network, &n), "%s", rows[i].network);
        cr_expect_eq(network_has(&n, peer_of(rows[i].peer, &storage)), rows[i].want, "%s in %s", rows[i].peer,
                     rows[i].network);
    }
}

Test(network, what_is_no_network_is_refused)
{
    static const char *const texts[] = {
        "",
        "localhost",
        "10.0.0",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.1/8",
        "10.0.0.0/08",
        "10.0.0.0/8 ",
        "10.0.0.0/8/8",
        "[::1]",
        "::1/129",
        "::1/64",
        "fe80::1%eth0",
        "*",
        "/8",
        "10.0.0.0/ 8",
        "unix/0",
        "UNIX",
        "10.0.0.0/1000",
        "1.2.3.4.5.6.7.8",
        "0x7f.1",
        "::ffff:1.2.3/96",
        "10.0.0.0/255.0.0.0",
    };

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct network n;
        cr_expect_not(network_parse(texts[i], &n), "%s", texts[i]);
    }
}

Test(network, the_first_login_block_that_matches_decides)
{
    static const char *const local[] = { "unix", "127.0.0.0/8", NULL }, *const anywhere[] = { NULL };
    static const char *const any[] = { "*", NULL }, *const shops[] = { "till", "shop*", NULL };
    static const char *const keepers[] = { "postgres", "dba_*", NULL };
    struct network networks[2];
    const struct login_rule logins[] = {
        { "local", any, keepers, local, networks, LOGIN_TLS_ANY, AUTH_TRUST },
        { "others", any, keepers, anywhere, NULL, LOGIN_TLS_ANY, AUTH_REJECT },
        { "plain", shops, any, anywhere, NULL, LOGIN_TLS_OFF, AUTH_REJECT },
        { "secret", shops, any, anywhere, NULL, LOGIN_TLS_ON, AUTH_MD5 },
    };
    const struct config c = { .auth = AUTH_SCRAM_SHA_256, .logins = logins, .login_count = 4 };
    static const struct {
        const char *database, *user, *peer;
        bool tls;
        enum auth_method want;
    } cases[] = {
        { "shop", "postgres", "unix", false, AUTH_TRUST },     { "shop", "postgres", "127.9.9.9", true, AUTH_TRUST },
        { "shop", "postgres", "10.0.0.1", true, AUTH_REJECT }, { "shop", "app", "127.0.0.1", false, AUTH_REJECT },
        { "shop2", "app", "127.0.0.1", true, AUTH_MD5 },       { "other", "app", "::1", false, AUTH_SCRAM_SHA_256 },
        { "shop", "dba_ann", "unix", false, AUTH_TRUST },      { "till", "app", "10.0.0.1", true, AUTH_MD5 },
    };

    cr_assert(network_parse(local[0], &networks[0]) && network_parse(local[1], &networks[1]));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sockaddr_storage storage;
        struct login_attributes a = { cases[i].database, cases[i].user, peer_of(cases[i].peer, &storage),
                                      cases[i].tls };
        cr_expect_eq(config_login(&c, &a), cases[i].want, "case %zu", i);
    }
}

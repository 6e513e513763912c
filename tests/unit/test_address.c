#include <criterion/criterion.h>
#include <string.h>

#include "proxy/net/address.h"

Test(address, an_ip_address_reads_as_it_is_written)
{
    static const struct {
        const char *host, *want;
    } rows[] = {
        { "127.0.0.1", "127.0.0.1:5432" },         { "::1", "[::1]:5432" },       { "[::1]", "[::1]:5432" },
        { "2001:DB8::0:1", "[2001:db8::1]:5432" }, { "0.0.0.0", "0.0.0.0:5432" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct address a;
        char text[ADDRESS_TEXT_SIZE];
        cr_assert(address_set_ip(&a, rows[i].host, 5432), "%s", rows[i].host);
        cr_assert_str_eq(address_format(&a, text), rows[i].want);
        cr_assert_not(address_is_unix(&a));
    }
}

Test(address, a_name_is_no_ip_address)
{
    static const char *const names[] = {
        "",      "localhost", "127.0.0.1.",
        "1.2.3", "[]",        "[::1",
        "::1]",  "::1 ",      "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000"
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct address a;
        cr_assert_not(address_set_ip(&a, names[i], 1), "%s", names[i]);
    }
}

Test(address, a_unix_socket_has_the_name_that_postgresql_gives_it)
{
    struct address a;
    char text[ADDRESS_TEXT_SIZE];
    cr_assert(address_set_unix(&a, "/run/postgresql", 5433));
    cr_assert_str_eq(address_format(&a, text), "/run/postgresql/.s.PGSQL.5433");
    cr_assert(address_is_unix(&a));
}

Test(address, a_path_that_no_socket_can_have_is_refused)
{
    char directory[sizeof((struct sockaddr_un *)0)->sun_path + 1];
    memset(directory, 'a', sizeof directory - 1);
    directory[0] = '/';
    directory[sizeof directory - 1] = '\0';
    struct address a;
    cr_assert_not(address_set_unix(&a, directory, 5432));
}

Test(address, the_nameless_end_of_a_unix_socket_is_called_unix)
{
    struct address a = { .size = sizeof(sa_family_t) };
    char text[ADDRESS_TEXT_SIZE];
    a.any.sa_family = AF_UNIX;
    cr_assert_str_eq(address_format(&a, text), "unix");
}

Test(address, addresses_are_equal_when_they_name_the_same_socket)
{
    struct address ip, port, host, six, path, same, abstract, longer;
    cr_assert(address_set_ip(&ip, "127.0.0.1", 5432) && address_set_ip(&port, "127.0.0.1", 5433));
    cr_assert(address_set_ip(&host, "127.0.0.2", 5432) && address_set_ip(&six, "::1", 5432));
    cr_assert(address_set_path(&path, "/run/x") && address_set_path(&same, "/run/x"));
    same.size = (socklen_t)(sizeof(sa_family_t) + sizeof "/run/x"); /* as the system tells it */
    cr_assert(address_set_abstract(&abstract, "x") && address_set_abstract(&longer, "x2"));
    const struct address *all[] = { &ip, &port, &host, &six, &path, &abstract, &longer };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (size_t j = 0; j < sizeof all / sizeof *all; j++)
            cr_assert_eq(address_equal(all[i], all[j]), i == j, "%zu and %zu", i, j);
    cr_assert(address_equal(&path, &same));
}

Test(address, an_abstract_name_fits_or_is_refused)
{
    struct address a;
    char name[sizeof a.un.sun_path + 1];
    memset(name, 'x', sizeof name);
    name[sizeof a.un.sun_path] = '\0';
    cr_assert_not(address_set_abstract(&a, name));
    name[sizeof a.un.sun_path - 1] = '\0';
    cr_assert(address_set_abstract(&a, name));
    cr_assert_eq(a.size, sizeof a.un);
}

Test(address, what_is_written_comes_apart_again)
{
    static const struct {
        const char *text, *host;
        uint16_t port;
    } rows[] = {
        { "127.0.0.1:5432", "127.0.0.1", 5432 },
        { "[2001:db8::1]:53122", "2001:db8::1", 53122 },
        { "/run/postgresql/.s.PGSQL.5433", "/run/postgresql/.s.PGSQL.5433", 5433 },
        { "/run/a:b/socket", "/run/a:b/socket", 0 },
        { "unix", "unix", 0 },
        { "", "", 0 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint16_t port = 1;
        cr_expect(span_is(address_split(rows[i].text, &port), rows[i].host), "%s", rows[i].text);
        cr_expect_eq(port, rows[i].port, "%s", rows[i].text);
    }
}

Test(address, a_client_that_calls_its_socket_as_it_likes_is_split_within_bounds)
{
    static const char *const texts[] = { ":", "[:", "[", "[]:", "a:", ":1", "[:5", "x:99999999999999999999" };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        uint16_t port;
        struct span host = address_split(texts[i], &port);
        cr_expect(host.data >= texts[i] && host.data + host.size <= texts[i] + strlen(texts[i]), "%s", texts[i]);
    }
}

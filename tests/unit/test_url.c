/* The URLs of sinks, in tables. */
#include "config/url.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *show(const struct sink_url *u, char *text, size_t size)
{
    snprintf(text, size, "%s%s user=%s password=%s host=%s port=%u path=%s query=%s", u->scheme, u->tls ? "+tls" : "",
             u->user, u->password, u->host, u->port, u->path, u->query);
    return text;
}

static const struct {
    enum sink_kind kind;
    const char *url, *want;
} right[] = {
    { SINK_WEBHOOK, "http://hooks", "http user= password= host=hooks port=80 path= query=" },
    { SINK_WEBHOOK, "https://hooks.example/mail/a%20b?x=%41&y",
      "https+tls user= password= host=hooks.example port=443 path=mail/a b query=x=%41&y" },
    { SINK_WEBHOOK, "HTTPS://me:p%40ss@[2001:db8::1]:8443/",
      "https+tls user=me password=p@ss host=2001:db8::1 port=8443 path= query=" },
    { SINK_WEBHOOK, "http://h?q", "http user= password= host=h port=80 path= query=q" },
    { SINK_REDIS, "redis://127.0.0.1", "redis user= password= host=127.0.0.1 port=6379 path= query=" },
    { SINK_REDIS, "redis://127.0.0.1:6380/15", "redis user= password= host=127.0.0.1 port=6380 path=15 query=" },
    { SINK_REDIS, "redis://localhost/", "redis user= password= host=localhost port=6379 path= query=" },
    { SINK_REDIS, "rediss://:p%3Aw@cache.example/1",
      "rediss+tls user= password=p:w host=cache.example port=6379 path=1 query=" },
    { SINK_REDIS, "redis://app:a:b@c@h", "redis user=app password=a:b@c host=h port=6379 path= query=" },
    { SINK_REDIS, "redis://app@h", "redis user=app password= host=h port=6379 path= query=" },
    { SINK_REDIS, "redis://[::1]/0", "redis user= password= host=::1 port=6379 path=0 query=" },
    { SINK_REDIS, "unix:///run/redis.sock", "unix user= password= host=/run/redis.sock port=0 path= query=" },
    { SINK_REDIS, "unix://:pw@/run/my%20redis.sock?db=3",
      "unix user= password=pw host=/run/my redis.sock port=0 path=3 query=db=3" },
    { SINK_CELERY, "redis://h/2?global_keyprefix=app_",
      "redis user= password= host=h port=6379 path=2 query=global_keyprefix=app_" },
    { SINK_CELERY, "redis+socket:///s?virtual_host=2",
      "unix user= password= host=/s port=0 path=2 query=virtual_host=2" },
    { SINK_CELERY, "unix:///s?global_keyprefix=a&db=1",
      "unix user= password= host=/s port=0 path=1 query=global_keyprefix=a&db=1" },
    { SINK_CELERY, "amqp://guest:guest@rabbit//",
      "amqp user=guest password=guest host=rabbit port=5672 path=/ query=" },
    { SINK_AMQP, "amqp://h", "amqp user= password= host=h port=5672 path= query=" },
    { SINK_AMQP, "amqps://u:p@h/%2f", "amqps+tls user=u password=p host=h port=5671 path=/ query=" },
    { SINK_AMQP, "amqp://u:p@h:1/a/b", "amqp user=u password=p host=h port=1 path=a/b query=" },
    { SINK_KAFKA, "kafka://a", "kafka user= password= host=a:9092 port=9092 path= query=" },
    { SINK_KAFKA, "kafkas://me:pw@a:1,b,[::1]:65535,[::2]/?mechanism=SCRAM-SHA-512",
      "kafkas+tls user=me password=pw host=a:1,b:9092,[::1]:65535,[::2]:9092 port=9092 path= "
      "query=mechanism=SCRAM-SHA-512" },
};

Test(url, each_part_is_found_and_decoded)
{
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        struct memory memory = { NULL };
        struct sink_url parts;
        char text[500];
        const char *wrong = url_parse(right[i].url, right[i].kind, &parts, &memory);
        cr_assert_null(wrong, "%s: %s", right[i].url, wrong);
        cr_expect_str_eq(show(&parts, text, sizeof text), right[i].want, "%s\n gives: %s\n  want: %s", right[i].url,
                         text, right[i].want);
        memory_free(&memory);
    }
}

static const struct {
    enum sink_kind kind;
    const char *url, *want; /* a part of what is expected instead */
} wrong_urls[] = {
    /* schemes */
    { SINK_WEBHOOK, "", "https://hooks.example/path" },
    { SINK_WEBHOOK, "hooks.example", "https://hooks.example/path" },
    { SINK_WEBHOOK, "https:/hooks.example", "https://hooks.example/path" },
    { SINK_WEBHOOK, "ftp://hooks.example", "https://hooks.example/path" },
    { SINK_WEBHOOK, "redis://127.0.0.1", "https://hooks.example/path" },
    { SINK_REDIS, "amqp://127.0.0.1", "redis://" },
    { SINK_REDIS, "redi://127.0.0.1", "redis://" },
    { SINK_CELERY, "kafka://127.0.0.1", "unix:///run/redis.sock?db=0, amqp://" },
    { SINK_AMQP, "https://127.0.0.1", "amqps://" },
    { SINK_KAFKA, "amqp://127.0.0.1", "kafkas://" },
    /* hosts */
    { SINK_WEBHOOK, "https://", "the name of a host" },
    { SINK_WEBHOOK, "https:///path", "the name of a host" },
    { SINK_REDIS, "redis://:password@", "the name of a host" },
    { SINK_REDIS, "redis://:6379", "the name of a host" },
    { SINK_REDIS, "redis://a%20b", "the name of a host" },
    { SINK_REDIS, "redis://a,b", "the name of a host" },
    { SINK_REDIS, "redis://[::1", "[::1]" },
    { SINK_REDIS, "redis://[::g]", "[::1]" },
    { SINK_REDIS, "redis://[127.0.0.1]", "[::1]" },
    { SINK_REDIS, "redis://[fe80::1%25eth0]", "[::1]" },
    { SINK_REDIS, "redis://[::1]6379", "[::1]" },
    { SINK_REDIS, "redis://[]", "[::1]" },
    { SINK_REDIS, "unix://host/run/redis.sock", "absolute path of a socket" },
    { SINK_REDIS, "unix://", "absolute path of a socket" },
    { SINK_REDIS,
      "unix:///1234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234"
      "567890123456789",
      "absolute path of a socket" },
    /* ports */
    { SINK_REDIS, "redis://h:", "a port from 1 to 65535" },
    { SINK_REDIS, "redis://h:0", "a port from 1 to 65535" },
    { SINK_REDIS, "redis://h:65536", "a port from 1 to 65535" },
    { SINK_REDIS, "redis://h:000001", "a port from 1 to 65535" },
    { SINK_REDIS, "redis://h:+1", "a port from 1 to 65535" },
    { SINK_REDIS, "redis://[::1]:x", "a port from 1 to 65535" },
    { SINK_REDIS, "redis://::1:6379", "the name of a host" },
    { SINK_REDIS, "redis://h:1:2", "a port from 1 to 65535" },
    { SINK_REDIS, "redis://me:pa/ss@h", "a port from 1 to 65535" },
    /* characters */
    { SINK_WEBHOOK, "https://h/a b", "written %XX" },
    { SINK_WEBHOOK, "https://h/\xc3\xa9", "written %XX" },
    { SINK_WEBHOOK, "https://h/\n", "written %XX" },
    { SINK_WEBHOOK, "https://h/{id}", "written %XX" },
    { SINK_WEBHOOK, "https://h/#top", "no #fragment" },
    { SINK_WEBHOOK, "https://h/%", "two hexadecimal digits" },
    { SINK_WEBHOOK, "https://h/%4", "two hexadecimal digits" },
    { SINK_WEBHOOK, "https://h/%4g", "two hexadecimal digits" },
    { SINK_WEBHOOK, "https://h/a%00b", "two hexadecimal digits" },
    { SINK_REDIS, "redis://:100%@h", "two hexadecimal digits" },
    { SINK_REDIS, "redis://100%:p@h", "two hexadecimal digits" },
    /* paths */
    { SINK_REDIS, "redis://h/one", "the number of a database" },
    { SINK_REDIS, "redis://h/-1", "the number of a database" },
    { SINK_REDIS, "redis://h/0/", "the number of a database" },
    { SINK_REDIS, "redis://h/1234567890", "the number of a database" },
    { SINK_REDIS, "unix:///s?db=x", "the number of a database" },
    { SINK_CELERY, "redis://h/one", "the number of a database" },
    { SINK_KAFKA, "kafka://h/topic", "the topic is an option of its own" },
    /* queries */
    { SINK_REDIS, "redis://h?db=1", "nothing behind ?" },
    { SINK_REDIS, "redis://h/0?global_keyprefix=x", "nothing behind ?" },
    { SINK_REDIS, "unix:///s?db", "nothing behind ?" },
    { SINK_REDIS, "unix:///s?db=%zz", "two hexadecimal digits" },
    { SINK_CELERY, "amqp://h?global_keyprefix=x", "nothing behind ?" },
    { SINK_AMQP, "amqp://h/v?frame_max=1", "nothing behind ?" },
    { SINK_KAFKA, "kafka://u:p@h?mechanism=GSSAPI", "mechanism=PLAIN" },
    { SINK_KAFKA, "kafka://h?mechanism=PLAIN", "for a user" },
    { SINK_KAFKA, "kafka://u:p@h?acks=0", "mechanism=PLAIN" },
    /* lists of brokers */
    { SINK_KAFKA, "kafka://", "the name of a host" },
    { SINK_KAFKA, "kafka://a,", "the name of a host" },
    { SINK_KAFKA, "kafka://,a", "the name of a host" },
    { SINK_KAFKA, "kafka://a:1,b:0", "a port from 1 to 65535" },
    { SINK_KAFKA,
      "kafka://a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,"
      "a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a",
      "at most 64 brokers" },
};

Test(url, what_is_wrong_is_told_by_what_was_expected)
{
    for (size_t i = 0; i < sizeof wrong_urls / sizeof *wrong_urls; i++) {
        struct memory memory = { NULL };
        struct sink_url parts;
        const char *wrong = url_parse(wrong_urls[i].url, wrong_urls[i].kind, &parts, &memory);
        cr_assert_not_null(wrong, "accepted: %s", wrong_urls[i].url);
        cr_expect_not_null(strstr(wrong, wrong_urls[i].want), "%s\n gives: %s\n  want: %s", wrong_urls[i].url, wrong,
                           wrong_urls[i].want);
        memory_free(&memory);
    }
}

Test(url, a_password_is_found_where_it_is_written)
{
    static const struct {
        const char *url, *want; /* NULL: none */
    } rows[] = {
        { "redis://:pw@h", "pw" },     { "redis://u:p%40w:@h/0", "p%40w:" },
        { "redis://u:a@b@h", "a@b" },  { "redis://u@h", NULL },
        { "redis://u:@h", NULL },      { "redis://h/a:b@c", NULL },
        { "https://h?u:p@h", NULL },   { "u:p@h", NULL },
        { "unix://:pw@/run/s", "pw" }, { "redis://h:6379/0", NULL },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t start, size;
        bool found = url_find_password(rows[i].url, &start, &size);
        cr_assert_eq(found, rows[i].want != NULL, "%s", rows[i].url);
        if (found)
            cr_expect(size == strlen(rows[i].want) && strncmp(rows[i].url + start, rows[i].want, size) == 0, "%s",
                      rows[i].url);
    }
}

Test(url, a_url_cut_anywhere_is_read_or_refused)
{
    for (size_t i = 0; i < sizeof right / sizeof *right; i++)
        for (size_t size = 0; size < strlen(right[i].url); size++)
            for (enum sink_kind kind = SINK_WEBHOOK; kind <= SINK_KAFKA; kind++) {
                struct memory memory = { NULL };
                struct sink_url parts = { NULL };
                char *cut = strndup(right[i].url, size);
                if (url_parse(cut, kind, &parts, &memory) == NULL)
                    cr_expect(parts.host != NULL && *parts.host != '\0', "%s", cut);
                free(cut);
                memory_free(&memory);
            }
}

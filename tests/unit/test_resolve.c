/* What is remembered of a name. The names of this test are its own: it stands in for the system's getaddrinfo(). */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netdb.h>
#include <stdatomic.h>
#include <string.h>

#include "proxy/net/resolve.h"

enum { LATER_US = 60 * 1000 * 1000 };

static const char *_Atomic address; /* of every name; NULL: nobody answers */
static atomic_uint asked;

static struct sockaddr_in place;
static struct addrinfo only = { .ai_family = AF_INET,
                                .ai_addrlen = sizeof place,
                                .ai_addr = (struct sockaddr *)&place };

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **result)
{
    (void)node, (void)service, (void)hints;
    asked++;
    if (address == NULL)
        return EAI_AGAIN;
    place = (struct sockaddr_in){ .sin_family = AF_INET };
    cr_assert_eq(inet_pton(AF_INET, address, &place.sin_addr), 1);
    *result = &only;
    return 0;
}

void freeaddrinfo(struct addrinfo *list)
{
    cr_assert_eq(list, &only);
}

struct found {
    struct loop *loop;
    char text[INET_ADDRSTRLEN]; /* "": nowhere */
};

static void on_turn(void *context)
{
    (void)context;
}

static void on_found(void *context, const struct address *list, size_t count, const char *error)
{
    struct found *f = context;
    f->text[0] = '\0';
    if (count > 0)
        inet_ntop(AF_INET, &list[0].in.sin_addr, f->text, sizeof f->text);
    else
        cr_assert_neq(*error, '\0');
    loop_stop(f->loop);
}

/* Asks a minute after the last time. */
static const char *find(struct resolver *r, struct found *f)
{
    f->loop->now_us = loop_now_us(f->loop) + LATER_US;
    f->loop->now_known = true;
    if (resolver_find(r, "db.example", on_found, f) != NULL)
        loop_run(f->loop);
    return f->text;
}

Test(resolve, a_name_that_nobody_can_resolve_any_more_is_where_it_was)
{
    struct loop l;
    loop_init(&l, on_turn, NULL);
    struct resolver *r = resolver_new(&l);
    struct found f = { .loop = &l };
    cr_assert_str_eq(find(r, &f), "");
    address = "192.0.2.1";
    cr_assert_str_eq(find(r, &f), "192.0.2.1");
    address = NULL;
    cr_assert_str_eq(find(r, &f), "192.0.2.1");
    address = "192.0.2.2";
    cr_assert_str_eq(find(r, &f), "192.0.2.2");
    cr_assert_eq(asked, 4);
    resolver_free(r);
    loop_destroy(&l);
}

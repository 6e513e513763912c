#include <criterion/criterion.h>
#include <stdlib.h>

#include "proxy/pool/cancel.h"

static struct address address_of(uint16_t port)
{
    struct address a;
    cr_assert(address_set_ip(&a, "127.0.0.1", port));
    return a;
}

static bool leads_to(uint32_t process_id, struct span secret, uint16_t port)
{
    struct cancel_target target;
    if (!cancel_key_find(process_id, secret, &target))
        return false;
    cr_assert_eq(target.process_id, process_id);
    cr_assert(span_equal(span_make(target.secret, target.secret_size), secret));
    return ntohs(target.address.in.sin_port) == port;
}

Test(cancel, P7_a_key_leads_to_its_server_until_that_is_gone)
{
    struct address a = address_of(1), b = address_of(2);
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
    struct address a = address_of(1);
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
        struct address a = address_of((uint16_t)(i + 1));
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

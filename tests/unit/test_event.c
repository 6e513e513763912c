#include "tests/unit/with_config.h"

#include "config/storage.h"
#include "proxy/events/event.h"

static const unsigned char id[EVENT_ID_SIZE] = { 1, 2, 3 };
static const struct request_names names = { "route", NULL, "shop", "app", "web", "127.0.0.1:53122" };

static unsigned references_of(struct config *c)
{
    return atomic_load(&((struct config_storage *)c)->references);
}

Test(event, a_request_lives_as_long_as_its_last_event_and_keeps_its_config)
{
    struct config *c = config_of(ANY_DATABASE);
    struct request *r = request_new(id, &names, c, 1000);
    struct notification *e = notification_new(id, r, config_channel(c, "x", 1), span_of("x"), span_of("hello"));

    cr_expect_eq(references_of(c), 2);
    request_release(r);
    cr_expect_eq(references_of(c), 2);
    cr_expect_str_eq(e->request->database, "shop");
    cr_expect_str_eq(e->request->label, "", "what is not said is empty");
    notification_free(e);
    cr_expect_eq(references_of(c), 1);
    config_release(c);
}

Test(event, an_event_has_copies_of_its_name_and_payload)
{
    struct config *c = config_of(ANY_DATABASE);
    struct request *r = request_new(id, &names, c, 1000);
    char name[] = "mail", payload[] = "a\0b";
    struct notification *e = notification_new(id, r, config_channel(c, name, 4), span_of(name), span_make(payload, 3));

    memset(name, 'x', sizeof name);
    memset(payload, 'x', sizeof payload);
    cr_expect_str_eq(e->name, "mail");
    cr_expect_eq(e->payload_size, 3);
    cr_expect_eq(memcmp(e->payload, "a\0b", 4), 0, "with a NUL behind it");
    notification_free(e);
    request_release(r);
    config_release(c);
}

Test(event, a_payload_may_be_empty)
{
    struct config *c = config_of(ANY_DATABASE);
    struct request *r = request_new(id, &names, c, 1000);
    struct notification *e = notification_new(id, r, config_channel(c, "x", 1), span_of("x"), span_make(NULL, 0));

    cr_expect_str_eq(e->payload, "");
    notification_free(e);
    notification_free(NULL);
    request_release(r);
    config_release(c);
}

Test(event, a_list_is_freed_whole)
{
    struct config *c = config_of(ANY_DATABASE);
    struct request *r = request_new(id, &names, c, 1000);
    struct notification *first = NULL;

    for (int i = 0; i < 1000; i++) {
        struct notification *e = notification_new(id, r, config_channel(c, "x", 1), span_of("x"), span_of("payload"));
        e->next = first;
        first = e;
    }
    notification_list_free(first);
    notification_list_free(NULL);
    cr_expect_eq(atomic_load(&r->references), 1);
    request_release(r);
    cr_expect_eq(references_of(c), 1);
    config_release(c);
}

Test(event, every_reason_has_the_name_that_the_log_documents)
{
    static const char *const reasons[] = { "rollback", "savepoint", "error",       "disconnect",
                                           "timeout",  "outcome",   "server_lost", "no_outcome" };

    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        cr_expect_str_eq(discard_reason_name((enum discard_reason)i), reasons[i]);
}

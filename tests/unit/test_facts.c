#include <criterion/criterion.h>
#include <stdio.h>

#include "proxy/events/facts.h"

/* "name=value" of each, with a space behind it. */
static void expect_facts(struct request *request, const char *want)
{
    char text[500] = "", channel[] = "mail";
    struct notification e = { .id = { 0x01, 0x92 }, .request = request, .name = channel };
    struct facts facts;
    facts_of(&e, &facts);
    for (size_t i = 0; i < facts.count; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s=%s ", facts.list[i].name, facts.list[i].value);
    cr_expect_str_eq(text, want, "%s", text);
}

Test(facts, an_event_tells_where_it_comes_from)
{
    char route[] = "checkout", label[] = "/checkout/7", database[] = "shop";
    struct request r = { .id = { 0x02 }, .route = route, .label = label, .database = database };
    expect_facts(&r,
                 "id=01920000-0000-0000-0000-000000000000 channel=mail request=02000000-0000-0000-0000-000000000000 "
                 "route=checkout label=/checkout/7 database=shop ");
}

Test(facts, what_is_not_known_is_left_out)
{
    char none[] = "";
    struct request r = { .route = none, .label = none, .database = none };
    expect_facts(&r, "id=01920000-0000-0000-0000-000000000000 channel=mail ");
}

#include <amqp.h>
#include <amqp_framing.h>
#include <criterion/criterion.h>
#include <stdio.h>

#include "proxy/events/amqp_letter.h"
#include "proxy/events/amqp_table.h"

/* --- tables ---------------------------------------------------------------------------------------- */

/* As a broker would read it. */
static void print_value(FILE *out, const amqp_field_value_t *value);

static void print_table(FILE *out, const amqp_table_t *table)
{
    fprintf(out, "{");
    for (int i = 0; i < table->num_entries; i++) {
        fprintf(out, "%s%.*s=", i > 0 ? " " : "", (int)table->entries[i].key.len,
                (const char *)table->entries[i].key.bytes);
        print_value(out, &table->entries[i].value);
    }
    fprintf(out, "}");
}

static void print_value(FILE *out, const amqp_field_value_t *value)
{
    switch (value->kind) {
    case AMQP_FIELD_KIND_TABLE:
        print_table(out, &value->value.table);
        return;
    case AMQP_FIELD_KIND_ARRAY:
        fprintf(out, "[");
        for (int i = 0; i < value->value.array.num_entries; i++) {
            fprintf(out, "%s", i > 0 ? " " : "");
            print_value(out, &value->value.array.entries[i]);
        }
        fprintf(out, "]");
        return;
    case AMQP_FIELD_KIND_UTF8:
        fprintf(out, "'%.*s'", (int)value->value.bytes.len, (const char *)value->value.bytes.bytes);
        return;
    case AMQP_FIELD_KIND_I64:
        fprintf(out, "%lld", (long long)value->value.i64);
        return;
    case AMQP_FIELD_KIND_F64:
        fprintf(out, "%.17g", value->value.f64);
        return;
    case AMQP_FIELD_KIND_BOOLEAN:
        fprintf(out, "%s", value->value.boolean ? "true" : "false");
        return;
    case AMQP_FIELD_KIND_VOID:
        fprintf(out, "void");
        return;
    default:
        fprintf(out, "?%d", value->kind);
    }
}

/* Through the bytes of the wire and back. */
static void expect_table(const char *name, const char *json, const char *want)
{
    amqp_pool_t pool;
    amqp_table_t made, read;
    char wire[4096];
    size_t written = 0, used = 0;
    char *text = NULL;
    size_t text_size = 0;
    json_t *object = json_loads(json, 0, NULL);
    init_amqp_pool(&pool, 4096);
    cr_assert(amqp_table_of_json(object, &pool, &made), "%s", name);
    amqp_bytes_t bytes = { sizeof wire, wire };
    cr_assert_eq(amqp_encode_table(bytes, &made, &written), AMQP_STATUS_OK, "%s", name);
    bytes.len = written;
    cr_assert_eq(amqp_decode_table(bytes, &pool, &read, &used), AMQP_STATUS_OK, "%s", name);
    FILE *out = open_memstream(&text, &text_size);
    print_table(out, &read);
    fclose(out);
    cr_expect_str_eq(text, want, "%s: %s", name, text);
    free(text);
    empty_amqp_pool(&pool);
    json_decref(object);
}

Test(amqp, a_json_object_is_a_table_of_the_same_shape)
{
    static const struct {
        const char *name, *json, *want;
    } rows[] = {
        { "nothing", "{}", "{}" },
        { "text", "{\"a\": \"\", \"b\": \"Grüße\"}", "{a='' b='Grüße'}" },
        { "numbers", "{\"a\": -9223372036854775808, \"b\": 9223372036854775807, \"c\": 0.1, \"d\": 0}",
          "{a=-9223372036854775808 b=9223372036854775807 c=0.10000000000000001 d=0}" },
        { "truth", "{\"a\": true, \"b\": false, \"c\": null}", "{a=true b=false c=void}" },
        { "arrays", "{\"a\": [], \"b\": [null, null], \"c\": [1, \"x\", [2]]}", "{a=[] b=[void void] c=[1 'x' [2]]}" },
        { "tables", "{\"a\": {}, \"b\": {\"c\": {\"d\": [{\"e\": 1}]}}}", "{a={} b={c={d=[{e=1}]}}}" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        expect_table(rows[i].name, rows[i].json, rows[i].want);
}

static bool is_table(json_t *object_take)
{
    amqp_pool_t pool;
    amqp_table_t made;
    init_amqp_pool(&pool, 4096);
    bool is = amqp_table_of_json(object_take, &pool, &made);
    empty_amqp_pool(&pool);
    json_decref(object_take);
    return is;
}

static json_t *nested(unsigned depth)
{
    json_t *value = json_object();
    while (depth-- > 1)
        value = depth % 2 ? json_pack("[o]", value) : json_pack("{s:o}", "in", value);
    return json_pack("{s:o}", "in", value);
}

Test(amqp, a_table_is_not_nested_without_end)
{
    cr_expect(is_table(nested(15)));
    cr_expect_not(is_table(nested(16)));
    cr_expect_not(is_table(nested(1000)));
}

Test(amqp, a_name_in_a_table_has_at_most_255_bytes)
{
    char name[257];
    memset(name, 'x', sizeof name);
    name[255] = '\0';
    cr_expect(is_table(json_pack("{s:i}", name, 1)));
    name[255] = 'x';
    name[256] = '\0';
    cr_expect_not(is_table(json_pack("{s:i}", name, 1)));
}

/* --- letters --------------------------------------------------------------------------------------- */

static const struct channel in_order = { .ordering = ORDERING_CHANNEL }, in_no_order = { .ordering = ORDERING_NONE };

/* Everything that a letter's order depends on. */
struct sample {
    struct notification event;
    struct delivery delivery;
    struct letter letter;
};

static struct letter *letter_of(struct sample *s, const char *channel, uint64_t seen)
{
    s->event = (struct notification){ .channel = &in_order, .name = (char *)channel };
    s->delivery = (struct delivery){ .event = &s->event };
    s->letter = (struct letter){ .delivery = &s->delivery, .seen = seen };
    return &s->letter;
}

Test(amqp, E5_what_was_handed_over_before_a_failure_was_known_is_forbidden)
{
    struct failures failures = { 0 };
    struct sample first, unaware, aware, other, later;
    failures_add(&failures, letter_of(&first, "mail", 0), 1);
    cr_expect(failures_forbid(&failures, letter_of(&unaware, "mail", 0)));
    cr_expect_not(failures_forbid(&failures, letter_of(&aware, "mail", 1)));
    cr_expect_not(failures_forbid(&failures, letter_of(&other, "post", 0)));

    failures_add(&failures, letter_of(&aware, "mail", 1), 2);
    cr_expect(failures_forbid(&failures, letter_of(&later, "mail", 1)), "it failed again");
    failures_forget(&failures, 2);
    cr_expect_null(failures.first);
}

Test(amqp, E5_failures_are_forgotten_when_they_are_known)
{
    struct failures failures = { 0 };
    struct sample a, b;
    failures_add(&failures, letter_of(&a, "a", 0), 1);
    failures_add(&failures, letter_of(&b, "b", 0), 2);
    failures_forget(&failures, 1);
    cr_expect_not(failures_forbid(&failures, &a.letter));
    cr_expect(failures_forbid(&failures, &b.letter));
    failures_forget(&failures, 2);
}

Test(amqp, E5_a_channel_that_keeps_no_order_forbids_nothing)
{
    struct failures failures = { 0 };
    struct sample a, b;
    letter_of(&a, "a", 0);
    letter_of(&b, "a", 0);
    a.event.channel = b.event.channel = &in_no_order;
    failures_add(&failures, &a.letter, 1);
    cr_expect_null(failures.first);
    cr_expect_not(failures_forbid(&failures, &b.letter));
}

Test(amqp, E5_letters_stay_in_order_from_list_to_list)
{
    struct sample samples[4];
    struct letters from, to;
    letters_init(&from);
    letters_init(&to);
    for (int i = 0; i < 4; i++)
        letters_add(i < 2 ? &to : &from, letter_of(&samples[i], "a", (uint64_t)i));
    letters_move(&from, &to);
    letters_move(&from, &to);
    cr_expect_null(from.first);
    for (uint64_t i = 0; i < 4; i++)
        cr_expect_eq(letters_take_first(&to)->seen, i);
    cr_expect_null(to.first);
    letters_add(&to, letter_of(&samples[0], "a", 7));
    cr_expect_eq(letters_take_first(&to)->seen, 7);
}

/* How much a link does for a text: twice the text may cost twice as much, and no more. What is counted are names that are compared or set,
 * and bytes that are read. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "protocol/encoding.h"
#include "protocol/sql_lexer.h"
#include "proxy/link/handles.h"
#include "tests/unit/link_bench.h"

static size_t work;

int __real_strncasecmp(const char *a, const char *b, size_t n);
int __wrap_strncasecmp(const char *a, const char *b, size_t n);
size_t __real_strlen(const char *s);
size_t __wrap_strlen(const char *s);
size_t __real_encoding_count(const struct encoding *e, struct span s);
size_t __wrap_encoding_count(const struct encoding *e, struct span s);
struct shared_statement *__real_handles_set(struct handles *h, struct span name, struct shared_statement *take);
struct shared_statement *__wrap_handles_set(struct handles *h, struct span name, struct shared_statement *take);
struct sql_token __real_sql_lexer_next(struct sql_lexer *l);
struct sql_token __wrap_sql_lexer_next(struct sql_lexer *l);

int __wrap_strncasecmp(const char *a, const char *b, size_t n)
{
    work++;
    return __real_strncasecmp(a, b, n);
}

size_t __wrap_strlen(const char *s)
{
    work++;
    return __real_strlen(s);
}

size_t __wrap_encoding_count(const struct encoding *e, struct span s)
{
    work += s.size;
    return __real_encoding_count(e, s);
}

struct shared_statement *__wrap_handles_set(struct handles *h, struct span name, struct shared_statement *take)
{
    work++;
    return __real_handles_set(h, name, take);
}

struct sql_token __wrap_sql_lexer_next(struct sql_lexer *l)
{
    size_t at = l->at;
    struct sql_token token = __real_sql_lexer_next(l);
    work += l->at - at;
    return token;
}

/* --- what is there before --------------------------------------------------------------------------- */

static void prepare(struct bench *b, const char *name, struct span text)
{
    struct buffer made = { 0 };
    message_add_parse(&made, span_of(name), text);
    message_add_sync(&made);
    bench_send(b, &made);
    message_add_empty(&made, '1');
    message_add_ready(&made, 'I');
    bench_reply(b, &made);
    actions_clear(&b->out);
}

static void prepare_one(struct bench *b, size_t size)
{
    (void)size;
    prepare(b, "a", span_of("SELECT 1"));
}

static void prepare_a_long_one(struct bench *b, size_t size)
{
    struct buffer text = { 0 };
    buffer_append_text(&text, "SELECT 1");
    while (text.size < size)
        buffer_append_text(&text, ",set_config('my.a','1',false)");
    prepare(b, "a", buffer_span(&text));
    buffer_free(&text);
}

static void prepare_many(struct bench *b, size_t size)
{
    for (size_t i = 0; i < size / 100; i++) {
        char name[20];
        snprintf(name, sizeof name, "s%zu", i);
        prepare(b, name, span_of("SELECT 1"));
    }
}

/* --- what comes of it ----------------------------------------------------------------------------------- */

/* Tags for all statements of a text whose statements are these by turns. */
static void complete_both(struct bench *b, const char *first, const char *second, size_t pairs)
{
    struct buffer made = { 0 };
    for (size_t i = 0; i < pairs; i++) {
        message_add_command_complete(&made, span_of(first));
        message_add_command_complete(&made, span_of(second));
    }
    message_add_ready(&made, 'I');
    bench_reply(b, &made);
}

static void complete_prepare_and_all(struct bench *b, size_t units)
{
    complete_both(b, "PREPARE", "DEALLOCATE ALL", units);
}

static void complete_unlistens(struct bench *b, size_t units)
{
    complete_both(b, "UNLISTEN", "SAVEPOINT", units);
}

static void fail(struct bench *b, size_t units)
{
    struct buffer made = { 0 };
    (void)units;
    message_add_error(&made, &(struct message_fault){ "ERROR", "42601", span_of("syntax error"), { 0 }, { 0 } });
    message_add_ready(&made, 'I');
    bench_reply(b, &made);
}

static size_t send_repeated(struct bench *b, const char *unit, size_t size)
{
    struct buffer text = { 0 };
    size_t units = 0;
    for (; text.size < size; units++)
        buffer_append_text(&text, unit);
    buffer_append_u8(&text, '\0');
    bench_send_query(b, text.data);
    buffer_free(&text);
    return units;
}

struct row {
    const char *first, *second; /* texts, each repeated; the second may be NULL */
    void (*before)(struct bench *b, size_t size);
    void (*answer)(struct bench *b, size_t units);
};

static size_t work_for(const struct row *row, size_t size)
{
    struct bench b;
    bench_open(&b, true);
    if (row->before != NULL)
        row->before(&b, size);
    work = 0;
    size_t units = send_repeated(&b, row->first, size);
    if (row->second != NULL)
        send_repeated(&b, row->second, size);
    if (row->answer != NULL)
        row->answer(&b, units);
    size_t done = work;
    bench_close(&b);
    return done;
}

Test(link_work, P2_what_a_text_costs_grows_no_faster_than_its_length)
{
    static const struct row rows[] = {
        { .first = "EXECUTE a;", .before = prepare_one },
        { .first = "EXECUTE a;", .before = prepare_a_long_one },
        { .first = "EXECUTE b;", .before = prepare_many },
        { .first = "EXECUTE pgatomic_0;", .before = prepare_many },
        { .first = "PREPARE a AS SELECT 1;DEALLOCATE ALL;", .answer = complete_prepare_and_all },
        { .first = "PREPARE a AS SELECT 1;DEALLOCATE a;", .second = "DEALLOCATE b;" },
        { .first = "PREPARE a AS SELECT 1;DEALLOCATE a;",
          .second = "PREPARE b AS SELECT 1;DEALLOCATE b;",
          .answer = fail },
        { .first = "UNLISTEN a;SAVEPOINT b;", .answer = complete_unlistens },
        { .first = "RESET my.a;SET my.b = 1;" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t once = work_for(&rows[i], 30000), twice = work_for(&rows[i], 60000);
        cr_expect(once > 0, "%s is not read", rows[i].first);
        cr_expect(twice < once * 5 / 2, "%zu: %s: %zu, then %zu", i, rows[i].first, once, twice);
    }
}

/* Also when the client has set as much as it may. */
Test(link_work, P2_resetting_all_of_many_settings_again_and_again_costs_little)
{
    enum { SETTINGS = 150, BYTES = 20000 };
    struct bench b;
    struct parameters *base = parameters_none();
    for (size_t i = 0; i < SETTINGS; i++) {
        char name[20];
        snprintf(name, sizeof name, "my.a%zu", i);
        base = parameters_with(base, span_of(name), span_of("1"));
    }
    bench_open_with(&b, true, base);
    work = 0;
    send_repeated(&b, "RESET ALL;SET my.b = 1;", BYTES);
    cr_expect_lt(work, 50 * BYTES);
    bench_close(&b);
}

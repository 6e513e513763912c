/* Statements are picked from small tables of shapes, and then dressed: letter case, comments, white space, quoting. */
#include "tests/simulation/client.h"

#include <ctype.h>
#include <stdio.h>

#include "protocol/message.h"

enum { SQL_SIZE = 2000 };

struct text {
    char s[SQL_SIZE];
};

void client_init(struct client *c, uint64_t seed, const struct client_habits *habits)
{
    *c = (struct client){ .chance = { seed }, .habits = *habits, .status = 'I' };
}

static const char *pick(struct client *c, const char *const *from, unsigned count)
{
    return from[chance_below(&c->chance, count)];
}

#define PICK(c, ...) \
    pick(c, (const char *const[]){ __VA_ARGS__ }, sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *))

/* --- statements ---------------------------------------------------------------------------------- */

static void write_modes(struct client *c, struct text *t, const char *word)
{
    const char *modes = "";
    if (chance_percent(&c->chance, c->habits.modes))
        modes = PICK(c, " ISOLATION LEVEL REPEATABLE READ", " ISOLATION LEVEL SERIALIZABLE", " READ ONLY",
                     " READ WRITE", " ISOLATION LEVEL READ COMMITTED", " ISOLATION LEVEL READ COMMITTED READ ONLY");
    snprintf(t->s, sizeof t->s, "%s%s", word, modes);
}

static void write_savepoint(struct client *c, struct text *t)
{
    const char *verb =
        PICK(c, "SAVEPOINT", "SAVEPOINT", "RELEASE", "RELEASE SAVEPOINT", "ROLLBACK TO", "ROLLBACK TO SAVEPOINT");
    if (c->status == 'E' && chance_percent(&c->chance, 70))
        verb = "ROLLBACK TO";
    snprintf(t->s, sizeof t->s, "%s %s", verb, PICK(c, "a", "b", "A", "\"A\""));
}

static void write_control(struct client *c, struct text *t)
{
    bool inside = c->status != 'I';
    if (inside ? chance_percent(&c->chance, c->habits.savepoints)
               : chance_percent(&c->chance, c->habits.savepoints / 8)) {
        write_savepoint(c, t);
        return;
    }
    bool likely = chance_percent(&c->chance, 90) || (inside && c->habits.marks > 0);
    if (inside == likely) {
        const char *end = chance_percent(&c->chance, 60)
                              ? PICK(c, "COMMIT", "COMMIT", "END", "COMMIT WORK", "COMMIT AND NO CHAIN")
                              : PICK(c, "ROLLBACK", "ROLLBACK", "ABORT", "ROLLBACK TRANSACTION");
        if (chance_percent(&c->chance, 8))
            end = PICK(c, "COMMIT AND CHAIN", "ROLLBACK AND CHAIN");
        snprintf(t->s, sizeof t->s, "%s", end);
        return;
    }
    write_modes(c, t, PICK(c, "BEGIN", "BEGIN", "BEGIN", "START TRANSACTION", "BEGIN WORK"));
}

static void write_event(struct client *c, struct text *t)
{
    const char *channel = PICK(c, "mail", "mail", "tasks", "tasks", "other");
    char payload[24];
    snprintf(payload, sizeof payload, "n%u", ++c->next_payload);
    if (chance_percent(&c->chance, 5))
        snprintf(payload, sizeof payload, "same");
    switch (chance_below(&c->chance, 8)) {
    case 0:
        snprintf(t->s, sizeof t->s, "NOTIFY %s", channel);
        break;
    case 1:
        snprintf(t->s, sizeof t->s, "SELECT pg_notify('%s', '%s')", channel, payload);
        break;
    case 2:
        snprintf(t->s, sizeof t->s, "SELECT pg_catalog.pg_notify(E'%s', $$%s$$) AS sent", channel, payload);
        break;
    case 3:
        snprintf(t->s, sizeof t->s, "SELECT pg_notify('%s', '%s')::text", channel, payload);
        break;
    case 4:
        snprintf(t->s, sizeof t->s, "NOTIFY %s, E'%s'", channel, payload);
        break;
    default:
        snprintf(t->s, sizeof t->s, "NOTIFY %s, '%s'", channel, payload);
        break;
    }
}

static void write_session(struct client *c, struct text *t)
{
    unsigned number = chance_below(&c->chance, 100);
    switch (chance_below(&c->chance, c->habits.listens ? 12 : 10)) {
    case 0:
    case 1:
    case 2:
        snprintf(t->s, sizeof t->s, "SET %s%s %s '%u'", PICK(c, "", "", "SESSION "), PICK(c, "my.a", "my.b"),
                 PICK(c, "=", "TO"), number);
        break;
    case 3:
        snprintf(t->s, sizeof t->s, "SET %smy.a = '%u'", c->habits.enclosed ? "" : "LOCAL ", number);
        break;
    case 4:
        snprintf(t->s, sizeof t->s, "RESET %s", PICK(c, "my.a", "my.b"));
        if (c->habits.read_only && chance_percent(&c->chance, 50))
            snprintf(t->s, sizeof t->s, "SET default_transaction_read_only = %s", PICK(c, "on", "off", "off"));
        break;
    case 5:
    case 6:
    case 7:
        snprintf(t->s, sizeof t->s, "SHOW %s",
                 PICK(c, "my.a", "my.b", "my.a", "my.b", "transaction_isolation",
                      c->habits.read_only ? "transaction_read_only" : "my.a"));
        break;
    case 10:
        snprintf(t->s, sizeof t->s, "LISTEN %s", PICK(c, "mail", "other"));
        break;
    case 11:
        snprintf(t->s, sizeof t->s, "UNLISTEN %s", PICK(c, "mail", "other", "*"));
        break;
    case 8:
        snprintf(t->s, sizeof t->s, "SELECT set_config('my.b', '%u', %s)", number,
                 c->habits.enclosed ? "false" : PICK(c, "false", "false", "true"));
        break;
    default:
        snprintf(t->s, sizeof t->s, "%s", PICK(c, "PREPARE q AS SELECT 7", "DEALLOCATE q", "DEALLOCATE ALL"));
        break;
    }
}

static void write_failing(struct client *c, struct text *t)
{
    snprintf(t->s, sizeof t->s, "%s",
             PICK(c, "SELECT 1/0", "SELECT 1/0", "SELEC 1", "SELECT 1 FROM nosuch", "EXECUTE nosuch",
                  "INSERT INTO nosuch VALUES (1)"));
}

static void write_work(struct client *c, struct text *t)
{
    switch (chance_below(&c->chance, 10)) {
    case 0:
    case 1:
    case 2:
    case 3:
        snprintf(t->s, sizeof t->s, "INSERT INTO t VALUES (%u)", ++c->next_row);
        break;
    case 4:
        snprintf(t->s, sizeof t->s, "INSERT INTO %s VALUES (%u)", c->habits.enclosed ? "t" : "d",
                 chance_below(&c->chance, 12));
        break;
    case 5:
        snprintf(t->s, sizeof t->s, "SELECT generate_series(1, %u)", chance_below(&c->chance, c->habits.bulk ? 30 : 4));
        break;
    case 6:
        snprintf(t->s, sizeof t->s, "SELECT %s",
                 PICK(c, "'x; y'", "'BEGIN'", "7", "'it''s'", "E'\\\\'", "$q$;$q$", "'\xc3\xa9'"));
        break;
    case 7:
        snprintf(t->s, sizeof t->s, "%s",
                 PICK(c, "SET CONSTRAINTS ALL IMMEDIATE", "EXECUTE q", "SELECT count(*) FROM d",
                      c->habits.enclosed || c->pipelining ? "SELECT 8" : "VACUUM d"));
        break;
    default:
        snprintf(t->s, sizeof t->s, "SELECT count(*) FROM t");
        break;
    }
}

/* One statement of any sort; `control`: transaction control is welcome. */
static void write_statement(struct client *c, struct text *t, bool control)
{
    const struct client_habits *h = &c->habits;
    unsigned roll = chance_below(&c->chance, 100);
    if (control && chance_percent(&c->chance, h->blocks))
        write_control(c, t);
    else if (roll < h->failing)
        write_failing(c, t);
    else if (roll < h->failing + h->events)
        write_event(c, t);
    else if (roll < h->failing + h->events + h->sessions)
        write_session(c, t);
    else if (roll < h->failing + h->events + h->sessions + h->copies)
        snprintf(t->s, sizeof t->s, "%s", PICK(c, "COPY t TO STDOUT", "COPY t FROM STDIN", "COPY t FROM STDIN"));
    else
        write_work(c, t);
}

static void write_mark(struct client *c, struct text *t)
{
    const char *label = PICK(c, "/atomic/", "/atomic/", "/auto/", "/checkout/");
    switch (chance_below(&c->chance, 10)) {
    case 0:
    case 1:
    case 2:
        snprintf(t->s, sizeof t->s, "SET pgatomic.request = '%s'", label);
        break;
    case 3:
        snprintf(t->s, sizeof t->s, "SELECT set_config('pgatomic.request', '%s', false)", label);
        break;
    case 4:
        snprintf(t->s, sizeof t->s, "SELECT set_config('pgatomic.outcome', '%s', false)",
                 PICK(c, "commit", "rollback"));
        break;
    case 5:
        snprintf(t->s, sizeof t->s, "SET SESSION pgatomic.outcome TO E'commit'");
        break;
    case 6:
        snprintf(t->s, sizeof t->s, "SHOW pgatomic.request");
        break;
    default:
        snprintf(t->s, sizeof t->s, "SET pgatomic.outcome = '%s'", PICK(c, "commit", "commit", "rollback"));
        break;
    }
}

/* --- dressing ------------------------------------------------------------------------------------ */

/* Other letter case outside of quotes, sometimes. */
static void change_case(struct client *c, char *s)
{
    if (!chance_percent(&c->chance, 15) || strpbrk(s, "'\"$"))
        return;
    for (; *s; s++)
        *s = (char)(chance_percent(&c->chance, 50) ? tolower((unsigned char)*s) : toupper((unsigned char)*s));
}

static void dress(struct client *c, struct text *t, struct text *out)
{
    change_case(c, t->s);
    const char *before = "", *after = "";
    if (chance_percent(&c->chance, 15))
        before =
            PICK(c, " ", "\n", "/* a; comment */ ", "-- one line; COMMIT\n", "/* /* nested */ ; */", "/* \xc3\xa9 */ ");
    if (chance_percent(&c->chance, 15))
        after = PICK(c, " ", " -- end", "\n", " /* ' */");
    snprintf(out->s, sizeof out->s, "%s%s%s", before, t->s, after);
}

/* --- the simple protocol ------------------------------------------------------------------------- */

/* The status byte that the client expects behind `sql`, so that the statements of a string make sense together. */
static void foresee(struct client *c, const char *sql)
{
    if (strncasecmp(sql, "BEGIN", 5) == 0 || strncasecmp(sql, "START", 5) == 0)
        c->status = 'T';
    else if (strncasecmp(sql, "COMMIT", 6) == 0 || strncasecmp(sql, "END", 3) == 0 || strcasecmp(sql, "ROLLBACK") == 0)
        c->status = 'I';
}

static bool is_control(const char *sql)
{
    static const char *const words[] = {
        "BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE"
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strncasecmp(sql, words[i], strlen(words[i])) == 0)
            return true;
    return false;
}

static void send_query(struct client *c, struct buffer *out)
{
    struct text one, dressed, all = { "" };
    unsigned count = chance_percent(&c->chance, c->habits.strings) ? 2 + chance_below(&c->chance, 4) : 1;
    c->pipelining = count > 1;
    for (unsigned i = 0; i < count; i++) {
        write_statement(c, &one, count == 1 || c->habits.controls_in_strings);
        if (count > 1)
            foresee(c, one.s);
        dress(c, &one, &dressed);
        size_t used = strlen(all.s);
        const char *end = strstr(dressed.s, "--") && dressed.s[strlen(dressed.s) - 1] != '\n' ? "\n;" : ";";
        snprintf(all.s + used, sizeof all.s - used, "%s%s", dressed.s,
                 i + 1 < count || chance_percent(&c->chance, 20) ? end : "");
    }
    c->pipelining = false;
    if (chance_percent(&c->chance, 2))
        snprintf(all.s, sizeof all.s, "%s", PICK(c, "", ";", " ; ; ", "-- nothing", "/* nothing */"));
    message_add_query(out, span_of(all.s));
}

static void send_copy_data(struct client *c, struct buffer *out)
{
    unsigned rows = chance_below(&c->chance, c->habits.bulk ? 12 : 4);
    for (unsigned i = 0; i < rows; i++) {
        char line[24];
        int size = snprintf(line, sizeof line, "%u\n", ++c->next_row);
        if (chance_percent(&c->chance, 5))
            size = snprintf(line, sizeof line, "wrong\n");
        buffer_append_u8(out, 'd');
        buffer_append_u32(out, (uint32_t)(4 + size));
        buffer_append(out, line, (size_t)size);
    }
    c->unfinished = c->habits.bulk && !c->pipelining && chance_percent(&c->chance, 50);
    if (c->unfinished)
        return;
    if (chance_percent(&c->chance, 85))
        message_add_empty(out, 'c');
    else
        message_add_copy_fail(out, span_of("no more"));
}

/* --- the extended protocol ----------------------------------------------------------------------- */

static void add_bind_values(struct buffer *out, const char *portal, const char *statement, const char *const *values,
                            unsigned count, unsigned format)
{
    buffer_append_u8(out, 'B');
    size_t start = out->size;
    buffer_append_u32(out, 0);
    buffer_append_string(out, span_of(portal));
    buffer_append_string(out, span_of(statement));
    buffer_append_u16(out, 0);
    buffer_append_u16(out, (uint16_t)count);
    for (unsigned i = 0; i < count; i++) {
        buffer_append_u32(out, values[i] ? (uint32_t)strlen(values[i]) : UINT32_MAX);
        if (values[i])
            buffer_append_text(out, values[i]);
    }
    buffer_append_u16(out, (uint16_t)(format > 0));
    if (format > 0)
        buffer_append_u16(out, (uint16_t)(format - 1));
    wire_put_u32(out->data + start, (uint32_t)(out->size - start));
}

/* A statement with parameters; fills their values. */
static unsigned write_parameterised(struct client *c, struct text *t, struct text values[2])
{
    snprintf(values[0].s, sizeof values[0].s, "%s", PICK(c, "mail", "tasks", "other"));
    snprintf(values[1].s, sizeof values[1].s, "n%u", ++c->next_payload);
    switch (chance_below(&c->chance, 4)) {
    case 0:
        snprintf(t->s, sizeof t->s, "SELECT pg_notify($1, $2)");
        return 2;
    case 1:
        snprintf(t->s, sizeof t->s, "SELECT pg_notify('mail', $1)");
        memcpy(&values[0], &values[1], sizeof values[0]);
        return 1;
    case 2:
        snprintf(t->s, sizeof t->s, "SELECT $1::text");
        return 1;
    default:
        snprintf(t->s, sizeof t->s, "INSERT INTO t VALUES ($1)");
        snprintf(values[0].s, sizeof values[0].s, "%u", ++c->next_row);
        return 1;
    }
}

static void write_marked_parameter(struct client *c, struct text *t, struct text values[2])
{
    bool outcome = chance_percent(&c->chance, 60);
    snprintf(t->s, sizeof t->s, "SELECT set_config('pgatomic.%s', $1, false)", outcome ? "outcome" : "request");
    snprintf(values[0].s, sizeof values[0].s, "%s",
             outcome ? PICK(c, "commit", "commit", "rollback") : PICK(c, "/atomic/", "/auto/"));
}

/* Parse, Bind, Describe, Execute of one statement, as drivers do it, or with something missing. */
static void send_extended_statement(struct client *c, bool alone, struct buffer *out)
{
    struct text plain, sql, values[2];
    const char *bound[2] = { values[0].s, values[1].s };
    unsigned parameters = 0;
    if (chance_percent(&c->chance, c->habits.marks)) {
        if (chance_percent(&c->chance, 30)) {
            write_marked_parameter(c, &plain, values);
            parameters = 1;
        } else {
            write_mark(c, &plain);
        }
    } else if (chance_percent(&c->chance, 25)) {
        parameters = write_parameterised(c, &plain, values);
    } else {
        write_statement(c, &plain, alone || !c->habits.lonely_controls);
    }
    foresee(c, plain.s);
    bool control = is_control(plain.s);
    dress(c, &plain, &sql);
    const char *statement = PICK(c, "", "", "", "s1", "s2"), *portal = PICK(c, "", "", "", "", "p1");
    if (control && !c->habits.careless) /* a failed transaction may still hold a portal of that name */
        portal = "";
    bool odd = c->habits.careless && chance_percent(&c->chance, 6);
    bool binds = !odd || chance_percent(&c->chance, 70);
    if (!binds) /* PostgreSQL 15 crashes when it is asked to execute the unnamed portal of a Query that failed */
        portal = "p1";
    bool closes = !c->habits.careless || chance_percent(&c->chance, 80);
    if (statement[0] && closes)
        message_add_close(out, 'S', span_of(statement));
    if (!odd || chance_percent(&c->chance, 70))
        message_add_parse(out, span_of(statement), span_of(sql.s));
    if (chance_percent(&c->chance, 25))
        message_add_describe(out, 'S', span_of(statement));
    if (portal[0] && closes)
        message_add_close(out, 'P', span_of(portal));
    if (binds)
        add_bind_values(out, portal, statement, bound, parameters, chance_below(&c->chance, 4) % 3);
    if (binds && chance_percent(&c->chance, 50))
        message_add_describe(out, 'P', span_of(portal));
    message_add_execute(out, span_of(portal), chance_percent(&c->chance, 10) ? 1 + chance_below(&c->chance, 2) : 0);
    if (strcasestr(sql.s, "FROM STDIN"))
        send_copy_data(c, out);
    if (c->habits.repeats && chance_percent(&c->chance, 5))
        message_add_execute(out, span_of(portal), 0);
}

static void send_pipeline(struct client *c, struct buffer *out)
{
    c->pipelining = true;
    c->parsed = false;
    unsigned count = chance_percent(&c->chance, 60) ? 1 : 1 + chance_below(&c->chance, 5);
    for (unsigned i = 0; i < count; i++) {
        send_extended_statement(c, count == 1, out);
        if (c->habits.flushes && chance_percent(&c->chance, 5))
            message_add_flush(out);
        if (i + 1 < count && chance_percent(&c->chance, 15))
            message_add_sync(out);
    }
    c->open_ended = c->habits.flushes && chance_percent(&c->chance, 8);
    if (c->open_ended)
        message_add_flush(out);
    else
        message_add_sync(out);
    c->pipelining = false;
}

/* As drivers do that ask for the types of a statement first. What runs is what was parsed last, however many turns ago, unless something has
 * taken its place. (Behind a pipeline of which nobody knows whether its Parse was skipped none runs.) */
static void send_part(struct client *c, struct buffer *out)
{
    struct text sql;
    if (!c->parsed || chance_percent(&c->chance, 50)) {
        c->parsed = true;
        snprintf(sql.s, sizeof sql.s, "SELECT %u", ++c->next_row);
        message_add_parse(out, span_of(""), span_of(sql.s));
        message_add_describe(out, 'S', span_of(""));
    } else {
        message_add_bind(out, span_of(""), span_of(""));
        message_add_execute(out, span_of(""), 0);
    }
    message_add_sync(out);
}

/* --- turns --------------------------------------------------------------------------------------- */

static void send_mark(struct client *c, struct buffer *out)
{
    struct text mark, dressed;
    write_mark(c, &mark);
    dress(c, &mark, &dressed);
    message_add_query(out, span_of(dressed.s));
}

void client_turn(struct client *c, struct buffer *out)
{
    const struct client_habits *h = &c->habits;
    c->unfinished = false;
    if (c->copying)
        send_copy_data(c, out);
    else if (!c->open_ended && h->apart > 0 && chance_percent(&c->chance, h->apart))
        send_part(c, out);
    else if (c->open_ended || chance_percent(&c->chance, h->extended))
        send_pipeline(c, out);
    else if (chance_percent(&c->chance, h->marks))
        send_mark(c, out);
    else if (chance_percent(&c->chance, h->resets))
        message_add_query(out, span_of(PICK(c, "DISCARD ALL", "DISCARD ALL", "RESET ALL")));
    else if (chance_percent(&c->chance, h->sleeps))
        message_add_query(out, span_of("SELECT pg_sleep(1)"));
    else
        send_query(c, out);
}

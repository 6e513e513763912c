/* What a server is told of a client's settings (P5).
 *
 *     attached, or between two units    all in which the server differs from the client, one Query in front of the client's statement
 *     behind a reset                    what goes back to the client's startup packet, and nothing else (resets.c)
 *
 * All goes through set_config(), which takes a value as current_setting() gives it, lists included. The role, the encoding and the timeouts
 * bear on how the others are told, and each has its place among them. */
#include <strings.h>

#include "protocol/message.h"
#include "proxy/link/inside.h"

bool settings_is_role(const char *name)
{
    return strcasecmp(name, "role") == 0;
}

/* As a literal of which the meaning does not depend on standard_conforming_strings. */
void settings_append_literal(struct buffer *b, struct span value, const struct encoding *encoding)
{
    bool wide = encoding != NULL && !encoding_is_ascii_safe(encoding);
    buffer_append_text(b, "E'");
    for (size_t at = 0; at < value.size;) {
        size_t size = wide ? encoding_character_size(encoding, span_make(value.data + at, value.size - at)) : 1;
        char c = value.data[at];
        if (size == 1 && (c == '\'' || c == '\\'))
            buffer_append_u8(b, (uint8_t)c);
        buffer_append(b, value.data + at, size);
        at += size;
    }
    buffer_append_text(b, "'");
}

/* The name of a setting as identifiers, each part quoted. */
static void append_name(struct buffer *b, const char *name)
{
    buffer_append_text(b, "\"");
    for (; *name != '\0'; name++) {
        if (*name == '.')
            buffer_append_text(b, "\".\"");
        else if (*name == '"')
            buffer_append_text(b, "\"\"");
        else
            buffer_append_u8(b, (uint8_t)*name);
    }
    buffer_append_text(b, "\"");
}

/* Expressions of one SELECT, which is begun and ended as needed. */
struct list {
    struct buffer *sql;
    bool is_open;
    bool is_local;
};

static void list_add_setting(struct list *list, const struct link *l, const char *name, const char *value)
{
    buffer_append_text(list->sql, list->is_open ? "," : "SELECT ");
    buffer_append_text(list->sql, "pg_catalog.set_config(");
    settings_append_literal(list->sql, span_of(name), l->sql.encoding);
    buffer_append_text(list->sql, ",");
    settings_append_literal(list->sql, span_of(value), l->sql.encoding);
    buffer_append_text(list->sql, list->is_local ? ",true)" : ",false)");
    list->is_open = true;
}

static void list_end(struct list *list)
{
    if (list->is_open)
        buffer_append_text(list->sql, ";");
    list->is_open = false;
}

/* The server reads this in the encoding that it had before, of which nothing is known here: a byte that is no ASCII might swallow the one
 * behind it. No encoding's name has such bytes. */
static void append_encoding(struct buffer *b, const char *name, bool is_local)
{
    buffer_append_text(b, "SELECT pg_catalog.set_config(E'client_encoding',E'");
    for (; *name != '\0'; name++) {
        bool is_plain = (unsigned char)*name < 0x80 && *name != '\'' && *name != '\\';
        buffer_append_u8(b, (uint8_t)(is_plain ? *name : '?'));
    }
    buffer_append_text(b, is_local ? "',true);" : "',false);");
}

/* The server may have been told to begin transactions in a way that makes them wait for those of others (SERIALIZABLE, READ ONLY,
 * DEFERRABLE), or that a standby refuses. */
const char *settings_head(const struct link *l)
{
    static const char *const names[] = { "default_transaction_deferrable", "default_transaction_isolation" };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (parameters_value(l->server->told, span_of(names[i])) != NULL || traces_is_touched(l, span_of(names[i])))
            return "SET TRANSACTION ISOLATION LEVEL READ COMMITTED;";
    return "";
}

void settings_say(struct link *l, struct buffer *sql_take, enum owed_purpose purpose, struct actions *out)
{
    struct buffer made = { 0 };
    message_add_query(&made, buffer_span(sql_take));
    buffer_free(sql_take);
    link_say(out, &made);
    owed_push(&l->owed, OWED_QUERY, purpose);
    l->settling++;
    l->server->unnamed = 0; /* a Query destroys it */
}

/* The client's statement is right behind. If this fails it shall not run as somebody else's, with their settings or their role: the
 * transaction that has failed stands in its way. */
static void say_settings(struct link *l, struct buffer *sql_take, struct actions *out)
{
    struct buffer sql = { 0 };
    buffer_append_text(&sql, settings_head(l));
    buffer_append_text(&sql, "BEGIN;");
    buffer_append_span(&sql, buffer_span(sql_take));
    buffer_append_text(&sql, "COMMIT");
    buffer_free(sql_take);
    settings_say(l, &sql, FOR_SETTINGS, out);
}

static bool is_told(const struct link *l, const struct parameter *p)
{
    const char *told = parameters_value(l->server->told, span_of(p->name));
    return told != NULL && strcmp(told, p->value) == 0;
}

static const char encoding_name[] = "client_encoding";

static bool is_encoding(const char *name)
{
    return strcasecmp(name, encoding_name) == 0;
}

/* These may strike at what tells them: they are let go before all else, and taken last. */
static const char *const timeouts[] = { "statement_timeout", "transaction_timeout" };

enum { TIMEOUTS = sizeof timeouts / sizeof timeouts[0] };

static bool is_timeout(const char *name)
{
    for (size_t i = 0; i < TIMEOUTS; i++)
        if (strcasecmp(name, timeouts[i]) == 0)
            return true;
    return false;
}

static void append_reset(struct buffer *sql, const char *name)
{
    buffer_append_text(sql, "RESET ");
    append_name(sql, name);
    buffer_append_text(sql, ";");
}

static void leave_timeouts(struct link_server *s, struct buffer *sql)
{
    struct span nothing = { 0 };
    for (size_t i = 0; i < TIMEOUTS; i++) {
        if (parameters_value(s->told, span_of(timeouts[i])) == NULL)
            continue;
        append_reset(sql, timeouts[i]);
        s->told = parameters_with(s->told, span_of(timeouts[i]), nothing);
    }
}

/* What may be reset depends on the role, and a role may have allowed what the client's own does not. RESET ALL asks for no permission. */
static void leave_role(struct link_server *s, struct buffer *sql)
{
    if (parameters_value(s->told, span_of("role")) == NULL)
        return;
    buffer_append_text(sql, "RESET ALL;RESET ROLE;");
    parameters_release(s->told);
    s->told = parameters_none();
}

static void append_resets(const struct link *l, struct buffer *sql)
{
    const struct parameters *told = l->server->told;
    for (size_t i = 0; i < parameters_count(told); i++)
        if (parameters_value(l->wanted, span_of(parameters_at(told, i)->name)) == NULL)
            append_reset(sql, parameters_at(told, i)->name);
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static void take_role(struct list *list, const struct link *l, const char *role)
{
    list_end(list);
    list_add_setting(list, l, "role", role != NULL ? role : "none");
    list_end(list);
}

/* Told with the others, each under the role that it was set under. */
static bool is_plain(const struct link *l, const struct parameter *p)
{
    return !is_told(l, p) && !settings_is_role(p->name) && !is_timeout(p->name) && !is_encoding(p->name);
}

static void append_plain(struct list *list, const struct link *l)
{
    for (size_t i = 0; i < parameters_count(l->wanted); i++) {
        const struct parameter *p = parameters_at(l->wanted, i);
        if (p->role == NULL && is_plain(l, p))
            list_add_setting(list, l, p->name, p->value);
    }
}

static void append_of_roles(struct list *list, const struct link *l)
{
    const char *role = NULL, *last = parameters_value(l->wanted, span_of("role"));
    for (size_t i = 0; i < parameters_count(l->wanted); i++) {
        const struct parameter *p = parameters_at(l->wanted, i);
        if (p->role == NULL || !is_plain(l, p))
            continue;
        if (!same_text(role, p->role))
            take_role(list, l, p->role);
        role = p->role;
        list_add_setting(list, l, p->name, p->value);
    }
    if (!same_text(role, last))
        take_role(list, l, last);
}

static void append_timeouts(struct list *list, const struct link *l)
{
    for (size_t i = 0; i < TIMEOUTS; i++) {
        const char *value = parameters_value(l->wanted, span_of(timeouts[i]));
        if (value != NULL)
            list_add_setting(list, l, timeouts[i], value);
    }
}

static void append_settings(const struct link *l, struct buffer *sql)
{
    struct list list = { .sql = sql };
    append_plain(&list, l);
    append_of_roles(&list, l);
    append_timeouts(&list, l);
    list_end(&list);
}

static bool has_other_encoding(const struct link *l)
{
    struct span name = span_of(encoding_name);
    return !same_text(parameters_value(l->wanted, name), parameters_value(l->server->told, name));
}

/* First and by itself when it changes, for the values of the others are read in it. */
static void tell_encoding(struct link *l, struct buffer *sql, struct actions *out)
{
    const char *value = parameters_value(l->wanted, span_of(encoding_name));
    if (value != NULL) {
        append_encoding(sql, value, false);
        traces_follow_sql(l, span_of(encoding_name), span_of(value));
    }
    say_settings(l, sql, out);
}

void settings_tell(struct link *l, struct actions *out)
{
    struct link_server *s = l->server;
    if (!parameters_equal(l->wanted, s->told)) {
        struct buffer sql = { 0 };
        bool encoding_changes = has_other_encoding(l);
        leave_timeouts(s, &sql);
        leave_role(s, &sql);
        append_resets(l, &sql);
        if (encoding_changes || has_other_encoding(l))
            tell_encoding(l, &sql, out);
        append_settings(l, &sql);
        if (sql.size > 0)
            say_settings(l, &sql, out);
    }
    parameters_release(s->told);
    s->told = parameters_retain(l->wanted);
}

/* --- telling again ----------------------------------------------------------------------------------------- */

/* In a transaction of the client's it is too late for that. */
static void append_head(struct buffer *sql, const struct link *l)
{
    if (l->status == 'I')
        buffer_append_text(sql, settings_head(l));
}

static void restore_encoding(struct link *l, const char *name, bool is_local, struct actions *out)
{
    struct buffer sql = { 0 };
    append_head(&sql, l);
    append_encoding(&sql, name, is_local);
    settings_say(l, &sql, FOR_SETTINGS, out);
    traces_follow_sql(l, span_of(encoding_name), span_of(name));
}

/* Which of them `wants` says are added. */
static void append_some(struct list *list, const struct link *l, const struct parameters *what,
                        bool (*wants)(const char *name))
{
    for (size_t i = 0; i < parameters_count(what); i++)
        if (wants(parameters_at(what, i)->name))
            list_add_setting(list, l, parameters_at(what, i)->name, parameters_at(what, i)->value);
}

static bool is_ordinary(const char *name)
{
    return !is_encoding(name) && !settings_is_role(name) && !is_timeout(name);
}

/* One statement each: it succeeds or fails whole, in a transaction of the client's or in one of its own. */
void settings_restore(struct link *l, const struct parameters *what, bool is_local, struct actions *out)
{
    const char *encoding = parameters_value(what, span_of(encoding_name));
    struct buffer sql = { 0 };
    struct list list = { .sql = &sql, .is_local = is_local };
    if (encoding != NULL)
        restore_encoding(l, encoding, is_local, out);
    append_head(&sql, l);
    size_t head = sql.size;
    append_some(&list, l, what, is_ordinary);
    append_some(&list, l, what, settings_is_role);
    append_some(&list, l, what, is_timeout);
    list_end(&list);
    if (sql.size > head)
        settings_say(l, &sql, FOR_SETTINGS, out);
    else
        buffer_free(&sql);
}

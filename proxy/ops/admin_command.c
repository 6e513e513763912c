/* A word decides what a statement is; the rest of it is read by a function of that word. */
#include "proxy/ops/admin_command.h"

#include <stdio.h>
#include <stdlib.h>

#include "protocol/sql_lexer.h"

struct reader {
    struct sql_lexer lexer;
    struct sql_token token; /* the one that is looked at */
    struct admin_command *command;
};

static void advance(struct reader *r)
{
    r->token = sql_lexer_next(&r->lexer);
}

static bool is_end(const struct reader *r)
{
    return r->token.kind == SQL_END || (r->token.kind == SQL_SYMBOL && span_is(r->token.text, ";"));
}

static bool is_symbol(const struct reader *r, const char *symbol)
{
    return r->token.kind == SQL_SYMBOL && span_is(r->token.text, symbol);
}

static bool is_word(const struct reader *r, const char *word)
{
    return r->token.kind == SQL_WORD && sql_word_is(r->token.text, word);
}

static void set_wrong(struct reader *r, const char *what)
{
    r->command->verb = ADMIN_WRONG;
    snprintf(r->command->name, sizeof r->command->name, "%s", what);
}

static void set_unexpected(struct reader *r)
{
    char text[ADMIN_NAME_SIZE];
    if (is_end(r))
        snprintf(text, sizeof text, "syntax error at end of input");
    else
        snprintf(text, sizeof text, "syntax error at or near \"%.*s\"",
                 r->token.text.size < 60 ? (int)r->token.text.size : 60, r->token.text.data);
    set_wrong(r, text);
}

/* A name as written, or between its quotes, of which doubled ones are one. False: it is too long. */
static bool copy_name(char to[ADMIN_NAME_SIZE], struct span text)
{
    char quote = text.size >= 2 && (text.data[0] == '"' || text.data[0] == '\'') ? text.data[0] : '\0';
    size_t size = 0, end = text.size - (quote != '\0');
    for (size_t i = quote != '\0'; i < end; i++) {
        if (size + 1 >= ADMIN_NAME_SIZE)
            return false;
        to[size++] = text.data[i];
        if (quote != '\0' && text.data[i] == quote)
            i++;
    }
    to[size] = '\0';
    return true;
}

static bool read_name(struct reader *r, char to[ADMIN_NAME_SIZE])
{
    bool is_name = r->token.kind == SQL_WORD || r->token.kind == SQL_NAME || r->token.kind == SQL_STRING;
    if (!is_name || !copy_name(to, r->token.text)) {
        set_unexpected(r);
        return false;
    }
    advance(r);
    return true;
}

static void expect_end(struct reader *r)
{
    if (!is_end(r) && r->command->verb != ADMIN_WRONG)
        set_unexpected(r);
}

/* --- what other consoles have --------------------------------------------------------------------------- */

static const struct {
    const char *word, *hint;
} elsewhere[] = {
    { "disable", "Take the database block out of the config, or refuse its clients with a login block of method = "
                 "reject, and RELOAD." },
    { "enable", "Put the database block back into the config and RELOAD." },
    { "suspend", "PAUSE waits for open transactions; `pgatomic run --takeover` replaces a running process." },
    { "wait_close", "SHOW SERVERS tells by connect_time which servers are older than a RECONNECT." },
};

static const struct {
    const char *word, *hint;
} tables_elsewhere[] = {
    { "mem", "The process has VmRSS in /proc, and SHOW SINKS the memory of what waits to be delivered." },
    { "sockets", "SHOW CLIENTS and SHOW SERVERS have the addresses." },
    { "active_sockets", "SHOW CLIENTS and SHOW SERVERS have the addresses." },
    { "fds", "`pgatomic run --takeover` hands sockets over by itself." },
    { "state", "SHOW DATABASES and SHOW POOLS tell what is paused." },
    { "totals", "SHOW STATS has a row for each database." },
    { "prepared_statements", "SHOW CLIENTS tells who is there; statements follow their client from server to server." },
    { "hba", "SHOW CONFIG has the login blocks, which are asked from the first to the last." },
    { "dns_hosts", "Names are resolved anew for each connection." },
    { "dns_zones", "Names are resolved anew for each connection." },
    { "peers", "One process uses all cores, so it has no peers." },
    { "peer_pools", "One process uses all cores, so it has no peers." },
};

static void set_unknown(struct reader *r, const char *hint)
{
    r->command->verb = ADMIN_UNKNOWN;
    snprintf(r->command->name, sizeof r->command->name, "%s", hint);
}

/* --- one function a word ------------------------------------------------------------------------------ */

static void read_show(struct reader *r)
{
    r->command->table = r->token.kind == SQL_WORD ? admin_table_find(r->token.text) : NULL;
    for (size_t i = 0; i < sizeof tables_elsewhere / sizeof *tables_elsewhere; i++)
        if (is_word(r, tables_elsewhere[i].word)) {
            set_unknown(r, tables_elsewhere[i].hint);
            return;
        }
    if (r->command->table == NULL) {
        set_unexpected(r);
        return;
    }
    advance(r);
    expect_end(r);
}

static void read_nothing(struct reader *r)
{
    expect_end(r);
}

static void read_database(struct reader *r)
{
    if (!is_end(r) && read_name(r, r->command->name))
        expect_end(r);
}

/* Elsewhere it takes a database, and ends all that has to do with it. */
static void read_kill(struct reader *r)
{
    if (r->token.kind == SQL_WORD || r->token.kind == SQL_NAME) {
        set_unknown(r, "KILL takes the id of one client, as SHOW CLIENTS has it; PAUSE and RECONNECT take a database.");
        return;
    }
    char digits[ADMIN_NAME_SIZE], *end = digits;
    bool is_number = (r->token.kind == SQL_NUMBER || r->token.kind == SQL_STRING) && copy_name(digits, r->token.text);
    if (is_number && digits[0] >= '0' && digits[0] <= '9')
        r->command->id = strtoull(digits, &end, 10);
    if (end == digits || *end != '\0') {
        set_unexpected(r);
        return;
    }
    advance(r);
    expect_end(r);
}

static void read_shutdown(struct reader *r)
{
    if (is_word(r, "wait_for_clients")) {
        set_unknown(r, "SHUTDOWN WAIT ends each client when it is between requests; `pgatomic run --takeover` replaces "
                       "a running process.");
        return;
    }
    if (is_word(r, "wait") || is_word(r, "wait_for_servers")) {
        r->command->verb = ADMIN_SHUTDOWN_WAIT;
        advance(r);
    }
    expect_end(r);
}

static bool read_mode(struct reader *r)
{
    char text[ADMIN_NAME_SIZE];
    if (!read_name(r, text))
        return false;
    for (int mode = MODE_AUTOCOMMIT; mode <= MODE_SANDBOX; mode++)
        if (strcmp(text, route_mode_name((enum route_mode)mode)) == 0) {
            r->command->mode = (enum route_mode)mode;
            return true;
        }
    set_wrong(r, "expected autocommit, atomic, required or sandbox");
    return false;
}

static bool skip_symbol(struct reader *r, const char *symbol)
{
    if (!is_symbol(r, symbol)) {
        set_unexpected(r);
        return false;
    }
    advance(r);
    return true;
}

/* Behind `route`: .NAME.mode = 'autocommit' */
static void read_route_mode(struct reader *r)
{
    r->command->verb = ADMIN_SET_ROUTE_MODE;
    if (!skip_symbol(r, ".") || !read_name(r, r->command->name) || !skip_symbol(r, "."))
        return;
    if (!is_word(r, "mode")) {
        set_wrong(r, "expected route.NAME.mode: nothing else of a route can be set here");
        return;
    }
    advance(r);
    if (is_word(r, "to"))
        advance(r);
    else if (!skip_symbol(r, "="))
        return;
    if (read_mode(r))
        expect_end(r);
}

/* What drivers set for themselves. */
static bool is_polite_setting(const struct reader *r)
{
    static const char *const names[] = { "application_name",   "client_encoding", "client_min_messages", "datestyle",
                                         "extra_float_digits", "intervalstyle",   "lc_messages",         "search_path",
                                         "statement_timeout",  "timezone",        "idle_session_timeout" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (is_word(r, names[i]))
            return true;
    return false;
}

static void read_set(struct reader *r)
{
    if (is_word(r, "session"))
        advance(r);
    bool is_name = r->token.kind == SQL_WORD || r->token.kind == SQL_NAME;
    if (is_word(r, "route")) {
        advance(r);
        read_route_mode(r);
    } else if (is_polite_setting(r)) {
        r->command->verb = ADMIN_POLITE;
    } else if (is_name) {
        set_unknown(r,
                    "Options are changed in the config, and RELOAD reads it again; here only route.NAME.mode is set.");
    } else {
        set_unexpected(r);
    }
}

static void read_polite(struct reader *r)
{
    (void)r; /* whatever stands behind the word, it is as good as done */
}

static const struct {
    const char *word;
    enum admin_verb verb;
    void (*read)(struct reader *r);
    const char *tag;
} words[] = {
    { "show", ADMIN_SHOW, read_show, "SHOW" },
    { "reload", ADMIN_RELOAD, read_nothing, "RELOAD" },
    { "pause", ADMIN_PAUSE, read_database, "PAUSE" },
    { "resume", ADMIN_RESUME, read_database, "RESUME" },
    { "reconnect", ADMIN_RECONNECT, read_database, "RECONNECT" },
    { "kill", ADMIN_KILL, read_kill, "KILL" },
    { "kill_client", ADMIN_KILL, read_kill, "KILL_CLIENT" },
    { "shutdown", ADMIN_SHUTDOWN, read_shutdown, "SHUTDOWN" },
    { "set", ADMIN_SET_ROUTE_MODE, read_set, "SET" },
    { "begin", ADMIN_POLITE, read_polite, "BEGIN" },
    { "start", ADMIN_POLITE, read_polite, "START TRANSACTION" },
    { "commit", ADMIN_POLITE, read_polite, "COMMIT" },
    { "end", ADMIN_POLITE, read_polite, "COMMIT" },
    { "rollback", ADMIN_POLITE, read_polite, "ROLLBACK" },
    { "abort", ADMIN_POLITE, read_polite, "ROLLBACK" },
    { "reset", ADMIN_POLITE, read_polite, "RESET" },
    { "discard", ADMIN_POLITE, read_polite, "DISCARD ALL" },
    { "deallocate", ADMIN_POLITE, read_polite, "DEALLOCATE" },
    { "unlisten", ADMIN_POLITE, read_polite, "UNLISTEN" },
    { "close", ADMIN_POLITE, read_polite, "CLOSE CURSOR ALL" },
};

static void read_command(struct reader *r)
{
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (is_word(r, words[i].word)) {
            r->command->verb = words[i].verb;
            snprintf(r->command->tag, sizeof r->command->tag, "%s", words[i].tag);
            advance(r);
            words[i].read(r);
            return;
        }
    for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++)
        if (is_word(r, elsewhere[i].word)) {
            set_unknown(r, elsewhere[i].hint);
            return;
        }
    set_unexpected(r);
}

bool admin_command_next(struct span text, size_t *at, struct admin_command *out)
{
    const struct sql_options options = { true, encoding_find(span_of("UTF8")) };
    struct reader r = { .command = out };
    sql_lexer_init(&r.lexer, text, &options);
    size_t start = sql_skip_empty(&r.lexer, *at), next = sql_find_end(&r.lexer, start).next;
    *at = next;
    *out = (struct admin_command){ .verb = ADMIN_EMPTY };
    if (start >= text.size)
        return false;
    sql_lexer_init(&r.lexer, span_make(text.data + start, next - start), &options);
    advance(&r);
    if (is_end(&r))
        return false;
    read_command(&r);
    return true;
}

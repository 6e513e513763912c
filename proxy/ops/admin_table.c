/* A table is its columns and a function below them that writes its rows, in the same order. Here is what tells of pgatomic itself. */
#include "proxy/ops/admin_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "protocol/memory.h"
#include "proxy/version.h"

static const struct admin_column config_columns[] = { TEXT("config"), END };

/* As `pgatomic check` prints it: no secret is among the lines. */
static void fill_config(struct admin_rows *r, const struct snapshot *s, const struct config *config)
{
    (void)s;
    char *text = NULL;
    size_t size = 0;
    FILE *out = or_abort(open_memstream(&text, &size));
    config_print(config, out);
    fclose(out);
    for (char *rest = text, *line; (line = strsep(&rest, "\n")) != NULL && rest != NULL;) {
        rows_begin(r);
        rows_text(r, line);
        rows_end(r);
    }
    free(text);
}

static const struct admin_column version_columns[] = { TEXT("version"), END };

static void fill_version(struct admin_rows *r, const struct snapshot *s, const struct config *config)
{
    (void)s, (void)config;
    rows_begin(r);
    rows_text(r, "pgatomic " PGATOMIC_VERSION);
    rows_end(r);
}

static const struct admin_column help_columns[] = { TEXT("command"), TEXT("what_it_does"), END };

static void write_help(struct admin_rows *r, const char *command, const char *what)
{
    rows_begin(r);
    rows_text(r, command);
    rows_text(r, what);
    rows_end(r);
}

static void fill_help(struct admin_rows *r, const struct snapshot *s, const struct config *config)
{
    (void)s, (void)config;
    const struct admin_table *t;
    for (size_t i = 0; (t = admin_table_at(i)) != NULL; i++) {
        char command[64];
        snprintf(command, sizeof command, "SHOW %s", t->subject);
        write_help(r, command, t->help);
    }
    write_help(r, "RELOAD", "read the config again");
    write_help(r, "SET route.NAME.mode = 'MODE'", "the mode of requests that begin from now on, until the next reload");
    write_help(r, "PAUSE [DATABASE]",
               "hand out no servers; wait until all have come back and are closed, at most drain_timeout");
    write_help(r, "RESUME [DATABASE]", "go on");
    write_help(r, "RECONNECT [DATABASE]", "close every server as soon as it is not in use");
    write_help(r, "KILL ID", "end the client with this id, as in SHOW CLIENTS; also called KILL_CLIENT");
    write_help(r, "SHUTDOWN [WAIT]", "stop now, or when each client is between requests; also called WAIT_FOR_SERVERS");
}

static const struct admin_table own_tables[] = {
    { "CONFIG", "the config as it is understood, without secrets", SNAPSHOT_COUNTS, fill_config, config_columns },
    { "VERSION", "which pgatomic this is", SNAPSHOT_COUNTS, fill_version, version_columns },
    { "HELP", "this list", SNAPSHOT_COUNTS, fill_help, help_columns },
    { .subject = NULL },
};

static const struct admin_table *const lists[] = { admin_request_tables, admin_pool_tables, own_tables };

const struct admin_table *admin_table_at(size_t index)
{
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        for (const struct admin_table *t = lists[i]; t->subject != NULL; t++)
            if (index-- == 0)
                return t;
    return NULL;
}

const struct admin_table *admin_table_find(struct span subject)
{
    const struct admin_table *t;
    for (size_t i = 0; (t = admin_table_at(i)) != NULL; i++)
        if (subject.size == strlen(t->subject) && strncasecmp(subject.data, t->subject, subject.size) == 0)
            return t;
    return NULL;
}

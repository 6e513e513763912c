/* Holds the model of PostgreSQL against the real one: the same random conversations with both, no proxy in between, every reply compared
 * (types, tags, rows, SQLSTATEs and texts of errors, error positions, status bytes), and what was committed.
 *
 *   test_model [FIRST_SEED [COUNT]]         the server is found as libpq finds it (PGHOST, PGPORT, …)
 *
 * libpq opens the connection, for it knows how to log in; from there on bytes are written to its socket directly. */
#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "protocol/message.h"
#include "tests/simulation/block.h"
#include "tests/simulation/client.h"
#include "tests/transcripts/notation.h"

enum { TURNS_MAX = 16, PATIENCE_MS = 5000 };

/* Not both Flush and LISTEN: when an idle server looks for notifications is a matter of time. */
static const struct client_habits habits[] = {
    { .failing = 8,
      .extended = 40,
      .strings = 40,
      .blocks = 25,
      .savepoints = 40,
      .events = 15,
      .sessions = 15,
      .copies = 5,
      .modes = 30,
      .resets = 2,
      .marks = 3,
      .controls_in_strings = true,
      .careless = true,
      .repeats = true,
      .read_only = true,
      .flushes = true },
    { .failing = 15,
      .extended = 70,
      .strings = 20,
      .blocks = 30,
      .savepoints = 30,
      .events = 10,
      .sessions = 10,
      .copies = 8,
      .modes = 10,
      .resets = 2,
      .controls_in_strings = true,
      .careless = true,
      .repeats = true,
      .read_only = true,
      .listens = true },
    { .failing = 5,
      .extended = 0,
      .strings = 70,
      .blocks = 40,
      .savepoints = 50,
      .events = 10,
      .sessions = 20,
      .copies = 3,
      .modes = 50,
      .resets = 2,
      .controls_in_strings = true,
      .careless = true,
      .repeats = true,
      .read_only = true,
      .listens = true },
};

struct conversation {
    uint64_t seed;
    struct client client;
    struct committed database;
    struct backend *model;
    size_t model_seen;
    PGconn *connection, *listener;
    struct buffer received; /* from the real server, not compared yet */
    struct buffer story;    /* what was said, for the report */
};

static void die(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(2);
}

static PGconn *open_connection(const char *parameters)
{
    PGconn *c = PQconnectdb(parameters);
    if (PQstatus(c) != CONNECTION_OK)
        die("cannot connect", PQerrorMessage(c));
    return c;
}

static void run_sql(PGconn *c, const char *sql)
{
    PGresult *r = PQexec(c, sql);
    if (PQresultStatus(r) != PGRES_COMMAND_OK && PQresultStatus(r) != PGRES_TUPLES_OK)
        die(sql, PQresultErrorMessage(r));
    PQclear(r);
}

/* --- the real server ----------------------------------------------------------------------------- */

static void send_all(PGconn *c, struct span bytes)
{
    while (bytes.size > 0) {
        ssize_t n = send(PQsocket(c), bytes.data, bytes.size, MSG_NOSIGNAL);
        if (n < 0 && errno == EPIPE)
            return; /* the comparison will tell */
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            die("send", strerror(errno));
        if (n < 0) {
            poll(&(struct pollfd){ .fd = PQsocket(c), .events = POLLOUT }, 1, PATIENCE_MS);
            continue;
        }
        bytes = span_make(bytes.data + n, bytes.size - (size_t)n);
    }
}

/* False: nothing came in time. */
static bool receive_some(struct conversation *v)
{
    struct pollfd p = { .fd = PQsocket(v->connection), .events = POLLIN };
    if (poll(&p, 1, PATIENCE_MS) <= 0)
        return false;
    char *room = buffer_reserve(&v->received, 65536);
    ssize_t n = recv(p.fd, room, 65536, 0);
    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    v->received.size += (size_t)n;
    return true;
}

/* Whole messages at the start of `bytes`, and their size together. */
static size_t count_messages(struct span bytes, size_t most, size_t *size)
{
    struct frame f;
    size_t count = 0;
    for (*size = 0; count < most && *size < bytes.size; count++, *size += f.bytes.size)
        if (frame_next_whole(backend_messages, span_make(bytes.data + *size, bytes.size - *size), 1 << 30, &f, NULL) !=
            FRAME_OK)
            break;
    return count;
}

/* --- comparing ----------------------------------------------------------------------------------- */

static void tell(struct conversation *v, const char *who, enum speaker from, struct span bytes)
{
    buffer_append_text(&v->story, who);
    notes_print_bytes(from, bytes, &v->story);
    buffer_append_text(&v->story, "\n");
}

static bool compare(struct conversation *v)
{
    struct span want = span_make(v->model->output.data + v->model_seen, v->model->must_be_out - v->model_seen);
    size_t size, wanted = count_messages(want, SIZE_MAX, &size), got = 0;
    while ((got = count_messages(buffer_span(&v->received), wanted, &size)) < wanted)
        if (!receive_some(v))
            break;
    struct notes model = { 0 }, real = { 0 };
    size_t at;
    bool ok = notes_read_bytes(&model, FROM_SERVER, want) &&
              notes_read_bytes(&real, FROM_SERVER, span_make(v->received.data, size)) &&
              notes_match(&model, &real, &at);
    tell(v, "    model  ", FROM_SERVER, want);
    if (!ok)
        tell(v, "    real   ", FROM_SERVER, buffer_span(&v->received));
    notes_free(&model);
    notes_free(&real);
    buffer_consume(&v->received, size);
    v->model_seen = v->model->must_be_out;
    return ok && got == wanted;
}

static bool turn(struct conversation *v)
{
    struct buffer bytes = { 0 };
    client_turn(&v->client, &bytes);
    tell(v, "client     ", FROM_CLIENT, buffer_span(&bytes));
    backend_receive(v->model, buffer_span(&bytes));
    send_all(v->connection, buffer_span(&bytes));
    buffer_free(&bytes);
    v->client.status = v->model->rules->status(v->model);
    v->client.copying = v->model->wait == WAIT_COPY;
    return compare(v);
}

/* Ends whatever the conversation left open, on both sides alike. */
static bool wind_up(struct conversation *v)
{
    struct buffer bytes = { 0 };
    message_add_copy_fail(&bytes, span_of("over"));
    message_add_sync(&bytes);
    message_add_query(&bytes, span_of("ROLLBACK"));
    backend_receive(v->model, buffer_span(&bytes));
    send_all(v->connection, buffer_span(&bytes));
    buffer_free(&bytes);
    return compare(v);
}

static bool same_notifications(struct conversation *v)
{
    run_sql(v->listener, "SELECT 1");
    PGnotify *n;
    bool ok = true;
    size_t count = 0;
    for (; (n = PQnotifies(v->listener)); count++) {
        const struct note_row *m = count < v->database.notes.count ? log_at(&v->database.notes, count) : NULL;
        ok = ok && m && strcmp(m->channel, n->relname) == 0 && strcmp(m->payload, n->extra) == 0;
        PQfreemem(n);
    }
    if (!ok || count != v->database.notes.count)
        buffer_append_text(&v->story, "the listeners of the real server heard something else\n");
    return ok && count == v->database.notes.count;
}

static bool converse(struct conversation *v)
{
    v->model = block_new(&v->database);
    v->model_seen = 0;
    client_init(&v->client, v->seed, &habits[v->seed % (sizeof habits / sizeof *habits)]);
    buffer_clear(&v->story);
    struct buffer start = { 0 };
    message_add_query(&start, span_of("SET my.a = ''"));
    message_add_query(&start, span_of("SET my.b = ''"));
    message_add_query(&start, span_of("SET pgatomic.request = ''"));
    backend_receive(v->model, buffer_span(&start));
    send_all(v->connection, buffer_span(&start));
    buffer_free(&start);
    bool ok = compare(v);
    for (unsigned turns = 2 + chance_below(&v->client.chance, TURNS_MAX); ok && turns > 0; turns--)
        ok = turn(v);
    ok = ok && (v->model->closed || wind_up(v)) && same_notifications(v);
    if (v->model->closed)
        PQreset(v->connection);
    block_free(v->model);
    committed_free(&v->database);
    return ok;
}

/* The next conversation finds tables, session and listeners as the first one did. */
static void clean(struct conversation *v)
{
    run_sql(v->connection, "DISCARD ALL");
    run_sql(v->connection, "TRUNCATE t, d");
}

int main(int argc, char **argv)
{
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1, count = argc > 2 ? strtoull(argv[2], NULL, 10) : 3000;
    PGconn *maker = open_connection("");
    run_sql(maker, "SET client_min_messages = warning");
    run_sql(maker, "DROP DATABASE IF EXISTS model");
    run_sql(maker, "CREATE DATABASE model");
    PQfinish(maker);
    struct conversation v = { .connection = open_connection("dbname=model"),
                              .listener = open_connection("dbname=model") };
    run_sql(v.connection, "CREATE TABLE t (id int)");
    run_sql(v.connection, "CREATE TABLE d (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)");
    run_sql(v.listener, "LISTEN mail; LISTEN tasks; LISTEN other");
    for (v.seed = first; v.seed < first + count; v.seed++) {
        if (!converse(&v)) {
            fprintf(stderr, "seed %llu\n%.*s", (unsigned long long)v.seed, (int)v.story.size, v.story.data);
            printf("%llu passed, 1 failed\n", (unsigned long long)(v.seed - first));
            return 1;
        }
        clean(&v);
    }
    printf("%llu passed, 0 failed: conversations with the model and with PostgreSQL %d\n", (unsigned long long)count,
           PQserverVersion(v.connection) / 10000);
    PQfinish(v.connection);
    PQfinish(v.listener);
    buffer_free(&v.received);
    buffer_free(&v.story);
    return 0;
}

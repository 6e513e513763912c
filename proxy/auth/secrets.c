/* A question goes from the users file to what is kept to the server, and is answered where it first can be.
 *
 * Connections are told their search_path before anything is asked on them: what the query calls is then PostgreSQL's own, or named with its
 * schema, whatever the role or the database would have it be. */
#include "proxy/auth/secrets.h"

#include <openssl/crypto.h>
#include <stdatomic.h>
#include <string.h>

#include "config/users.h"
#include "protocol/encoding.h"
#include "protocol/memory.h"
#include "protocol/scram.h"
#include "proxy/auth/secret_row.h"
#include "proxy/clock.h"
#include "proxy/events/pq_connection.h"
#include "proxy/ops/log.h"

#define SAFE_PATH "SET search_path = pg_catalog"
#define NO_SUCH_USER "there is no such user"

struct secrets_source {
    struct secrets_source *next;
    struct secrets *owner;
    char *conninfo;
    struct pq_connection *pq;
    bool is_safe; /* its search_path is ours */
    struct secret_question *questions;
};

/* Newest first. */
struct secret_kept {
    struct secret_kept *next;
    const struct secrets_source *source;
    char *query, *user;
    char *secret;    /* NULL: none */
    const char *why; /* static */
    uint64_t valid_until_us, kept_us;
};

struct secret_question {
    struct secret_question *next;
    struct secrets_source *source;
    char *query, *user;
    bool dropped; /* nobody wants the answer */
    void (*found)(void *context, const struct secret_answer *answer);
    void *context;
};

/* --- what is kept ---------------------------------------------------------------------------------- */

static void kept_free(struct secret_kept *k)
{
    if (k->secret != NULL)
        OPENSSL_cleanse(k->secret, strlen(k->secret));
    free(k->secret);
    free(k->query);
    free(k->user);
    free(k);
}

static void forget_kept_of(struct secrets *s, const struct secrets_source *source)
{
    for (struct secret_kept **link = &s->newest; *link != NULL;) {
        struct secret_kept *k = *link;
        if (k->source != source) {
            link = &k->next;
            continue;
        }
        *link = k->next;
        kept_free(k);
    }
}

/* Forgets what is too old, and the oldest of what is too many. */
static void purge(struct secrets *s)
{
    uint64_t now_us = loop_now_us(s->loop);
    struct secret_kept **link = &s->newest;
    for (size_t count = 0; *link != NULL && count < SECRETS_KEPT_MOST; count++) {
        if (now_us - (*link)->kept_us >= SECRETS_KEPT_MS * UINT64_C(1000))
            break;
        link = &(*link)->next;
    }
    struct secret_kept *rest = *link;
    *link = NULL;
    while (rest != NULL) {
        struct secret_kept *k = rest;
        rest = k->next;
        kept_free(k);
    }
}

static const struct secret_kept *find_kept(struct secrets *s, const struct secrets_source *source, const char *query,
                                           const char *user)
{
    purge(s);
    const struct secret_kept *k = s->newest;
    while (k != NULL && (k->source != source || strcmp(k->user, user) != 0 || strcmp(k->query, query) != 0))
        k = k->next;
    return k;
}

static const struct secret_kept *keep(const struct secret_question *q, const struct secret_row *row)
{
    struct secrets *s = q->source->owner;
    struct secret_kept *k = or_abort(calloc(1, sizeof *k));
    k->source = q->source;
    k->query = memory_copy_text(q->query);
    k->user = memory_copy_text(q->user);
    k->secret = row->secret != NULL ? memory_copy_text(row->secret) : NULL;
    k->why = row->why;
    k->valid_until_us = row->valid_until;
    k->kept_us = loop_now_us(s->loop);
    k->next = s->newest;
    s->newest = k;
    return k;
}

/* Those of the last verifier that a query has found, on whatever worker: what else it has looks the same, most likely. */
static atomic_uint found_iterations;

static void learn_iterations(const char *secret)
{
    struct scram_verifier v;
    if (scram_verifier_read(span_of(secret), &v))
        atomic_store_explicit(&found_iterations, v.iterations, memory_order_relaxed);
}

static struct secret_answer nobody(const char *why)
{
    return (struct secret_answer){ .state = SECRET_UNKNOWN,
                                   .why = why,
                                   .mock_iterations = atomic_load_explicit(&found_iterations, memory_order_relaxed) };
}

static struct secret_answer answer_of(struct secrets *s, const struct secret_kept *k)
{
    if (k->secret == NULL)
        return nobody(k->why);
    if (k->valid_until_us < clock_to_wall_us(loop_now_us(s->loop)))
        return nobody("the user's password has expired");
    return (struct secret_answer){ .state = SECRET_FOUND, .secret = k->secret };
}

/* --- connections ----------------------------------------------------------------------------------- */

static void on_safe_path(void *context, const PGresult *result, const char *error, const char *sqlstate)
{
    struct secrets_source *source = context;
    (void)error, (void)sqlstate;
    source->is_safe = result != NULL;
}

static void on_connected(void *context)
{
    struct secrets_source *source = context;
    source->is_safe = false;
    pq_connection_ask(source->pq, SAFE_PATH, NULL, false, on_safe_path, source);
}

static struct secrets_source *open_source(struct secrets *s, const struct database *database)
{
    for (struct secrets_source *each = s->sources; each != NULL; each = each->next)
        if (strcmp(each->conninfo, database->control) == 0)
            return each;
    struct secrets_source *source = or_abort(calloc(1, sizeof *source));
    source->owner = s;
    source->conninfo = memory_copy_text(database->control);
    struct pq_options options = { .loop = s->loop,
                                  .resolver = s->resolver,
                                  .role = "auth query",
                                  .name = database->name,
                                  .conninfo = database->control,
                                  .connect_timeout_ms = SECRETS_TIMEOUT_MS,
                                  .answer_timeout_ms = SECRETS_TIMEOUT_MS,
                                  .ends_statements = true,
                                  .on_connected = on_connected,
                                  .context = source };
    source->pq = pq_connection_open(&options);
    source->next = s->sources;
    s->sources = source;
    return source;
}

/* --- questions ------------------------------------------------------------------------------------- */

static void question_free(struct secret_question *q)
{
    struct secret_question **link = &q->source->questions;
    while (*link != q)
        link = &(*link)->next;
    *link = q->next;
    free(q->query);
    free(q->user);
    free(q);
}

void secrets_drop(struct secret_question *q)
{
    if (q != NULL)
        q->dropped = true;
}

/* Closes the one that `link` points to. */
static void close_source(struct secrets *s, struct secrets_source **link)
{
    struct secrets_source *source = *link;
    *link = source->next;
    pq_connection_close(source->pq);
    while (source->questions != NULL)
        question_free(source->questions);
    forget_kept_of(s, source);
    free(source->conninfo);
    free(source);
}

void secrets_free(struct secrets *s)
{
    while (s->sources != NULL)
        close_source(s, &s->sources);
}

static bool is_awaited(const struct secrets_source *source)
{
    for (const struct secret_question *q = source->questions; q != NULL; q = q->next)
        if (!q->dropped)
            return true;
    return false;
}

void secrets_reload(struct secrets *s, const struct config *config)
{
    for (struct secrets_source **link = &s->sources; *link != NULL;) {
        bool is_named = *config->auth_query != '\0' && config_names_control(config, (*link)->conninfo);
        if (is_named || is_awaited(*link))
            link = &(*link)->next;
        else
            close_source(s, link);
    }
}

static struct secret_answer fail(const struct secret_question *q, const char *sqlstate, const char *why)
{
    LOG(LOG_ERROR, "auth query failed", log_text("user", q->user), log_text("sqlstate", sqlstate),
        log_text("error", why));
    return (struct secret_answer){ .state = SECRET_FAILED,
                                   .sqlstate = sqlstate[0] == '\0' ? "08006" : "28000",
                                   .message = "the user's password could not be looked up" };
}

static struct secret_answer read_answer(const struct secret_question *q, const PGresult *result)
{
    struct secret_row row;
    if (!q->source->is_safe)
        return fail(q, "28000", "the connection's search_path could not be set");
    if (!secret_row_read(result, q->user, &row))
        return fail(q, "28000", row.why);
    if (row.secret != NULL)
        learn_iterations(row.secret);
    return answer_of(q->source->owner, keep(q, &row));
}

static void on_answer(void *context, const PGresult *result, const char *error, const char *sqlstate)
{
    struct secret_question *q = context;
    if (!q->dropped) {
        struct secret_answer answer = result != NULL ? read_answer(q, result) : fail(q, sqlstate, error);
        q->found(q->context, &answer);
    }
    question_free(q);
}

static struct secret_question *ask(struct secrets_source *source, const char *query, const char *user)
{
    struct secret_question *q = or_abort(calloc(1, sizeof *q));
    struct pq_values values = { 0 };
    q->source = source;
    q->query = memory_copy_text(query);
    q->user = memory_copy_text(user);
    q->next = source->questions;
    source->questions = q;
    pq_values_add_text(&values, span_of(q->user));
    pq_connection_ask(source->pq, q->query, &values, true, on_answer, q);
    return q;
}

/* --- the whole ------------------------------------------------------------------------------------- */

static bool is_utf8(const char *user)
{
    struct buffer copy = { 0 };
    bool is = encoding_to_utf8(encoding_utf8(), span_of(user), &copy);
    buffer_free(&copy);
    return is;
}

/* What can be said without asking anybody. */
static bool answer_at_once(const struct config *config, const struct database *database, const char *user,
                           struct secret_answer *out)
{
    bool has_query = *config->auth_query != '\0';
    const char *secret = config->users != NULL ? users_password(config->users, user) : NULL;
    *out = (struct secret_answer){ .state = SECRET_UNKNOWN,
                                   .why = NO_SUCH_USER,
                                   .mock_iterations = config->users != NULL ? users_usual_iterations(config->users) : 0,
                                   .unknown_is_plain =
                                       !has_query && config->users != NULL && users_are_mostly_plain(config->users) };
    if (secret != NULL) {
        out->state = SECRET_FOUND;
        out->secret = secret;
    } else if (has_query && (database == NULL || database->control == NULL)) {
        out->why = "the users file has no such user, and the database no control connection to ask on";
    } else if (has_query && is_utf8(user)) {
        return false;
    }
    return true;
}

struct secret_question *secrets_find(struct secrets *s, const struct config *config, const struct database *database,
                                     const char *user, void (*found)(void *context, const struct secret_answer *answer),
                                     void *context)
{
    struct secret_answer answer;
    if (answer_at_once(config, database, user, &answer)) {
        found(context, &answer);
        return NULL;
    }
    struct secrets_source *source = open_source(s, database);
    const struct secret_kept *kept = find_kept(s, source, config->auth_query, user);
    if (kept != NULL) {
        answer = answer_of(s, kept);
        found(context, &answer);
        return NULL;
    }
    struct secret_question *q = ask(source, config->auth_query, user); /* is not answered before this returns */
    q->found = found;
    q->context = context;
    return q;
}

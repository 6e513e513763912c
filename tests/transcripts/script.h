/* A transcript file, read.
 *
 *   # R7: a client transaction inside an atomic request is a savepoint      the rule and what it says: the test's name
 *   route "web" { mode = atomic  end = commit }                             config blocks, as in a config file
 *   startup application=shop label=/checkout/                               how the client connected; all of it optional
 *
 *   client   Q "BEGIN"                     the client sends (notation.h says how messages are written)
 *   server>  Q "BEGIN"                     what the session has sent to the server since the last `server>`, exactly
 *   server<  C "BEGIN" Z T                 the server answers
 *   client<  C "BEGIN" Z T                 what the client has been sent since the last `client<`
 *
 * Without any `server<` line a model of PostgreSQL plays the server; `server>` may still be asked. Further lines:
 *
 *   time 30s               that much time passes            finish        the model's pg_sleep() ends
 *   shut down              whoever runs the proxy ends the session (KILL, drain_timeout, SIGINT)
 *   no server 53300 "why"  from here on no server is to be had for what the session says (P3)
 *   server back            from here on one is
 *   cancelled              the session asked for a cancel of the server's statement, and it is carried out
 *   client lost            server lost "why"                closed        the session has closed both connections
 *   event held CHANNEL "payload" | event released … | event discarded REASON …
 *   request begun [ROUTE ["label"]] | request committed … | request rolled_back REASON …
 *   commit_failed          a COMMIT failed with nobody left to tell (R5)
 *   commit_unknown         nobody knows whether it was committed (E9)
 *   asked [700] [row]      the session wants to know what became of transaction 700, or of the row that it wrote (E9)
 *   outcome committed | rolled_back | unknown      and is told
 *   table 1 2 3            all that the model has committed to its table t, in order
 *   notified CHANNEL "payload" …           all that the model has delivered to other listeners
 *   rows CHANNEL "payload" …               all rows of pgatomic.outbox that the model has committed; one whose payload is
 *                                          "forbidden" cannot be written
 *
 * A file that speaks of events has to name all of them, in order; so with requests. A line that begins with white space
 * continues the one above it. */
#ifndef TESTS_TRANSCRIPTS_SCRIPT_H
#define TESTS_TRANSCRIPTS_SCRIPT_H

#include "config/config.h"
#include "protocol/buffer.h"

enum step_kind {
    STEP_CLIENT_SENDS,
    STEP_CLIENT_GETS,
    STEP_SERVER_SENDS,
    STEP_SERVER_GETS,
    STEP_CLIENT_LOST,
    STEP_SERVER_LOST,
    STEP_SHUT_DOWN,
    STEP_NO_SERVER,
    STEP_SERVER_BACK,
    STEP_TIME,
    STEP_FINISH,
    STEP_CANCELLED,
    STEP_CLOSED,
    STEP_EVENT,
    STEP_REQUEST,
    STEP_COMMIT_FAILED,
    STEP_COMMIT_UNKNOWN,
    STEP_TABLE,
    STEP_NOTIFIED,
    STEP_ROWS,
    STEP_ASKED,
    STEP_OUTCOME
};

struct step {
    enum step_kind kind;
    unsigned line;
    char *text; /* what follows the keyword */
};

struct script {
    const char *file;
    char *name;
    char *startup; /* "key=value …" */
    struct config *config;
    struct step *steps;
    size_t count;
};

/* Exits with a message when the file cannot be read or understood. */
void script_read(struct script *s, const char *file);
void script_free(struct script *s);
/* The value of `key` in the startup line, in static storage; NULL: not said. */
const char *script_startup(const struct script *s, const char *key);

#endif

/* A random client: writes, turn by turn, what an application might send, and now and then what none should.
 *
 * A turn is what is sent without waiting for an answer: a Query, or extended messages up to a Sync or a Flush, or COPY data. The
 * client looks at the last ReadyForQuery, so that it mostly says what makes sense where it is. */
#ifndef TESTS_SIMULATION_CLIENT_H
#define TESTS_SIMULATION_CLIENT_H

#include "protocol/buffer.h"
#include "tests/simulation/random.h"

struct client_habits {
    unsigned marks;           /* percent of turns that are a mark */
    unsigned failing;         /* percent of statements that fail */
    unsigned extended;        /* percent of turns in the extended protocol */
    unsigned strings;         /* percent of Queries that hold several statements */
    unsigned blocks;          /* percent of statements that are transaction control */
    unsigned savepoints;      /* percent of those that are about savepoints */
    unsigned events;          /* percent of statements that notify */
    unsigned sessions;        /* percent of statements that are session commands */
    unsigned sleeps;          /* percent of turns that are a SELECT pg_sleep() */
    unsigned copies;          /* percent of statements that are a COPY */
    unsigned modes;           /* percent of BEGINs with an isolation or access mode */
    unsigned resets;          /* percent of turns that are DISCARD ALL or RESET ALL */
    unsigned apart;           /* percent of turns that only parse the unnamed statement, or only run it */
    bool controls_in_strings; /* BEGIN, COMMIT, … among the statements of a string */
    bool bulk;                /* long results, and long COPYs, which take several turns */
    bool read_only;           /* asks whether transactions are, and makes them */
    bool listens;             /* LISTEN among the session commands */
    bool lonely_controls;     /* BEGIN, COMMIT, … not together with others in a pipeline */
    bool careless;            /* forgets a Parse, a Bind or a Close */
    bool repeats;             /* executes a portal again */
    bool flushes;             /* turns that end in Flush */
    bool enclosed; /* knows that no transaction ends: no VACUUM, no deferred constraints, nothing LOCAL to one */
};

struct client {
    struct chance chance;
    struct client_habits habits;
    unsigned next_row, next_payload;
    char status;  /* of the last ReadyForQuery; told by whoever drives it */
    bool copying; /* the server waits for COPY data */
    bool
        pipelining; /* writes a pipeline, where PostgreSQL knows of statements that a proxy answered, and its own VACUUM does not */
    bool
        unfinished; /* the last turn ended within the data of a COPY: it waits, for the next thing it hears may be that it has failed */
    bool open_ended; /* the last turn ended in Flush, not Sync */
    bool parsed; /* a turn that only parsed was the last one in the extended protocol but for those that only ran it */
};

void client_init(struct client *c, uint64_t seed, const struct client_habits *habits);
/* Appends the bytes of the next turn. */
void client_turn(struct client *c, struct buffer *out);

#endif

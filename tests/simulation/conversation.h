/* One conversation: a random client, the session, the model of PostgreSQL behind it, and the oracle beside it. */
#ifndef TESTS_SIMULATION_CONVERSATION_H
#define TESTS_SIMULATION_CONVERSATION_H

#include <stdio.h>

#include "tests/simulation/scenario.h"

enum { CONVERSATION_TURNS_MAX = 16 };

struct verdict {
    bool ok;
    unsigned turns;
    char why[400];
};

/* Holds the conversation of `seed`. Turns whose bit is set in `without` are not taken, which is how a failing one is made
 * shorter. With `story` everything that is said is written there, as in a transcript. */
struct verdict converse(uint64_t seed, uint32_t without, FILE *story);

#endif

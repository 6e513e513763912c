#include "tests/simulation/scenario.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* What all scenarios have: marks choose among the first three routes, everything else finds the connection's own. */
static const char common[] =
    "database \"*\" { upstream = \"host=127.0.0.1\" %s }\n"
    "sink \"log\" { type = log }\n"
    "channel \"tasks\" { sink = {\"log\"} forward = off %s }\n"
    "channel \"mail\" { sink = {\"log\"} %s }\n"
    "route \"atomic\" { match = \"/atomic/\" mode = atomic end = rollback }\n"
    "route \"checkout\" { match = \"/checkout/\" mode = atomic end = commit on_error = rollback_statement }\n"
    "route \"auto\" { match = \"/auto/\" mode = autocommit }\n"
    "route \"connection\" { %s }\n%s";

#define BULK .failing = 3, .events = 10, .sessions = 5, .copies = 45, .blocks = 15, .savepoints = 40, .bulk = true
#define USUAL .failing = 8, .events = 20, .sessions = 12, .copies = 4, .blocks = 25, .savepoints = 40

static struct scenario scenarios[] = {
    { .name = "autocommit",
      .rules = "mode = autocommit",
      .habits = { USUAL, .extended = 40, .strings = 40, .modes = 10, .controls_in_strings = true, .listens = true,
                  .flushes = true, .resets = 2 } },
    { .name = "autocommit, careless clients",
      .rules = "mode = autocommit",
      .habits = { .failing = 8,
                  .sessions = 12,
                  .copies = 4,
                  .blocks = 25,
                  .savepoints = 40,
                  .extended = 60,
                  .strings = 20,
                  .modes = 10,
                  .controls_in_strings = true,
                  .careless = true,
                  .listens = true,
                  .flushes = true } },
    { .name = "atomic, end = commit", .rules = "mode = atomic end = commit", .habits = { USUAL } },
    { .name = "atomic, end = rollback",
      .rules = "mode = atomic end = rollback",
      .habits = { USUAL, .strings = 30, .resets = 3 } },
    { .name = "atomic, extended", .rules = "mode = atomic end = commit", .habits = { USUAL, .extended = 100 } },
    { .name = "rollback_statement",
      .rules = "mode = atomic end = commit on_error = rollback_statement",
      .habits = { USUAL, .extended = 40, .strings = 20 } },
    { .name = "join",
      .rules = "mode = atomic end = commit nested = join",
      .habits = { USUAL, .extended = 40, .strings = 20, .lonely_controls = true } },
    { .name = "refuse",
      .rules = "mode = atomic end = commit nested = refuse",
      .habits = { USUAL, .extended = 40, .strings = 20 } },
    { .name = "required",
      .rules = "mode = required",
      .habits = { USUAL, .extended = 40, .strings = 20, .lonely_controls = true } },
    { .name = "sandbox",
      .rules = "mode = sandbox",
      .habits = { USUAL, .extended = 40, .strings = 20, .lonely_controls = true, .enclosed = true },
      .sandbox = true },
    { .name = "durable, autocommit",
      .rules = "mode = autocommit",
      .habits = { USUAL, .extended = 40, .strings = 40, .controls_in_strings = true, .flushes = true, .resets = 2 },
      .durable = true },
    { .name = "durable, autocommit, extended",
      .rules = "mode = autocommit",
      .habits = { USUAL, .extended = 100, .flushes = true },
      .durable = true },
    { .name = "durable, atomic",
      .rules = "mode = atomic end = commit",
      .habits = { USUAL, .extended = 40, .strings = 30, .resets = 3 },
      .durable = true },
    { .name = "durable, rollback_statement",
      .rules = "mode = atomic end = commit on_error = rollback_statement",
      .habits = { USUAL, .strings = 20 },
      .durable = true },
    { .name = "durable, join",
      .rules = "mode = atomic end = commit nested = join",
      .habits = { USUAL, .extended = 40, .strings = 20, .lonely_controls = true },
      .durable = true },
    { .name = "durable, marked",
      .rules = "mode = autocommit",
      .habits = { USUAL, .marks = 30 },
      .patient = true,
      .durable = true },
    { .name = "pooled, autocommit",
      .rules = "mode = autocommit",
      .habits = { USUAL, .extended = 50, .strings = 30, .modes = 10, .controls_in_strings = true, .listens = true,
                  .flushes = true, .resets = 3 },
      .pooled = true },
    { .name = "pooled, autocommit, extended",
      .rules = "mode = autocommit",
      .habits = { .failing = 8,
                  .sessions = 25,
                  .copies = 4,
                  .blocks = 25,
                  .savepoints = 30,
                  .extended = 90,
                  .strings = 20,
                  .controls_in_strings = true,
                  .apart = 25,
                  .flushes = true },
      .pooled = true },
    { .name = "pooled, atomic",
      .rules = "mode = atomic end = commit",
      .habits = { USUAL, .extended = 60, .strings = 20, .resets = 5 },
      .pooled = true },
    { .name = "pooled, marked",
      .rules = "mode = autocommit",
      .habits = { USUAL, .marks = 30 },
      .patient = true,
      .pooled = true },
    { .name = "bulk, autocommit",
      .rules = "mode = autocommit",
      .habits = { BULK, .extended = 40, .strings = 30, .controls_in_strings = true, .flushes = true, .resets = 2 } },
    { .name = "bulk, rollback_statement",
      .rules = "mode = atomic end = commit on_error = rollback_statement",
      .habits = { BULK, .extended = 40, .strings = 20 } },
    { .name = "bulk, durable, atomic",
      .rules = "mode = atomic end = commit",
      .habits = { BULK, .extended = 40, .strings = 20 },
      .durable = true },
    { .name = "bulk, sandbox",
      .rules = "mode = sandbox",
      .habits = { BULK, .extended = 40, .strings = 20, .lonely_controls = true, .enclosed = true },
      .sandbox = true },
    { .name = "bulk, pooled, autocommit",
      .rules = "mode = autocommit",
      .habits = { BULK, .extended = 50, .strings = 20, .listens = true, .flushes = true, .resets = 3 },
      .pooled = true },
    { .name = "bulk, pooled, atomic",
      .rules = "mode = atomic end = commit",
      .habits = { BULK, .extended = 50, .strings = 20 },
      .pooled = true },
    { .name = "marked", .rules = "mode = autocommit", .habits = { USUAL, .marks = 30 }, .patient = true },
};

unsigned scenario_count(void)
{
    return sizeof scenarios / sizeof *scenarios;
}

const struct scenario *scenario_get(unsigned i)
{
    return &scenarios[i % scenario_count()];
}

static struct config *read_config(const struct scenario *s)
{
    char path[] = "/tmp/simulation-config-XXXXXX";
    int fd = mkstemp(path);
    const char *control = s->durable ? "control = \"host=127.0.0.1 dbname=shop\"" : "";
    const char *delivery = s->durable ? "delivery = outbox" : "";
    const char *outbox = s->durable ? "outbox \"shop\" { upstream = \"host=127.0.0.1 dbname=shop\" }\n"
                                      "channel \"*\" { sink = {\"log\"} delivery = outbox }\n"
                                    : "";
    if (fd < 0 || dprintf(fd, common, control, delivery, delivery, s->rules, outbox) < 0) {
        perror(path);
        exit(2);
    }
    close(fd);
    struct config *c = config_read(path, stderr);
    unlink(path);
    if (!c)
        exit(2);
    return c;
}

void scenario_read_all(void)
{
    for (unsigned i = 0; i < scenario_count(); i++)
        scenarios[i].config = read_config(&scenarios[i]);
}

void scenario_free_all(void)
{
    for (unsigned i = 0; i < scenario_count(); i++)
        config_release(scenarios[i].config);
}

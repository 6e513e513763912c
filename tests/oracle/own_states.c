/* The lines of peer_states.c, from the scanner under test. */
#include "protocol/statement_state.h"
#include "tests/oracle/peer.h"

struct lines {
    struct buffer *out;
    const struct sql_options *options;
};

static void add_named(const struct lines *lines, const struct statement_state *state, const char *kind)
{
    buffer_format(lines->out, "%s ", kind);
    statement_state_name(state, lines->options, lines->out);
}

/* Whether a pin comes from set_config or from SET, and what is set by it, is one line to both. */
static void add_setting(const struct lines *lines, const struct statement_state *state)
{
    if (!state->is_whole)
        buffer_append_text(lines->out, "set_config");
    else
        add_named(lines, state, state->is_default ? "reset" : "set");
}

static void add_pin(const struct lines *lines, const struct statement_state *state)
{
    if (state->cause == STATE_UNKNOWN_SETTING)
        buffer_append_text(lines->out, "set_config");
    else
        buffer_append_text(lines->out, statement_state_cause(state->cause));
}

static void add_line(void *owner, const struct statement_state *state)
{
    struct lines *lines = owner;
    switch (state->kind) {
    case STATE_SETTING:
        add_setting(lines, state);
        break;
    case STATE_LOCAL_SETTING: /* nothing is left of it */
        return;
    case STATE_RESET_ALL:
        buffer_append_text(lines->out, "reset all");
        break;
    case STATE_DISCARD_ALL:
        buffer_append_text(lines->out, "discard all");
        break;
    case STATE_DISCARD_PLANS:
        buffer_append_text(lines->out, "discard plans");
        break;
    case STATE_DISCARD_SEQUENCES:
        buffer_append_text(lines->out, "discard sequences");
        break;
    case STATE_DISCARD_TEMP:
        buffer_append_text(lines->out, "discard temp");
        break;
    case STATE_PREPARE:
        add_named(lines, state, "prepare");
        break;
    case STATE_EXECUTE:
        add_named(lines, state, "execute");
        break;
    case STATE_DEALLOCATE:
        add_named(lines, state, "deallocate");
        break;
    case STATE_DEALLOCATE_ALL:
        buffer_append_text(lines->out, "deallocate -");
        break;
    case STATE_LISTEN:
        add_named(lines, state, "listen");
        break;
    case STATE_UNLISTEN:
        add_named(lines, state, "unlisten");
        break;
    case STATE_UNLISTEN_ALL:
        buffer_append_text(lines->out, "unlisten -");
        break;
    case STATE_PIN:
        add_pin(lines, state);
        break;
    }
    buffer_append_text(lines->out, "\n");
}

void own_states(struct span text, const struct sql_options *options, struct buffer *out)
{
    struct lines lines = { out, options };
    statement_states(text, options, add_line, &lines);
}

/* A notification: watched, answered here, or left to the server (E1, E7, E10). */
#include "proxy/session/decision.h"

/* The rows of one transaction have to fit into a message to the server, written out in full. */
enum { DURABLE_BYTES_MAX = 64 << 20 };

static bool over_the_limits(struct decision *d, const struct channel *channel, size_t payload)
{
    const struct session *s = d->s;
    if (durable_is(d, channel) && s->txn.bytes + d->held_bytes + payload > DURABLE_BYTES_MAX) {
        decide_refuse(d, "54000", "the durable events of one request are larger than 64 MB");
        return true;
    }
    if (payload > s->config->limits.event) {
        decide_refuse(d, "54000", "event is larger than limits.event allows");
        return true;
    }
    if (decision_captured(d) >= s->config->limits.events_per_request) {
        decide_refuse(d, "54000", "too many events in one request: limits.events_per_request");
        return true;
    }
    return false;
}

/* Rather than the proxy running out of memory (E13); what its transaction has captured so far will come to the sink at once. */
static bool sink_is_behind(struct decision *d, const struct channel *channel, size_t payload)
{
    const struct session *s = d->s;
    const char *name = s->sink_behind ? s->sink_behind(s->context, channel, s->txn.bytes + payload) : NULL;
    if (!name)
        return false;
    struct buffer message = { 0 };
    buffer_format(&message, "sink \"%s\" is behind: limits.held", name);
    buffer_append_u8(&message, '\0');
    decide_refuse(d, "54000", message.data);
    buffer_free(&message);
    return true;
}

/* A durable event has its id from here on, for its row may be written before the statement is confirmed. */
static void hold(struct decision *d, struct step *step, const struct channel *channel,
                 const struct arguments *arguments)
{
    step->channel = channel;
    step->name = plan_keep(d->plan, arguments->first);
    step->payload = plan_keep(d->plan, arguments->second);
    if (durable_is(d, channel)) {
        unsigned char id[EVENT_ID_SIZE];
        d->s->new_id(d->s->context, id);
        step->id = plan_keep(d->plan, span_make((const char *)id, sizeof id));
        d->held_bytes += arguments->second.size;
    }
}

static void reply_to_notify(struct decision *d, struct step *step, const struct statement *st)
{
    if (st->kind == STATEMENT_NOTIFY)
        decision_reply_tag(d, step, "NOTIFY");
    else
        decision_reply_row_complete(d, step, st, "pg_notify", st->cast_text, span_of(""));
}

/* A statement fails when the implicit transaction that ends with it does. So one of ours takes its place on the server, and the
 * completion of this one waits for it; a row is there before. */
static struct step *hold_at_the_end(struct decision *d, const struct statement *st)
{
    bool row = st->kind == STATEMENT_PG_NOTIFY;
    if (row)
        decision_reply_row(d, decision_local(d, EFFECT_NONE), st, "pg_notify", st->cast_text, span_of(""));
    decision_hidden(d, GUARD, EFFECT_NONE);
    struct step *step = decision_local(d, EFFECT_HOLD);
    decision_reply_tag(d, step, row ? "SELECT 1" : "NOTIFY");
    return step;
}

/* E8, where no COMMIT of the client's is to come: its row goes ahead of the notification, or takes its place. */
static void decide_with_row(struct decision *d, const struct statement *st, struct span slice,
                            const struct channel *channel, const struct arguments *arguments)
{
    struct step event = { .effect = EFFECT_HOLD };
    hold(d, &event, channel, arguments);
    struct step *step = durable_write_one(d, &event, channel->forward ? EFFECT_NONE : EFFECT_HOLD);
    if (channel->forward) {
        step->swallow = true;
        step = decision_client(d, slice, EFFECT_HOLD);
    }
    step->channel = event.channel;
    step->name = event.name;
    step->payload = event.payload;
    step->id = event.id;
    step->written = true;
    step->is_notify = st->kind == STATEMENT_NOTIFY;
    if (!channel->forward)
        reply_to_notify(d, step, st);
    doubt_ask_behind(d);
}

static void forward(struct decision *d, const struct statement *st, struct span slice, const struct channel *channel,
                    const struct arguments *arguments)
{
    struct step *step = decision_client(d, slice, EFFECT_HOLD);
    hold(d, step, channel, arguments);
    step->is_notify = st->kind == STATEMENT_NOTIFY;
    doubt_ask_behind(d);
}

static void decide_captured(struct decision *d, const struct statement *st, struct span slice,
                            const struct channel *channel, const struct arguments *arguments)
{
    bool durable = durable_is(d, channel);
    bool in_transaction = d->st.client == CLIENT_LAZY && !state_is_virtual(&d->st); /* which then has to be begun */
    if (channel->forward || d->wants_unit ||
        (durable && in_transaction)) /* what undoes the unit has to undo this too */
        decide_prelude(d);
    if (channel->forward || durable || d->plan->text.size > 0) /* the server has a part in it */
        doubt_ask_ahead(d);
    if (durable && durable_needs_row_now(d) && !durable_is_folded(d, channel, arguments)) {
        decide_with_row(d, st, slice, channel, arguments);
    } else if (channel->forward) {
        forward(d, st, slice, channel, arguments);
    } else if (d->ends_implicit && d->plan->text.size > 0) {
        hold(d, hold_at_the_end(d, st), channel, arguments);
    } else {
        struct step *step = decision_local(d, EFFECT_HOLD);
        hold(d, step, channel, arguments);
        reply_to_notify(d, step, st);
    }
}

static bool has_no_outbox(struct decision *d, const struct channel *channel)
{
    const struct session *s = d->s;
    if (!durable_is(d, channel) || config_outbox(s->request ? s->request->config : s->config, s->who->database))
        return false;
    struct buffer text = { 0 };
    buffer_format(&text, "channel \"%s\" is durable, but database \"%s\" has no outbox block", channel->pattern,
                  s->who->database);
    buffer_append_u8(&text, '\0');
    decide_refuse(d, "55000", text.data);
    buffer_free(&text);
    return true;
}

void decide_notify(struct decision *d, const struct statement *st, struct span slice, const struct arguments *arguments)
{
    bool usual = arguments->known && arguments->first.size > 0 && arguments->first.size <= 63;
    const struct channel *channel = usual ? config_channel(d->s->request ? d->s->request->config : d->s->config,
                                                           arguments->first.data, arguments->first.size)
                                          : NULL;
    if (!channel || channel->capture == CAPTURE_LISTEN || d->failed) {
        decide_prelude(d);
        decision_client(d, slice, EFFECT_NONE);
        return;
    }
    if (!over_the_limits(d, channel, arguments->second.size) && !has_no_outbox(d, channel) &&
        !sink_is_behind(d, channel, arguments->second.size))
        decide_captured(d, st, slice, channel, arguments);
}

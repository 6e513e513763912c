/* A notification: watched, answered here, or left to the server (E1, E7, E10). */
#include "proxy/session/decision.h"

static bool over_the_limits(struct decision *d, size_t payload)
{
    const struct session *s = d->s;
    size_t captured = s->txn.event_count + s->events_in_flight + d->held;
    if (payload > s->config->limits.event) {
        decide_refuse(d, "54000", "event is larger than limits.event allows");
        return true;
    }
    if (captured >= s->config->limits.events_per_request) {
        decide_refuse(d, "54000", "too many events in one request: limits.events_per_request");
        return true;
    }
    return false;
}

static void hold(struct decision *d, struct step *step, const struct channel *channel,
                 const struct arguments *arguments)
{
    step->channel = channel;
    step->name = plan_keep(d->plan, arguments->first);
    step->payload = plan_keep(d->plan, arguments->second);
}

static void reply_to_notify(struct decision *d, struct step *step, const struct statement *st)
{
    if (st->kind == STATEMENT_NOTIFY)
        decision_reply_tag(d, step, "NOTIFY");
    else
        decision_reply_row(d, step, st, "pg_notify", st->cast_text, span_of(""));
}

void decide_notify(struct decision *d, const struct statement *st, struct span slice, const struct arguments *arguments)
{
    bool usual = arguments->known && arguments->first.size > 0 && arguments->first.size <= 63;
    const struct channel *channel = usual ? config_channel(d->s->request ? d->s->request->config : d->s->config,
                                                           arguments->first.data, arguments->first.size)
                                          : NULL;
    if (!channel || d->failed) {
        decide_prelude(d);
        decision_client(d, slice, EFFECT_NONE);
        return;
    }
    if (over_the_limits(d, arguments->second.size))
        return;
    if (channel->forward) {
        decide_prelude(d);
        hold(d, decision_client(d, slice, EFFECT_HOLD), channel, arguments);
        return;
    }
    if (d->wants_unit) /* what undoes the unit has to undo this too */
        decide_prelude(d);
    struct step *step = decision_local(d, EFFECT_HOLD);
    hold(d, step, channel, arguments);
    reply_to_notify(d, step, st);
}

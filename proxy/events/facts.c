/* An event and its request, as pairs of text. */
#include "proxy/events/facts.h"

static void add(struct facts *out, const char *name, const char *value)
{
    if (value[0] != '\0')
        out->list[out->count++] = (struct fact){ name, value };
}

void facts_of(const struct notification *e, struct facts *out)
{
    uuid_format(e->id, out->id);
    uuid_format(e->request->id, out->request);
    out->count = 0;
    add(out, "id", out->id);
    add(out, "channel", e->name);
    if (request_is_known(e->request))
        add(out, "request", out->request);
    add(out, "route", e->request->route);
    add(out, "label", e->request->label);
    add(out, "database", e->request->database);
}

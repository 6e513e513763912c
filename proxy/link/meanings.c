/* Under which settings a client's texts are read (P4).
 *
 * What they are is known between transactions: when something has been set that decides what a text means (meaning.h), the server
 * reports it or is asked. Until then, and in a transaction that sets such a thing for itself, nobody knows, and what is prepared is shared with
 * nobody. The number of a client's settings is looked up when they have changed, and not for each text. */
#include "proxy/link/inside.h"
#include "proxy/link/meaning.h"

void meanings_note(struct link *l, struct span name)
{
    if (name.size > 0 && !meaning_depends_on(name))
        return;
    l->unsure = true;
    l->unsure_unit = l->owed.unit;
}

/* Whether the value of one that was set is still to be asked for. */
static bool is_touched(const struct link *l)
{
    for (size_t i = 0; i < l->touched_count; i++)
        if (meaning_depends_on(span_of(l->touched[i].name)))
            return true;
    return false;
}

/* A server that is pinned is not asked. */
void meanings_on_ready(struct link *l, uint32_t unit)
{
    if (l->status != 'I' || l->pinned || (int32_t)(unit - l->unsure_unit) < 0 || is_touched(l))
        return;
    l->unsure = false;
    l->unsure_unit = 0;
}

bool meanings_are_asked(const struct link *l)
{
    return l->unsure && l->asked_count > 0;
}

uint64_t meanings_now(struct link *l)
{
    if (l->unsure)
        return MEANING_OF_ONE;
    if (l->wanted != l->meant) {
        parameters_release(l->meant);
        l->meant = parameters_retain(l->wanted);
        l->meaning = statements_meaning(l->statements, l->wanted);
    }
    return l->meaning;
}

/* Bytes that no encoding and no rule about backslashes reads in another way. */
static bool is_plain(const struct shared_statement *s)
{
    struct span text = shared_statement_text(s);
    for (size_t i = 0; i < text.size; i++)
        if ((unsigned char)text.data[i] >= 0x80 || text.data[i] == '\\')
            return false;
    return true;
}

bool meanings_reads_alike(const struct link *l, const struct shared_statement *s)
{
    return (s->encoding == l->sql.encoding && s->standard_conforming_strings == l->sql.standard_conforming_strings) ||
           is_plain(s);
}

bool meanings_means_alike(struct link *l, const struct shared_statement *s)
{
    return s->meaning == MEANING_OF_ONE || s->meaning == meanings_now(l);
}

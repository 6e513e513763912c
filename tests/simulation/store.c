/* Logs that grow, levels that remember how long they were. */
#include "tests/simulation/store.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

/* --- logs ---------------------------------------------------------------------------------------- */

void *log_add(struct log *l)
{
    if (l->count == l->capacity) {
        l->capacity = l->capacity ? 2 * l->capacity : 8;
        l->items = realloc(l->items, l->capacity * l->size);
        if (!l->items)
            abort();
    }
    return l->items + l->count++ * l->size;
}

static void log_append(struct log *to, const struct log *from)
{
    for (size_t i = 0; i < from->count; i++)
        memcpy(log_add(to), log_at(from, i), from->size);
}

static struct log log_of(size_t size)
{
    return (struct log){ .size = size };
}

static void committed_init(struct committed *db)
{
    db->rows = log_of(sizeof(struct row));
    db->notes = log_of(sizeof(struct note_row));
    db->events = log_of(sizeof(struct note_row));
    db->outbox = log_of(sizeof(struct note_row));
    db->commits = log_of(sizeof(struct commit));
}

void committed_free(struct committed *db)
{
    free(db->rows.items);
    free(db->notes.items);
    free(db->events.items);
    free(db->outbox.items);
    free(db->commits.items);
    *db = (struct committed){ 0 };
}

void store_init(struct store *s, struct committed *db)
{
    if (db->rows.size == 0)
        committed_init(db);
    *s = (struct store){ .db = db };
    s->rows = log_of(sizeof(struct row));
    s->notes = log_of(sizeof(struct note_row));
    s->events = log_of(sizeof(struct note_row));
    s->outbox = log_of(sizeof(struct note_row));
    s->settings = log_of(sizeof(struct setting_change));
    s->listens = log_of(sizeof(struct listen_change));
    s->base = log_of(sizeof(struct setting_change));
    s->channels = log_of(sizeof(struct note_row));
    s->heard = log_of(sizeof(struct note_row));
}

void store_free(struct store *s)
{
    struct log *logs[] = { &s->rows,    &s->notes, &s->events,   &s->outbox, &s->settings,
                           &s->listens, &s->base,  &s->channels, &s->heard };
    for (size_t i = 0; i < sizeof logs / sizeof *logs; i++)
        free(logs[i]->items);
}

/* --- levels -------------------------------------------------------------------------------------- */

void store_push(struct store *s, enum level_kind kind, const char *name)
{
    assert(s->level_count < STORE_LEVELS_MAX);
    struct level *l = &s->levels[s->level_count++];
    *l = (struct level){ .kind = kind,
                         .rows = s->rows.count,
                         .notes = s->notes.count,
                         .events = s->events.count,
                         .outbox = s->outbox.count,
                         .settings = s->settings.count,
                         .listens = s->listens.count,
                         .read_only = s->read_only,
                         .immediate = s->immediate };
    snprintf(l->name, sizeof l->name, "%s", name);
}

void store_begin(struct store *s)
{
    assert(s->level_count == 0);
    s->isolation = READ_COMMITTED;
    s->immediate = s->has_snapshot = false;
    const char *read_only = store_setting(s, "default_transaction_read_only");
    s->read_only = read_only && strcmp(read_only, "on") == 0;
    store_push(s, LEVEL_TRANSACTION, "");
}

int store_find(const struct store *s, enum level_kind kind, const char *name)
{
    for (int i = (int)s->level_count - 1; i >= 0; i--)
        if (s->levels[i].kind == kind && (!name || strcmp(s->levels[i].name, name) == 0))
            return i;
    return -1;
}

void store_release(struct store *s, int n)
{
    assert(n > 0 && (unsigned)n < s->level_count);
    s->read_only = s->levels[n].read_only;
    s->level_count = (unsigned)n;
}

void store_undo(struct store *s, int n, bool keep)
{
    assert(n >= 0 && (unsigned)n < s->level_count);
    const struct level *l = &s->levels[n];
    s->rows.count = l->rows;
    s->notes.count = l->notes;
    s->events.count = l->events;
    s->outbox.count = l->outbox;
    s->settings.count = l->settings;
    s->listens.count = l->listens;
    s->read_only = l->read_only;
    s->immediate = l->immediate;
    s->level_count = (unsigned)n + keep;
}

/* --- commit and abort ---------------------------------------------------------------------------- */

static bool has_row(const struct log *rows, size_t count, char table, int id)
{
    for (size_t i = 0; i < count; i++) {
        const struct row *r = log_at(rows, i);
        if (r->table == table && r->id == id)
            return true;
    }
    return false;
}

bool store_check(const struct store *s, int *id)
{
    for (size_t i = 0; i < s->rows.count; i++) {
        const struct row *r = log_at(&s->rows, i);
        *id = r->id;
        if (r->table == 'd' &&
            (has_row(&s->rows, i, 'd', r->id) || has_row(&s->db->rows, s->db->rows.count, 'd', r->id)))
            return false;
    }
    return true;
}

/* Equal notifications of one transaction are delivered once, where the first stood. */
static void deliver_notes(struct store *s)
{
    size_t first = s->db->notes.count;
    for (size_t i = 0; i < s->notes.count; i++) {
        const struct note_row *n = log_at(&s->notes, i);
        bool seen = false;
        for (size_t j = first; j < s->db->notes.count && !seen; j++) {
            const struct note_row *d = log_at(&s->db->notes, j);
            seen = strcmp(n->channel, d->channel) == 0 && strcmp(n->payload, d->payload) == 0;
        }
        if (!seen)
            *(struct note_row *)log_add(&s->db->notes) = *n;
    }
}

static void apply_setting(struct store *s, const struct setting_change *c)
{
    for (size_t i = 0; i < s->base.count; i++) {
        struct setting_change *b = log_at(&s->base, i);
        if (c->name[0] == '\0' || strcmp(b->name, c->name) == 0) {
            b->unset = c->unset;
            snprintf(b->value, sizeof b->value, "%s", c->value);
        }
    }
}

static void apply_listen(struct store *s, const struct listen_change *c)
{
    if (strcmp(c->channel, "*") == 0)
        s->channels.count = 0;
    for (size_t i = 0; i < s->channels.count; i++) {
        struct note_row *n = log_at(&s->channels, i);
        if (strcmp(n->channel, c->channel) == 0) {
            if (!c->listen)
                *n = *(struct note_row *)log_at(&s->channels, --s->channels.count);
            return;
        }
    }
    if (c->listen)
        snprintf(((struct note_row *)log_add(&s->channels))->channel, SQL_NAME_MAX, "%s", c->channel);
}

/* A session that listens to anything at all has its place in the queue; which channels it is told of is decided when it reads. */
static void hear_notes(struct store *s, size_t first)
{
    if (s->channels.count == 0)
        s->heard.count = 0;
    for (size_t i = first; s->channels.count > 0 && i < s->db->notes.count; i++)
        memcpy(log_add(&s->heard), log_at(&s->db->notes, i), sizeof(struct note_row));
}

static void clear_transaction(struct store *s)
{
    s->rows.count = s->notes.count = s->events.count = s->outbox.count = 0;
    s->settings.count = s->listens.count = 0;
    s->level_count = 0;
    s->read_only = s->immediate = s->has_snapshot = false;
}

void store_commit(struct store *s)
{
    struct committed *db = s->db;
    bool changes = s->rows.count || s->notes.count || s->events.count;
    size_t first_note = db->notes.count;
    log_append(&db->rows, &s->rows);
    deliver_notes(s);
    log_append(&db->events, &s->events);
    log_append(&db->outbox, &s->outbox);
    if (changes)
        *(struct commit *)log_add(&db->commits) =
            (struct commit){ db->rows.count, db->notes.count, db->events.count, s->output, s->said };
    for (size_t i = 0; i < s->settings.count; i++) {
        const struct setting_change *c = log_at(&s->settings, i);
        if (!c->local)
            apply_setting(s, c);
    }
    for (size_t i = 0; i < s->listens.count; i++)
        apply_listen(s, log_at(&s->listens, i));
    hear_notes(s, first_note);
    clear_transaction(s);
}

void store_abort(struct store *s)
{
    for (size_t i = 0; i < s->settings.count; i++) {
        const struct setting_change *c = log_at(&s->settings, i);
        if (c->survives && !c->local)
            apply_setting(s, c);
    }
    clear_transaction(s);
}

/* --- what statements do -------------------------------------------------------------------------- */

void store_insert(struct store *s, char table, int id)
{
    *(struct row *)log_add(&s->rows) = (struct row){ table, id };
}

size_t store_count(const struct store *s, char table)
{
    size_t count = 0;
    for (size_t i = 0; i < s->db->rows.count; i++)
        count += ((struct row *)log_at(&s->db->rows, i))->table == table;
    for (size_t i = 0; i < s->rows.count; i++)
        count += ((struct row *)log_at(&s->rows, i))->table == table;
    return count;
}

void store_notify(struct store *s, struct log *log, const char *channel, const char *payload)
{
    (void)s;
    struct note_row *n = log_add(log);
    snprintf(n->channel, sizeof n->channel, "%s", channel);
    snprintf(n->payload, sizeof n->payload, "%s", payload);
}

/* A setting is known from its first SET on, even if that is undone. */
static void know_setting(struct store *s, const char *name)
{
    for (size_t i = 0; i < s->base.count; i++)
        if (strcmp(((struct setting_change *)log_at(&s->base, i))->name, name) == 0)
            return;
    struct setting_change *b = log_add(&s->base);
    *b = (struct setting_change){ .unset = true };
    snprintf(b->name, sizeof b->name, "%s", name);
}

void store_set(struct store *s, const struct setting_change *change)
{
    if (change->name[0])
        know_setting(s, change->name);
    struct setting_change *c = log_add(&s->settings);
    *c = *change;
    c->inside = s->inside;
}

const char *store_setting(const struct store *s, const char *name)
{
    const struct setting_change *found = NULL;
    for (size_t i = 0; i < s->base.count; i++) {
        const struct setting_change *b = log_at(&s->base, i);
        if (strcmp(b->name, name) == 0)
            found = b;
    }
    for (size_t i = 0; found && i < s->settings.count; i++) {
        const struct setting_change *c = log_at(&s->settings, i);
        if (c->name[0] == '\0' || strcmp(c->name, name) == 0)
            found = c;
    }
    return !found ? NULL : found->unset ? "" : found->value;
}

void store_listen(struct store *s, const char *channel, bool listen)
{
    struct listen_change *c = log_add(&s->listens);
    *c = (struct listen_change){ .listen = listen };
    snprintf(c->channel, sizeof c->channel, "%s", channel);
}

bool store_listens(const struct store *s, const char *channel)
{
    for (size_t i = 0; i < s->channels.count; i++)
        if (strcmp(((struct note_row *)log_at(&s->channels, i))->channel, channel) == 0)
            return true;
    return false;
}

void store_discard(struct store *s)
{
    apply_setting(s, &(struct setting_change){ .unset = true });
    s->channels.count = s->heard.count = 0;
}

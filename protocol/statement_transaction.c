/* Transaction control: BEGIN to ROLLBACK PREPARED, and the modes that BEGIN and SET TRANSACTION take. */
#include "protocol/statement_reader.h"

/* --- modes ------------------------------------------------------------------------------------ */

static bool accept_isolation(struct statement_reader *r, struct statement_modes *m)
{
    if (!reader_accept_word(r, "level"))
        return false;
    if (reader_accept_words(r, "read", "committed"))
        m->isolation = STATEMENT_READ_COMMITTED;
    else if (reader_accept_words(r, "read", "uncommitted"))
        m->isolation = STATEMENT_READ_UNCOMMITTED;
    else if (reader_accept_words(r, "repeatable", "read"))
        m->isolation = STATEMENT_REPEATABLE_READ;
    else if (reader_accept_word(r, "serializable"))
        m->isolation = STATEMENT_SERIALIZABLE;
    else
        return false;
    return true;
}

static bool accept_mode(struct statement_reader *r, struct statement_modes *m)
{
    if (reader_accept_word(r, "isolation"))
        return accept_isolation(r, m);
    if (reader_accept_words(r, "read", "only")) {
        m->access = STATEMENT_READ_ONLY;
    } else if (reader_accept_words(r, "read", "write")) {
        m->access = STATEMENT_READ_WRITE;
    } else if (reader_accept_word(r, "deferrable")) {
        m->deferrable = true;
        m->not_deferrable = false;
    } else if (reader_accept_words(r, "not", "deferrable")) {
        m->deferrable = false;
        m->not_deferrable = true;
    } else {
        return false;
    }
    return true;
}

bool reader_accept_modes(struct statement_reader *r, bool required, struct statement_modes *out)
{
    *out = (struct statement_modes){ 0 };
    if (reader_at_end(r))
        return !required;
    do {
        if (!accept_mode(r, out))
            return false;
        if (reader_accept_symbol(r, ",") && reader_at_end(r))
            return false;
    } while (!reader_at_end(r));
    return true;
}

/* --- transactions ----------------------------------------------------------------------------- */

static void accept_work(struct statement_reader *r)
{
    if (!reader_accept_word(r, "work"))
        reader_accept_word(r, "transaction");
}

enum statement_kind statement_read_begin(struct statement_reader *r, struct statement *s)
{
    accept_work(r);
    return reader_accept_modes(r, false, &s->modes) ? STATEMENT_BEGIN : STATEMENT_OTHER;
}

enum statement_kind statement_read_start(struct statement_reader *r, struct statement *s)
{
    if (!reader_accept_word(r, "transaction"))
        return STATEMENT_OTHER;
    return reader_accept_modes(r, false, &s->modes) ? STATEMENT_BEGIN : STATEMENT_OTHER;
}

/* [AND [NO] CHAIN] and the end. */
static bool accept_chain_and_end(struct statement_reader *r, bool *chain)
{
    *chain = false;
    if (reader_accept_word(r, "and")) {
        *chain = !reader_accept_word(r, "no");
        if (!reader_accept_word(r, "chain"))
            return false;
    }
    return reader_at_end(r);
}

static enum statement_kind read_end(struct statement_reader *r, struct statement *s, enum statement_kind kind)
{
    accept_work(r);
    return accept_chain_and_end(r, &s->chain) ? kind : STATEMENT_OTHER;
}

/* The name of a prepared transaction, and the end. */
static bool accept_identifier_and_end(struct statement_reader *r)
{
    struct operand identifier;
    return reader_accept_string(r, &identifier) && reader_at_end(r);
}

enum statement_kind statement_read_commit(struct statement_reader *r, struct statement *s)
{
    if (reader_accept_word(r, "prepared"))
        return accept_identifier_and_end(r) ? STATEMENT_COMMIT_PREPARED : STATEMENT_OTHER;
    return read_end(r, s, STATEMENT_COMMIT);
}

enum statement_kind statement_read_end(struct statement_reader *r, struct statement *s)
{
    return read_end(r, s, STATEMENT_COMMIT);
}

enum statement_kind statement_read_abort(struct statement_reader *r, struct statement *s)
{
    return read_end(r, s, STATEMENT_ROLLBACK);
}

/* --- savepoints ------------------------------------------------------------------------------- */

static enum statement_kind read_named(struct statement_reader *r, struct statement *s, enum statement_kind kind)
{
    return reader_accept_name(r, &s->name) && reader_at_end(r) ? kind : STATEMENT_OTHER;
}

enum statement_kind statement_read_rollback(struct statement_reader *r, struct statement *s)
{
    if (reader_accept_word(r, "prepared"))
        return accept_identifier_and_end(r) ? STATEMENT_ROLLBACK_PREPARED : STATEMENT_OTHER;
    accept_work(r);
    if (reader_accept_word(r, "to")) {
        reader_accept_noise(r, "savepoint");
        return read_named(r, s, STATEMENT_ROLLBACK_TO);
    }
    return accept_chain_and_end(r, &s->chain) ? STATEMENT_ROLLBACK : STATEMENT_OTHER;
}

enum statement_kind statement_read_savepoint(struct statement_reader *r, struct statement *s)
{
    return read_named(r, s, STATEMENT_SAVEPOINT);
}

enum statement_kind statement_read_release(struct statement_reader *r, struct statement *s)
{
    reader_accept_noise(r, "savepoint");
    return read_named(r, s, STATEMENT_RELEASE);
}

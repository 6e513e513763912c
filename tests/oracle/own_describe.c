/* The words of peer_describe.c, from the scanner under test. */
#include "tests/oracle/peer.h"

static void append_value(struct buffer *out, const struct operand *o, const struct sql_options *options)
{
    buffer_append_text(out, " ");
    switch (o->kind) {
    case OPERAND_NONE:
        buffer_append_text(out, "-");
        break;
    case OPERAND_NULL:
        buffer_append_text(out, "null");
        break;
    case OPERAND_PARAMETER:
        buffer_format(out, "$%u", o->parameter);
        break;
    case OPERAND_TEXT:
    case OPERAND_NAME:
    case OPERAND_WORD:
        if (!operand_decode(o, options, out))
            buffer_append_text(out, UNREADABLE);
        break;
    }
}

static void describe_named(const char *kind, const struct operand *name, const struct sql_options *options,
                           struct buffer *out)
{
    buffer_append_text(out, kind);
    append_value(out, name, options);
}

/* The column, the cast and the arguments of a SELECT. */
static void append_call(const struct statement *s, const struct sql_options *options, struct buffer *out)
{
    append_value(out, &s->column, options);
    buffer_append_text(out, s->cast_text ? " text" : " -");
    for (unsigned i = 0; i < s->arg_count; i++) {
        struct buffer value = { 0 };
        append_value(&value, &s->args[i], options);
        const char *quote = s->args[i].kind == OPERAND_TEXT ? " '" : " ";
        buffer_append_text(out, quote);
        buffer_append(out, value.data + 1, value.size - 1);
        buffer_free(&value);
    }
}

static void describe_mark(const char *name, const struct statement *s, const struct sql_options *options,
                          struct buffer *out)
{
    buffer_append_text(out, name);
    buffer_append_text(out, s->as_row ? " row" : " set");
    if (s->as_row)
        append_call(s, options, out);
    else
        append_value(out, &s->args[0], options);
}

static void describe_with_modes(const char *kind, const struct statement *s, struct buffer *out)
{
    buffer_append_text(out, kind);
    append_modes(out, &s->modes);
}

void own_describe(const struct statement *s, const struct sql_options *options, struct buffer *out)
{
    static const struct operand none = { .kind = OPERAND_NONE };
    switch (s->kind) {
    case STATEMENT_OTHER:
        buffer_append_text(out, "other");
        return;
    case STATEMENT_BEGIN:
        describe_with_modes("begin", s, out);
        return;
    case STATEMENT_COMMIT:
        buffer_append_text(out, s->chain ? "commit chain" : "commit");
        return;
    case STATEMENT_ROLLBACK:
        buffer_append_text(out, s->chain ? "rollback chain" : "rollback");
        return;
    case STATEMENT_SAVEPOINT:
        describe_named("savepoint", &s->name, options, out);
        return;
    case STATEMENT_RELEASE:
        describe_named("release", &s->name, options, out);
        return;
    case STATEMENT_ROLLBACK_TO:
        describe_named("rollback to", &s->name, options, out);
        return;
    case STATEMENT_PREPARE_TRANSACTION:
        buffer_append_text(out, "prepare transaction");
        return;
    case STATEMENT_COMMIT_PREPARED:
        buffer_append_text(out, "commit prepared");
        return;
    case STATEMENT_ROLLBACK_PREPARED:
        buffer_append_text(out, "rollback prepared");
        return;
    case STATEMENT_SET_TRANSACTION:
        describe_with_modes("set transaction", s, out);
        return;
    case STATEMENT_SET:
        describe_named("set", &s->name, options, out);
        if (s->name.kind == OPERAND_NONE)
            append_modes(out, &s->modes);
        return;
    case STATEMENT_RESET:
        describe_named("reset", &s->name, options, out);
        return;
    case STATEMENT_RESET_ALL:
        buffer_append_text(out, "reset all");
        return;
    case STATEMENT_SHOW:
    case STATEMENT_SHOW_REQUEST:
        if (s->name.kind == OPERAND_NONE)
            buffer_append_text(out, "show all");
        else
            describe_named("show", &s->name, options, out);
        return;
    case STATEMENT_DISCARD:
        buffer_append_text(out, "discard");
        return;
    case STATEMENT_DISCARD_ALL:
        buffer_append_text(out, "discard all");
        return;
    case STATEMENT_LISTEN:
        describe_named("listen", &s->name, options, out);
        return;
    case STATEMENT_UNLISTEN:
        describe_named("unlisten", &s->name, options, out);
        return;
    case STATEMENT_PREPARE:
        describe_named("prepare", &s->name, options, out);
        return;
    case STATEMENT_DEALLOCATE:
        describe_named("deallocate", &s->name, options, out);
        return;
    case STATEMENT_DEALLOCATE_ALL:
        describe_named("deallocate", &none, options, out);
        return;
    case STATEMENT_EXECUTE:
        describe_named("execute", &s->name, options, out);
        return;
    case STATEMENT_DECLARE:
        describe_named("declare", &s->name, options, out);
        buffer_append_text(out, s->hold ? " hold" : "");
        return;
    case STATEMENT_CLOSE:
        describe_named("close", &s->name, options, out);
        return;
    case STATEMENT_NOTIFY:
        describe_named("notify", &s->args[0], options, out);
        append_value(out, &s->args[1], options);
        return;
    case STATEMENT_PG_NOTIFY:
        buffer_append_text(out, "pg_notify");
        append_call(s, options, out);
        return;
    case STATEMENT_SET_CONFIG:
        buffer_append_text(out, "set_config");
        append_call(s, options, out);
        return;
    case STATEMENT_MARK_REQUEST:
        describe_mark("mark request", s, options, out);
        return;
    case STATEMENT_MARK_OUTCOME:
        describe_mark("mark outcome", s, options, out);
        return;
    }
}

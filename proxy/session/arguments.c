/* The values that statements of our interest were given: literals in their text, parameters bound to their portals (E1). */
#include "proxy/session/machine.h"

/* Appends the value in UTF-8. False: it cannot be known here, so the statement is the server's business. */
static bool append_converted(const struct session *s, struct span value, struct buffer *out)
{
    return encoding_to_utf8(s->sql.encoding, value, out);
}

static bool append_literal(const struct session *s, const struct operand *operand, struct buffer *out)
{
    struct buffer raw = { 0 };
    bool known = operand_decode(operand, &s->sql, &raw) && append_converted(s, buffer_span(&raw), out);
    buffer_free(&raw);
    return known;
}

static bool append_operand(const struct session *s, const struct operand *operand, const struct message_bind *bind,
                           struct buffer *out, bool *null)
{
    struct message_parameter parameter;
    switch (operand->kind) {
    case OPERAND_NONE:
        return true;
    case OPERAND_NULL:
        *null = true;
        return true;
    case OPERAND_NAME:
    case OPERAND_TEXT:
    case OPERAND_WORD:
        return append_literal(s, operand, out);
    case OPERAND_PARAMETER:
        if (!bind || !message_bind_parameter(bind, operand->parameter, &parameter))
            return false;
        *null = parameter.null;
        return parameter.null || append_converted(s, parameter.value, out);
    }
    return false;
}

/* Two values into one buffer. A notification without a channel is an error that PostgreSQL words best itself. */
static bool append_pair(const struct session *s, enum statement_kind kind, const struct operand *first,
                        const struct operand *second, const struct message_bind *bind, struct buffer *values,
                        size_t *first_size)
{
    bool null = false;
    if (!append_operand(s, first, bind, values, &null))
        return false;
    *first_size = values->size;
    if (null && (kind == STATEMENT_NOTIFY || kind == STATEMENT_PG_NOTIFY))
        return false;
    return !second || append_operand(s, second, bind, values, &null);
}

static bool is_mark(enum statement_kind kind)
{
    return kind == STATEMENT_MARK_REQUEST || kind == STATEMENT_MARK_OUTCOME;
}

static bool has_arguments(enum statement_kind kind)
{
    return kind == STATEMENT_NOTIFY || kind == STATEMENT_PG_NOTIFY || is_mark(kind);
}

static void split(const struct buffer *values, size_t first_size, struct arguments *out)
{
    const char *data = values->data ? values->data : "";
    out->first = span_make(data, first_size);
    out->second = span_make(data + first_size, values->size - first_size);
}

void decide_read_arguments(const struct session *s, const struct statement *st, struct buffer *values,
                           struct arguments *out)
{
    size_t first_size = 0;
    *out = (struct arguments){ 0 };
    if (!has_arguments(st->kind))
        return;
    const struct operand *second = is_mark(st->kind) ? NULL : &st->args[1];
    out->known = append_pair(s, st->kind, &st->args[0], second, NULL, values, &first_size);
    split(values, out->known ? first_size : 0, out);
}

/* --- parameters' types --------------------------------------------------------------------------- */

enum { OID_BOOL = 16, OID_NAME = 19, OID_TEXT = 25, OID_UNKNOWN = 705, OID_VARCHAR = 1043 };

/* Types whose values, in text and in binary, are the bytes of the text itself. */
static bool is_text(uint32_t oid)
{
    return oid == 0 || oid == OID_TEXT || oid == OID_VARCHAR || oid == OID_NAME || oid == OID_UNKNOWN;
}

bool arguments_read_types(const struct statement *st, const struct message_parse *parse,
                          uint32_t types[PREPARED_TYPES_MAX])
{
    struct wire w = wire_open(parse->types);
    for (unsigned i = 0; i < parse->type_count && i < PREPARED_TYPES_MAX; i++)
        types[i] = wire_u32(&w);
    bool bindable = st->kind == STATEMENT_PG_NOTIFY || st->kind == STATEMENT_SET_CONFIG || is_mark(st->kind);
    if (!bindable || !st->as_row)
        return true;
    for (unsigned i = 0; i < 3; i++) {
        const struct operand *operand = &st->args[i];
        if (operand->kind != OPERAND_PARAMETER || operand->parameter < 1 || operand->parameter > PREPARED_TYPES_MAX)
            continue;
        uint32_t oid = types[operand->parameter - 1];
        if (!is_text(oid) && oid != OID_BOOL)
            return false;
    }
    return true;
}

/* --- portals ----------------------------------------------------------------------------------- */

static bool is_false(const struct message_parameter *p)
{
    if (p->null)
        return false;
    if (p->binary)
        return p->value.size == 1 && p->value.data[0] == 0;
    static const char *const words[] = { "f", "false", "off", "0", "no", "n" };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (p->value.size == strlen(words[i]) && strncasecmp(p->value.data, words[i], p->value.size) == 0)
            return true;
    return false;
}

/* True when the set_config's third argument says that the setting is not local. */
static bool is_not_local(const struct operand *operand, const struct message_bind *bind)
{
    struct message_parameter p;
    if (operand->kind == OPERAND_NONE)
        return true;
    if (operand->kind == OPERAND_PARAMETER)
        return message_bind_parameter(bind, operand->parameter, &p) && is_false(&p);
    return operand->kind == OPERAND_WORD && operand->raw.size == 5;
}

/* SELECT set_config($1, $2, $3) is a mark when a mark's name is bound. */
static void read_set_config(const struct session *s, struct portal *portal, const struct message_bind *bind)
{
    const struct statement *st = &portal->prepared->statement;
    struct buffer name = { 0 };
    bool null = false;
    portal->kind = STATEMENT_SET_CONFIG;
    if (!append_operand(s, &st->args[0], bind, &name, &null) || null || !is_not_local(&st->args[2], bind)) {
        buffer_free(&name);
        return;
    }
    if (name.size == 16 && strncasecmp(name.data, "pgatomic.request", 16) == 0)
        portal->kind = STATEMENT_MARK_REQUEST;
    else if (name.size == 16 && strncasecmp(name.data, "pgatomic.outcome", 16) == 0)
        portal->kind = STATEMENT_MARK_OUTCOME;
    buffer_free(&name);
    if (portal->kind != STATEMENT_SET_CONFIG)
        portal->known = append_pair(s, portal->kind, &st->args[1], NULL, bind, &portal->values, &portal->first_size);
}

void portal_read_arguments(const struct session *s, struct portal *portal, const struct message_bind *bind)
{
    const struct statement *st = &portal->prepared->statement;
    portal->kind = st->kind;
    if (st->kind == STATEMENT_SET_CONFIG) {
        read_set_config(s, portal, bind);
    } else if (is_mark(st->kind) && st->as_row && !is_not_local(&st->args[1], bind)) {
        portal->kind = STATEMENT_SET_CONFIG;
    } else if (has_arguments(st->kind)) {
        const struct operand *second = is_mark(st->kind) ? NULL : &st->args[1];
        portal->known = append_pair(s, st->kind, &st->args[0], second, bind, &portal->values, &portal->first_size);
    }
}

void portal_read_literals(const struct session *s, struct portal *portal, const struct statement *st)
{
    buffer_clear(&portal->values);
    portal->known = append_pair(s, st->kind, &st->args[0], &st->args[1], NULL, &portal->values, &portal->first_size);
}

void portal_arguments(const struct portal *portal, struct arguments *out)
{
    out->known = portal->known;
    split(&portal->values, portal->known ? portal->first_size : 0, out);
}

/* --- Describe, without the server -------------------------------------------------------------- */

/* set_config takes text, text, bool; a parameter has the type of the place where it stands. */
void describe_parameters(const struct prepared *p, struct buffer *made)
{
    const struct statement *st = &p->statement;
    uint32_t oids[PREPARED_TYPES_MAX] = { 0 };
    unsigned count = 0;
    unsigned last = st->kind == STATEMENT_SET_CONFIG ? 2 : 1;
    for (unsigned i = 0; st->as_row && i <= last; i++) {
        const struct operand *operand = &st->args[i];
        if (operand->kind != OPERAND_PARAMETER || operand->parameter < 1 || operand->parameter > PREPARED_TYPES_MAX)
            continue;
        uint32_t declared = p->types[operand->parameter - 1];
        oids[operand->parameter - 1] = declared != 0 ? declared : i == last ? OID_BOOL : OID_TEXT;
        if (operand->parameter > count)
            count = operand->parameter;
    }
    message_add_parameter_description(made, oids, (uint16_t)count);
}

void describe_row(const struct session *s, const struct statement *st, uint16_t format, struct buffer *made)
{
    struct buffer name = { 0 };
    if (st->kind == STATEMENT_SHOW_REQUEST)
        buffer_append_text(&name, "pgatomic.request");
    else if (st->column.kind != OPERAND_NAME || !operand_decode(&st->column, &s->sql, &name))
        buffer_append_text(&name, "set_config");
    message_add_row_description(made, buffer_span(&name), OID_TEXT, -1, format);
    buffer_free(&name);
}
